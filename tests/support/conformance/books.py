"""What a house still holds: all that must be back where it was when its requests are over (B11, B30, B31, B53)."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.house import House

HELD = ("inFlight", "probe", "open", "waiting")
"""Members of `/-/state` that say what is taken, wherever they stand: at a pool, a caller, a target, a provider."""


def still_open(house: "House") -> list[str]:
    """A sentence each; nothing where all is given back."""
    sidecar = house.sidecar
    state = sidecar._state.describe(sidecar._proxy.snapshot, asyncio.get_running_loop().time())
    return [
        *_taken(state, ""),
        *_kept(state["pools"], sidecar._state.cache.bytes),
        *_counted(house),
        *_providers(house),
    ]


def _taken(told: object, where: str) -> Iterator[str]:
    """Whatever the state says is in use."""
    if isinstance(told, Mapping):
        name = " ".join(str(told[member]) for member in ("caller", "name") if told.get(member))
        where = f"{where} {name}" if name else where
        for key, value in told.items():
            if key in HELD and value and not isinstance(value, Mapping | list):
                yield f"{where.strip()}: {key} {value}"
            else:
                yield from _taken(value, where)
    elif isinstance(told, list | tuple):
        for each in told:
            yield from _taken(each, where)


def _kept(pools: list[dict[str, Any]], total: int) -> Iterator[str]:
    """Caches beyond their bounds, and bytes that no pool has."""
    caches = {pool["name"]: pool["cache"] for pool in pools if pool.get("cache")}
    for name, cache in caches.items():
        if cache["entries"] > cache["maxEntries"] or cache["bytes"] > cache["maxBytes"]:
            yield f"pool {name} keeps {cache['entries']} answers of {cache['bytes']} bytes"
    kept = sum(cache["bytes"] for cache in caches.values())
    if kept != total:
        yield f"the cache has {total} bytes, its pools {kept}"


def _counted(house: "House") -> Iterator[str]:
    """What the sidecar itself is at work on."""
    sidecar = house.sidecar
    listening = sum(provider.at_work for provider in house.providers.values())
    for what, count in (
        ("requests in flight", sidecar.in_flight),
        ("requests in the queue", sidecar.waiting),
        ("requests at the door", sidecar._server.in_flight),
        ("bytes of bodies and answers", sidecar._server.buffered_bytes),
        ("calls that others may join", len(sidecar._proxy._caching._calls)),
        ("attempts", sum(len(link._attempts) for link in house.upstream._links.values())),
        ("tasks beyond those of a sidecar that idles", len(house.tasks) - house.idle_tasks - listening),
    ):
        if count > 0:
            yield f"{count} {what}"


def _providers(house: "House") -> Iterator[str]:
    """What they see: requests that are not over, connections that nobody keeps; and whether they failed themselves."""
    for provider in house.providers.values():
        if provider.busy:
            yield f"provider {provider.name} is at work on {provider.busy}"
        if provider.failed is not None:
            yield f"provider {provider.name} failed itself: {provider.failed!r}"
        kept = house.upstream.idle_connections(provider.name)
        if len(provider.wires) > kept:
            yield f"{len(provider.wires)} connections at {provider.name}, of which {kept} are kept"
