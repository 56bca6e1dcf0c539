"""What strategies know between two requests: whose turn it is, and how long each target lets one wait (B1, B48).

A rotation belongs to a tier of a pool and begins anew where its targets or weights change; waits belong to a target's
identity, for all pools together, as its health does. Only pools whose strategy needs it keep anything.
"""

from typing import Any

from modelpool_sidecar.core import chaining, cost
from modelpool_sidecar.core.latency import Wait
from modelpool_sidecar.core.rotation import Rotation
from modelpool_sidecar.core.snapshot import Pool, Snapshot, Target, TargetKey


class Learned:
    """One per process, part of the state."""

    def __init__(self) -> None:
        self._rotations: dict[tuple[str, int], Rotation] = {}
        self._waits: dict[tuple[TargetKey, bool], Wait] = {}

    def __repr__(self) -> str:
        return f"<Learned {len(self._rotations)} rotations, {len(self._waits)} waits>"

    def rotation(self, pool: Pool, priority: int) -> Rotation:
        """The turns of that tier."""
        found = self._rotations.get((pool.name, priority))
        if found is None:
            found = self._rotations[pool.name, priority] = Rotation(_weights(pool, priority))
        return found

    def wait(self, key: TargetKey, *, stream: bool) -> Wait:
        """For the first token of its streams, or for its whole answers."""
        found = self._waits.get((key, stream))
        if found is None:
            found = self._waits[key, stream] = Wait()
        return found

    def retain(self, snapshot: Snapshot) -> None:
        """Keep what the snapshot still means."""
        pools = {name: pool for name, pool in snapshot.pools.items() if isinstance(pool, Pool)}
        measured = {
            target.key
            for pool in pools.values()
            if pool.strategy.type == "LowestLatency"
            for target in pool.targets.values()
        }
        for name, priority in list(self._rotations):
            pool = pools.get(name)
            if pool is None or _weights(pool, priority) != self._rotations[name, priority].weights:
                del self._rotations[name, priority]
        self._waits = {key: wait for key, wait in self._waits.items() if key[0] in measured}

    def describe(self, pool: Pool, target: Target) -> dict[str, Any]:
        """For `/-/state`: what the pool's strategy knows of a target. Looking makes nothing."""
        match pool.strategy.type:
            case "LowestLatency":
                waits = {"firstTokenMs": True, "answerMs": False}
                return {name: _milliseconds(self._waits.get((target.key, stream))) for name, stream in waits.items()}
            case "RoundRobin":
                rotation = self._rotations.get((pool.name, target.priority))
                entry = target.through or target
                return {"currentWeight": round(rotation.current.get(entry.name, 0.0), 3) if rotation else 0.0}
            case "LowestCost":
                price = cost.expected(target.provider.prices.get(target.model or ""))
                return {"price": None if price is None else cost.plain(price)}
            case _:
                return {}


def _weights(pool: Pool, priority: int) -> tuple[tuple[str, int], ...]:
    entries = chaining.entries(pool)
    return tuple((entry.name, entry.weight) for entry in entries if entry.priority == priority)


def _milliseconds(wait: Wait | None) -> float | None:
    return None if wait is None or wait.seconds is None else round(wait.seconds * 1000, 1)
