"""Whether a target has a place for one more attempt, a caller for one more request, and what holds one (B5, B8, B11).

A cap stands on a target of a pool or on a Provider, and both may stand in an attempt's way. What runs there is counted
with and without a cap: one may be set on reload. An attempt takes its places when it begins and gives them back when it
ends, so a sleep between two attempts holds none. A caller's place is taken at admission, before any wait in the pool's
queue, and held to the end of the answer. Looking takes nothing (B3).
"""

from collections.abc import Iterable
from typing import Any

from modelpool_sidecar.core.allowance import Cap, LimitKey
from modelpool_sidecar.core.levels import Levels
from modelpool_sidecar.core.limits import InFlight, Limited
from modelpool_sidecar.core.snapshot import Target


class Place:
    """What one attempt, or one caller's request, holds since when. Letting go twice is fine (B11)."""

    __slots__ = ("_at", "_since")

    def __init__(self, at: Iterable[InFlight], now: float) -> None:
        self._at, self._since = tuple(at), now
        for each in self._at:
            each.count += 1

    def __repr__(self) -> str:
        return f"<Place since {self._since:g}>" if self._at else "<Place: released>"

    def release(self, now: float | None = None) -> None:
        """It is over. `now`: None where nobody asks how long it was held."""
        at, self._at = self._at, ()
        for each in at:
            each.count -= 1
            if now is not None:
                each.held(now - self._since)


class Caps:
    """All attempts that run, by target and by Provider. `levels` knows how many sidecars share a cap (B13)."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._running: dict[LimitKey, InFlight] = {}

    def __repr__(self) -> str:
        return f"<Caps: {len(self._running)} counted>"

    def begin(self, target: Target, now: float) -> Place:
        """An attempt begins, whether it fits or not: who asks has looked at `refusal`."""
        return Place([self._at(key) for key in target.places], now)

    def in_flight(self, key: LimitKey) -> int:
        """How many attempts run there."""
        found = self._running.get(key)
        return 0 if found is None else found.count

    def refusal(self, target: Target) -> Limited | None:
        """The cap that stands in the way of one more, and of two the one that will for longer."""
        worst: Limited | None = None
        for cap in target.caps:
            running, most = self._running.get(cap.key), self.share(cap)
            if running is None or running.count < most:
                continue
            wait = running.retry_after(most)
            if worst is None or wait > worst.retry_after:
                worst = Limited("concurrency", wait, most, "concurrency", level=cap.level)
        return worst

    def admit(self, cap: Cap | None, now: float) -> Place | None:
        """A request of a caller with a cap is admitted; who asks has looked at `caller_refusal`."""
        return None if cap is None else Place([self._at(cap.key)], now)

    def caller_refusal(self, cap: Cap | None, pool: InFlight) -> Limited | None:
        """Whether the caller has as many requests at once as it may; `pool` knows how long its requests take."""
        if cap is None or self.in_flight(cap.key) < self.share(cap):
            return None
        most = self.share(cap)
        return Limited("concurrency", pool.retry_after(most), most, "concurrency", level=cap.level, own=True)

    def used(self, target: Target) -> float:
        """The part that is taken of the cap of which most is; 0 where there is none."""
        return max((self.in_flight(cap.key) / self.share(cap) for cap in target.caps), default=0.0)

    def share(self, cap: Cap) -> int:
        """This sidecar's part: at least 1, or nobody would be asked there."""
        return max(1, cap.max // self._levels.sidecars)

    def retain(self, keep: set[LimitKey]) -> None:
        """Forget what no snapshot mentions, once nothing runs there: what comes back must not find too few (B48)."""
        self._running = {key: each for key, each in self._running.items() if key in keep or each.count}

    def describe(self, cap: Cap) -> dict[str, Any]:
        """For `/-/state`, beside the limits that refill: what is left, and what runs."""
        most, running = self.share(cap), self.in_flight(cap.key)
        return {
            "name": cap.name,
            "level": cap.level,
            "max": most,
            "remaining": max(0, most - running),
            "inFlight": running,
        }

    def _at(self, key: LimitKey) -> InFlight:
        found = self._running.get(key)
        if found is None:
            found = self._running[key] = InFlight()
        return found
