"""What a request needs and takes on its way through pools to a target that stands behind them (B7 to B9, B20).

Each pool on the way is asked as if the request came to it: its callers alone get through, its limits - the caller's own
and the pool's - and its places are taken for the time of one attempt, and given back with it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from modelpool_sidecar.core import affinity
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.allowance import Asker, RequestLimit
from modelpool_sidecar.core.caps import Place
from modelpool_sidecar.core.limits import Limited
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.queue import Places
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Target
from modelpool_sidecar.core.state import State


def names(pool: Pool, visitor: Visitor) -> Mapping[str, str]:
    """What the visitor is called at each pool behind this one that is for callers; those that are not theirs lack."""
    found = ((inner.name, visitor.caller(inner)) for inner in pool.behind.values() if inner.callers is not None)
    return {name: caller for name, caller in found if caller is not None}


def open_to(tiers: Tiers, callers: Mapping[str, str]) -> Tiers:
    """Without the targets behind a pool that is not theirs to use (B20), and without the tiers that are empty then."""
    left = (tuple(target for target in tier if _is_open(target, callers)) for tier in tiers)
    return tuple(tier for tier in left if tier)


def _is_open(target: Target, callers: Mapping[str, str]) -> bool:
    return all(pool.callers is None or pool.name in callers for pool in target.passed)


def named(pool: Pool, name: str) -> Tiers:
    """The targets that a pin means: one, or those behind a target that is a pool; none where there is no such name."""
    if name in pool.targets:
        return ((pool.targets[name],),)
    tiers = (tuple(target for target in tier if target.name.startswith(f"{name}/")) for tier in pool.tiers)
    return tuple(tier for tier in tiers if tier)


def keys(pool: Pool, request: Request, asker: Asker) -> Mapping[str, int | None]:
    """What the request hashes to in each pool behind this one that asks by a key."""
    return {
        inner.name: affinity.of(inner.strategy, request, asker.names.get(inner.name))
        for inner in pool.behind.values()
        if inner.strategy.by is not None
    }


def limits(target: Target, asker: Asker) -> tuple[RequestLimit, ...]:
    """What an attempt takes from, with the limits that the callers of the pools on the way have of their own."""
    own = [inner.caller_limits.get(asker.names.get(inner.name, ""), ()) for inner in target.passed]
    return (*(limit for each in own for limit in each), *target.limits) if any(own) else target.limits


def measures(pool: Pool, target: Target) -> bool:
    """Whether some pool asks how long the target lets one wait."""
    return any(each.strategy.type == "LowestLatency" for each in (pool, *target.passed))


def full(state: State, target: Target, asker: Asker) -> Limited | None:
    """Whether a pool on the way has no place, or none for the caller; looking takes none (B3). Who waits there has come
    before."""
    for pool in target.passed:
        places, most = state.places(pool), state.most(pool)
        if most is not None and not places.free(most):
            return Limited("concurrency", places.retry_after(most), most, "concurrency", owner=pool.name)
        refused = state.caps.caller_refusal(pool.caller_cap(asker.names.get(pool.name)), places)
        if refused is not None:
            return replace(refused, owner=pool.name)
    return None


class Held(NamedTuple):
    """A place in a pool on the way, since when, and the caller's own there, where that is counted."""

    pool: Pool
    places: Places
    since: float
    own: Place | None


def enter(state: State, target: Target, asker: Asker, now: float) -> tuple[Held, ...]:
    """An attempt begins: a place in each pool on the way to the target."""
    held = []
    for pool in target.passed:
        own = state.caps.admit(pool.caller_cap(asker.names.get(pool.name)), now)
        held.append(Held(pool, state.places(pool), now, own))
        held[-1].places.count += 1
    return tuple(held)


def leave(held: tuple[Held, ...]) -> list[tuple[Pool, float]]:
    """The attempt is over (B11): the pools in which a place became free, each with since when it was held."""
    for each in held:
        each.places.count -= 1
        if each.own is not None:
            each.own.release()
    return [(each.pool, each.since) for each in held]
