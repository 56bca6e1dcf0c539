"""What an edit changed, in a line: `pool chat: primary weight 90 -> 50`."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelpool_cli import printing
from modelpool_config.models import ClosedPool, Config

MOST = 4
"""So many changes are named, the rest is counted."""
_HEADERS = ("headers", "responseHeaders")


def line(old: Config, new: Config) -> str | None:
    """None where nothing that runs has changed."""
    found = list(_changes(old, new))
    if not found:
        return None
    more = len(found) - MOST
    return printing.line(", ".join(found[:MOST])) + (f" and {more} more" if more > 0 else "")


def _changes(old: Config, new: Config) -> Iterator[str]:
    before, after = _objects(old), _objects(new)
    closed_before, closed = _closed(old), _closed(new)
    for title in sorted(before.keys() | after.keys()):
        if title not in after:
            yield f"{title} is gone"
        elif title not in before:
            yield f"{title} is new" + (f" and answers 503: {closed[title].message}" if title in closed else "")
        elif title in closed:
            if closed_before.get(title) != closed[title]:
                yield f"{title} answers 503: {closed[title].message}"
        elif title in closed_before:
            yield f"{title} serves again"
        else:
            yield from dict.fromkeys(_told(title, *leaf) for leaf in _leaves("", before[title], after[title]))


def _told(title: str, field: str, was: Any, now: Any) -> str:
    """One field. A header may hold a key, so its value is never shown."""
    words = field.split()
    if words[0] in _HEADERS:
        return f"{title}: {' '.join(words[:2])} changed"
    return f"{title}: {field} {_shown(was)} -> {_shown(now)}"


def _closed(config: Config) -> dict[str, ClosedPool]:
    return {f"pool {pool.name}": pool for pool in config.closed}


def _objects(config: Config) -> dict[str, Any]:
    objects: dict[str, Any] = {}
    for provider in config.providers:
        objects[f"provider {provider.name}"] = provider.model_dump(mode="json", by_alias=True)
    for pool in config.pools:
        objects[f"pool {pool.name}"] = pool.model_dump(mode="json", by_alias=True)
    for closed in config.closed:
        objects[f"pool {closed.name}"] = closed.model_dump(mode="json", by_alias=True)
    return objects


def _leaves(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """The fields that differ. Entries of a list are found by their name where they have one."""
    if old == new:
        return
    old, new = _by_name(old), _by_name(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from _leaves(f"{path} {key}".strip(), old.get(key), new.get(key))
    else:
        yield path.removeprefix("targets ").removeprefix("poolTargets "), old, new


def _by_name(value: Any) -> Any:
    named = isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value)
    return {item["name"]: item for item in value} if named else value


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "none"
    if isinstance(value, (dict, list)):
        return "set"
    return str(value)
