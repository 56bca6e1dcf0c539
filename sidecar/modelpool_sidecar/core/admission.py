"""Whether a request may start now, waits for a place, or is refused, and who is next (B8, B9, B11).

A request takes from its caller's limits and the pool's in one step, and a place in the pool. Where only a place lacks
and the pool has a queue it waits for one: for the pool's own, or, while nobody who serves has one, for one at any of
its targets: at the target itself, at its Provider, or in a pool that it stands behind.
"""

from collections.abc import Callable, Container
from dataclasses import replace

from modelpool_sidecar.core import queue
from modelpool_sidecar.core.allowance import NOBODY, Asker, Cap
from modelpool_sidecar.core.caps import Caps
from modelpool_sidecar.core.grip import Found, Grip
from modelpool_sidecar.core.health import Health
from modelpool_sidecar.core.levels import Levels
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.queue import Places, Waiting
from modelpool_sidecar.core.snapshot import Pool, Target


class Admission:
    """What runs and waits in every pool. `health`: of a target, whose places are worth waiting for while it serves."""

    def __init__(self, sidecars: int, health: Callable[[Target], Health]) -> None:
        self.levels = Levels(sidecars)
        self.caps = Caps(self.levels, health)
        self._health_of = health
        self._places: dict[str, Places] = {}

    @property
    def running(self) -> int:
        """Requests in flight, in all pools."""
        return sum(places.count for places in self._places.values())

    def admit(self, pool: Pool, now: float, asker: Asker = NOBODY) -> Permit | Waiting | Limited:
        """One request: all limits of the pool in one step, or none of them (B9); where only a place lacks, it waits.

        Who waits has taken its share of the limits on requests; `take_turn` gives it a place, `give_up` ends its wait.
        """
        found, places = self.levels.find(pool.admission_limits(asker.caller), asker, now), self.places(pool)
        cap = pool.caller_cap(asker.caller)
        refused = self._refusal(pool, places, found, cap, crowded=self.crowded(pool, now))
        if refused is None:
            return Permit(places, found.take(), self.caps.admit(cap, now))
        if refused.kind != "concurrency" or pool.queue is None or len(places.line) >= pool.queue.max:
            return refused
        if found.refusal() is not None or self.caps.caller_refusal(cap, places) is not None:
            return refused
        own = self.caps.admit(cap, now)
        waiting = Waiting(queue.row(pool.request_limits, asker), now, found.take(), own)
        places.line.join(waiting)
        return waiting

    def admit_now(self, pool: Pool, now: float, asker: Asker = NOBODY) -> Permit | Limited:
        """As `admit`, for one who has another way and does not wait for a place (B20); it overtakes nobody who does."""
        found, places = self.levels.find(pool.admission_limits(asker.caller), asker, now), self.places(pool)
        cap = pool.caller_cap(asker.caller)
        refused = self._refusal(pool, places, found, cap)
        return Permit(places, found.take(), self.caps.admit(cap, now)) if refused is None else refused

    def admit_stored(self, pool: Pool, now: float, asker: Asker = NOBODY) -> Grip | Limited:
        """One that asks no provider: of its caller's limits and the pool's only those on requests count (B53)."""
        limits = [limit for limit in pool.admission_limits(asker.caller) if limit.unit == "requests"]
        found = self.levels.find(limits, asker, now)
        return found.refusal() or found.take()

    def take_turn(self, pool: Pool, now: float) -> tuple[Waiting, Permit] | None:
        """Who is next, with its place, where one is free."""
        places, most = self.places(pool), self.most(pool)
        if not places.line or (most is not None and places.count >= most) or self.crowded(pool, now):
            return None
        waiting = places.line.next()
        return None if waiting is None else (waiting, Permit(places, waiting.grip, waiting.own))

    def give_up(self, pool: str, waiting: Waiting, now: float) -> None:
        """Its wait ends without a place, and it is as if it had not come (B9)."""
        places = self._places.get(pool)
        if places is not None:
            places.line.leave(waiting)
        waiting.grip.give_back(now)
        if waiting.own is not None:
            waiting.own.release()

    def would_allow(self, pool: Pool, now: float, asker: Asker = NOBODY) -> bool:
        """Whether `admit` would; looking never consumes (B3)."""
        found, crowded = self.levels.find(pool.admission_limits(asker.caller), asker, now), self.crowded(pool, now)
        return self._refusal(pool, self.places(pool), found, pool.caller_cap(asker.caller), crowded=crowded) is None

    def crowded(self, pool: Pool, now: float) -> bool:
        """Whether a request had better wait in the queue: some targets have no place, and no other one takes requests,
        for it is drained, cools, or is at a limit that all share."""
        if pool.queue is None:
            return False
        full = False
        for target in pool.targets.values():
            if target.provider.drained:
                continue
            if (target.caps and self.caps.refusal(target) is not None) or (target.gated and self._shut(target)):
                full = True
            elif self._health_of(target).available(now) and not self.levels.opens_in(target.limits, now):
                return False
        return full

    def opens_in(self, pool: Pool, now: float) -> float | None:
        """Seconds until another target may be asked again, by its cooldown and its limits: who waits for a place need
        not wait longer. None where time alone brings none back, or nobody waits for one."""
        places, most, soonest = self.places(pool), self.most(pool), None
        if not places.line or (most is not None and places.count >= most):
            return None
        for target in pool.targets.values():
            until = self._health_of(target).until(now)
            if target.provider.drained or (until is None and not self._health_of(target).available(now)):
                continue
            wait = max(0.0 if until is None else until - now, self.levels.opens_in(target.limits, now))
            if wait > 0 and (soonest is None or wait < soonest):
                soonest = wait
        return soonest

    def _shut(self, target: Target) -> bool:
        """Whether a pool on the way to the target has no place: who waits there has come before."""
        return any(not self.places(pool).free(self.most(pool)) for pool in target.passed)

    def retry_after(self, pool: Pool) -> float:
        """Seconds until a place of the pool is expected to be free."""
        return self.places(pool).retry_after(self.most(pool) or 1)

    def waiting(self, pool: Pool) -> int:
        """How many requests of the pool wait for a place."""
        found = self._places.get(pool.name)
        return len(found.line) if found else 0

    def in_flight(self, pool: Pool) -> int:
        """How many requests of the pool run at the moment."""
        found = self._places.get(pool.name)
        return found.count if found else 0

    def places(self, pool: Pool) -> Places:
        """The places of the pool, and who waits for one."""
        found = self._places.get(pool.name)
        if found is None:
            found = self._places[pool.name] = Places()
        return found

    def most(self, pool: Pool) -> int | None:
        """This sidecar's part of the pool's concurrency: at least 1, or the pool would never answer here."""
        return None if pool.concurrency is None else max(1, pool.concurrency // self.levels.sidecars)

    def forget(self, keep: Container[str]) -> list[str]:
        """Pools that are no more, by name; what runs there on speaks to nobody."""
        gone = [name for name in self._places if name not in keep]
        for name in gone:
            del self._places[name]
        return gone

    def _refusal(
        self, pool: Pool, places: Places, found: Found, cap: Cap | None, *, crowded: bool = False
    ) -> Limited | None:
        """The one that lasts longest."""
        worst, most = found.refusal(), self.most(pool)
        full = self.caps.caller_refusal(cap, places)
        if full is not None and (worst is None or worst.retry_after < full.retry_after):
            worst = replace(full, told=found.told())
        if most is None or (places.free(most) and not crowded):
            return worst
        wait = places.retry_after(most)
        if worst is not None and worst.retry_after >= wait:
            return worst
        level = "target" if crowded and places.count < most else "pool"
        return Limited("concurrency", wait, most, "concurrency", found.told(), level, waiting=len(places.line))
