"""What share of its traffic an account can still take, before it says 429 (B39).

Theory. While more than a part of every limit is left (`PLENTY`), the share is full. Below, it falls in proportion to
what is left, to a floor; an empty limit is left alone for a short time, as after a Retry-After. Between two answers a
limit fills up evenly until its reset. The share falls at once and rises no faster than from nothing to full in two of
the longest resets seen: a proportional controller whose way up is slow, so that it settles where traffic and refill
meet instead of swinging about it, though every sidecar of an account sees the same headers and some of them late.

A share is a weight among others and no limit: where nobody else in the tier can take the traffic, it changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelpool_sidecar.core import ratelimits
from modelpool_sidecar.core.ratelimits import MAX_KINDS, MAX_RESET, PLENTY, Left
from modelpool_sidecar.core.retryafter import Headers
from modelpool_sidecar.core.snapshot import Pool, Snapshot, Target

FLOOR = 0.05
"""What is asked for in any case while something is left: its answers tell how much."""
EMPTY = 0.001
"""With nothing left. Not 0, which would make it equal to a target that people drained (B2)."""
EMPTY_SECONDS = 10.0
"""How long nothing is sent after an empty limit, at most: what fills evenly has some long before its reset."""

RISE = 2.0
"""Resets from nothing to full. With one, late answers make the share swing twice as often (simulated over an hour)."""

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an answer said, and when."""

    left: Left
    at: float

    @property
    def until(self) -> float:
        return self.at + self.left.reset

    def part(self, now: float) -> float:
        """What is left by now, filled up evenly until the reset."""
        if now >= self.until:
            return 1.0
        return self.left.part + (1 - self.left.part) * max(0.0, now - self.at) / self.left.reset

    def share(self, now: float) -> float:
        """What it allows by itself."""
        if self.left.remaining <= 0 and now < self.at + min(self.left.reset, EMPTY_SECONDS):
            return EMPTY
        return FLOOR + (1 - FLOOR) * min(1.0, self.part(now) / PLENTY)


class Shape:
    """The share of one account. `hear` changes it; everything else only looks."""

    __slots__ = ("_at", "_level", "_rise", "_seen")

    def __init__(self) -> None:
        self._seen: dict[tuple[str, float], _Seen] = {}
        self._level, self._at, self._rise = 1.0, 0.0, 1.0

    def __repr__(self) -> str:
        return f"<Shape {self.share(self._at):.3g} by {', '.join(kind for kind, _ in self._seen) or 'nothing'}>"

    def hear(self, said: Sequence[Left], now: float) -> None:
        """An answer has told. Limits of one kind and another size are another model's: they stand side by side."""
        level = self.share(now)
        self._seen = {key: seen for key, seen in self._seen.items() if now < seen.until}
        for left in said:
            key = (left.kind, left.limit)
            self._seen.pop(key, None)
            if left.part < PLENTY and left.reset > 0:
                if len(self._seen) >= MAX_KINDS:
                    del self._seen[next(iter(self._seen))]
                self._seen[key] = _Seen(left, now)
        longest = max((seen.left.reset for seen in self._seen.values()), default=0.0)
        if level >= 1:
            self._rise = 1.0
        self._rise = min(MAX_RESET, max(self._rise, RISE * longest))
        self._level, self._at = min(level, self._allowed(now)), now

    def share(self, now: float) -> float:
        """From `EMPTY` to 1."""
        return min(self._allowed(now), self._level + max(0.0, now - self._at) / self._rise)

    def describe(self, now: float) -> dict[str, Any] | None:
        """For `/-/state`: by what it is held back; None where it is not."""
        share, tightest = self.share(now), self._tightest(now)
        if share >= 1:
            return None
        told: dict[str, Any] = {"share": round(share, 3)}
        if tightest is not None:
            left = tightest.left
            told |= {"by": left.kind, "remaining": left.remaining, "limit": left.limit}
            told["reset"] = round(tightest.until - now, 3)
        return told

    def _tightest(self, now: float) -> _Seen | None:
        running = [seen for seen in self._seen.values() if now < seen.until]
        return min(running, key=lambda seen: seen.share(now), default=None)

    def _allowed(self, now: float) -> float:
        return min((seen.share(now) for seen in self._seen.values()), default=1.0)


class Shaping:
    """The shapes of all accounts: by quota domain, else by the target's own identity (B22, B48)."""

    def __init__(self) -> None:
        self._shapes: dict[Key, Shape] = {}

    def __repr__(self) -> str:
        return f"<Shaping of {len(self._shapes)} accounts>"

    def __bool__(self) -> bool:
        """Whether any account runs short."""
        return bool(self._shapes)

    def hear(self, target: Target, headers: Headers, now: float, wall: float) -> None:
        """An answer of the target has begun. Nothing is kept of accounts that never run short."""
        said = ratelimits.read(headers, wall)
        if not said:
            return
        shape = self._shapes.get(_account(target))
        if shape is None:
            if all(left.part >= PLENTY for left in said):
                return
            shape = self._shapes[_account(target)] = Shape()
        shape.hear(said, now)

    def share(self, target: Target, now: float) -> float:
        """What the target's account can take."""
        if not self._shapes:
            return 1.0
        shape = self._shapes.get(_account(target))
        return 1.0 if shape is None else shape.share(now)

    def describe(self, target: Target, now: float) -> dict[str, Any] | None:
        """For `/-/state`."""
        shape = self._shapes.get(_account(target))
        return None if shape is None else shape.describe(now)

    def retain(self, snapshot: Snapshot) -> None:
        """Keep the accounts that the snapshot mentions."""
        pools = [pool for pool in snapshot.pools.values() if isinstance(pool, Pool)]
        mentioned = {_account(target) for pool in pools for target in pool.targets.values()}
        self._shapes = {key: shape for key, shape in self._shapes.items() if key in mentioned}


def _account(target: Target) -> Key:
    domain = target.provider.quota_domain
    return target.key if domain is None else ("quota domain", domain)
