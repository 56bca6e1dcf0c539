"""Whether a target has a place for one more attempt, a caller for one more request, and what holds one (B5, B8, B11).

A cap stands on a target of a pool or on a Provider, and both may stand in an attempt's way. What runs there is counted
with and without a cap: one may be set on reload. An attempt takes its places when it begins and gives them back when it
ends, so a sleep between two attempts holds none. A caller's place is taken at admission, before any wait in the pool's
queue, and held to the end of the answer. Looking takes nothing (B3).

Where a cap is Adaptive, `core.adaptive` finds out how many of `max` are borne: by a Provider, or by a provider's model,
which is one for all pools and so is compared with what all of them have in flight there (B39).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from modelpool_sidecar.core.adaptive import Adaptive, Trial
from modelpool_sidecar.core.allowance import Cap, LimitKey
from modelpool_sidecar.core.health import Health
from modelpool_sidecar.core.levels import Levels
from modelpool_sidecar.core.limits import InFlight, Limited
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Target

_NOTHING = InFlight()


class Place:
    """What one attempt, or one caller's request, holds since when. Letting go twice is fine (B11)."""

    __slots__ = ("_at", "_since", "_trials")

    def __init__(self, at: Iterable[InFlight], now: float) -> None:
        self._at, self._since = tuple(at), now
        self._trials: Sequence[tuple[Adaptive, Trial]] = ()
        for each in self._at:
            each.count += 1

    def __repr__(self) -> str:
        return f"<Place since {self._since:g}>" if self._at else "<Place: released>"

    def tried(self, trials: Sequence[tuple[Adaptive, Trial]]) -> None:
        """The attempt tells these limits how it goes."""
        self._trials = trials

    def first_token(self, now: float) -> None:
        """Its stream has brought its first token."""
        for adaptive, trial in self._trials:
            adaptive.first_token(trial, now)

    def end(self, now: float, outcome: Outcome, status: int | None = None, *, blameless: bool = False) -> None:
        """The attempt is over, and this is what it came to."""
        trials, self._trials = self._trials, ()
        for adaptive, trial in trials:
            adaptive.end(trial, outcome, status, blameless=blameless)
        self.release(now)

    def release(self, now: float | None = None) -> None:
        """It is over. `now`: None where nobody asks how long it was held."""
        at, self._at = self._at, ()
        for each in at:
            each.count -= 1
            if now is not None:
                each.held(now - self._since)


class Caps:
    """All attempts that run, by target and by Provider. `levels` knows how many sidecars share a cap (B13), `health`
    how many attempts all pools have at a provider's model."""

    def __init__(self, levels: Levels, health: Callable[[Target], Health]) -> None:
        self._levels, self._health = levels, health
        self._running: dict[LimitKey, InFlight] = {}
        self._adaptive: dict[tuple[str, ...], Adaptive] = {}

    def __repr__(self) -> str:
        return f"<Caps: {len(self._running)} counted>"

    def begin(self, target: Target, now: float) -> Place:
        """An attempt begins, whether it fits or not: who asks has looked at `refusal`. Its health knows it already."""
        place = Place([self._at(key) for key in target.places], now)
        if target.caps and any(cap.identity is not None for cap in target.caps):
            place.tried([self._trial(cap, target, now) for cap in target.caps if cap.identity is not None])
        return place

    def in_flight(self, key: LimitKey) -> int:
        """How many attempts run there."""
        found = self._running.get(key)
        return 0 if found is None else found.count

    def refusal(self, target: Target) -> Limited | None:
        """The cap that stands in the way of one more, and of two the one that will for longer."""
        worst: Limited | None = None
        for cap in target.caps:
            running, share = self._running.get(cap.key, _NOTHING), self.share(cap)
            most = share if cap.identity is None else self.allowed(cap)
            if running.count < share and (most == share or self._beside(cap, target) < most):
                continue
            wait = running.retry_after(most)
            if worst is None or wait > worst.retry_after:
                worst = Limited("concurrency", wait, most, "concurrency", level=cap.level, adaptive=most < share)
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

    def used(self, caps: Sequence[Cap], target: Target | None = None) -> float:
        """The part that is taken of the cap of which most is; 0 where there is none."""
        return max((1 - self._left(cap, target) / self.allowed(cap) for cap in caps), default=0.0)

    def share(self, cap: Cap) -> int:
        """This sidecar's part: at least 1, or nobody would be asked there."""
        return max(1, cap.max // self._levels.sidecars)

    def allowed(self, cap: Cap) -> int:
        """How many at once: this sidecar's part, or what was found out where that is less."""
        share = self.share(cap)
        adaptive = None if cap.identity is None else self._adaptive.get(cap.identity)
        return share if adaptive is None else adaptive.allowed(share)

    def retain(self, keep: set[LimitKey], identities: set[tuple[str, ...] | None]) -> None:
        """Forget what no snapshot mentions, once nothing runs there: what comes back must not find too few (B48)."""
        self._running = {key: each for key, each in self._running.items() if key in keep or each.count}
        self._adaptive = {key: each for key, each in self._adaptive.items() if key in identities}

    def describe(self, cap: Cap, target: Target | None = None) -> dict[str, Any]:
        """For `/-/state`, beside the limits that refill: what is left, what runs, and what was found out."""
        adaptive = {} if cap.identity is None else {"adaptive": self.allowed(cap)}
        return {
            "name": cap.name,
            "level": cap.level,
            "max": self.share(cap),
            "remaining": self._left(cap, target),
            "inFlight": self.in_flight(cap.key),
            **adaptive,
        }

    def _left(self, cap: Cap, target: Target | None) -> int:
        share, most, running = self.share(cap), self.allowed(cap), self.in_flight(cap.key)
        beside = running if most == share or target is None else self._beside(cap, target)
        return max(0, min(share - running, most - beside))

    def _beside(self, cap: Cap, target: Target) -> int:
        """What is in flight where an adaptive limit counts."""
        return self._health(target).in_flight if cap.level == "target" else self.in_flight(cap.key)

    def _trial(self, cap: Cap, target: Target, now: float) -> tuple[Adaptive, Trial]:
        assert cap.identity is not None, "it is Adaptive"
        adaptive = self._adaptive.setdefault(cap.identity, Adaptive())
        return adaptive, adaptive.begin(self._beside(cap, target), self.share(cap), now)

    def _at(self, key: LimitKey) -> InFlight:
        found = self._running.get(key)
        if found is None:
            found = self._running[key] = InFlight()
        return found
