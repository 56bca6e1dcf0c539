"""What survives a reload: the limits' buckets, the targets' health, the retry budgets, what is in flight (B48).

Everything is found by identity: a target by provider, base URL, model and credential, a limit by its level and name, a
budget and the requests in flight by the pool. A reload changes shapes and thresholds under them; only what no snapshot
mentions any more is forgotten. A permit or ticket that outlives what it came from speaks to nobody, which is harmless.
"""

from dataclasses import replace
from typing import Any

from modelpool_sidecar.core import chaining, queue
from modelpool_sidecar.core.allowance import NOBODY, Asker, Cap, place
from modelpool_sidecar.core.budget import RetryBudget
from modelpool_sidecar.core.cache import Cache
from modelpool_sidecar.core.caps import Caps
from modelpool_sidecar.core.estimate import Estimates
from modelpool_sidecar.core.health import Health
from modelpool_sidecar.core.hedging import HedgesByPool
from modelpool_sidecar.core.learned import Learned
from modelpool_sidecar.core.levels import Found, Grip, Levels
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.queue import Places, Waiting
from modelpool_sidecar.core.quotas import Quotas
from modelpool_sidecar.core.shaping import Shaping
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target, TargetKey


class State:
    """One per process. `sidecars` (how many share a Divided limit, B13) may be set at any time."""

    def __init__(self, sidecars: int = 1) -> None:
        self.levels = Levels(sidecars)
        self.caps = Caps(self.levels, self.health)
        self._places: dict[str, Places] = {}
        self._health: dict[TargetKey, Health] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._unsupported: set[tuple[TargetKey, str]] = set()
        self.learned = Learned()
        self.hedges = HedgesByPool()
        self.estimates = Estimates()
        self.quotas = Quotas(self.health)
        self.shaping = Shaping()
        self.cache = Cache()

    def __repr__(self) -> str:
        running = sum(pool.count for pool in self._places.values())
        return f"<State: {len(self._health)} targets, {len(self.levels.buckets)} buckets, {running} requests in flight>"

    @property
    def sidecars(self) -> int:
        """How many sidecars divide the Divided limits among them, this one included."""
        return self.levels.sidecars

    @sidecars.setter
    def sidecars(self, count: int) -> None:
        """The shares change at once; buckets take their new shape when they are next looked at."""
        self.levels.sidecars = max(1, count)

    def admit(self, pool: Pool, now: float, asker: Asker = NOBODY) -> Permit | Waiting | Limited:
        """One request: all limits of the pool in one step, or none of them (B9); where only a place lacks, it waits.

        In a pool with a queue that is a place of the pool's, or one at any of its targets. Who waits has taken its
        share of the limits on requests; `take_turn` gives it a place, `give_up` ends its wait.
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
        """Whether a request had better wait in the queue: whoever serves is at its cap, and the others do not serve."""
        if pool.queue is None:
            return False
        full = False
        for target in pool.targets.values():
            if target.caps and self.caps.refusal(target) is not None:
                full = True
            elif not target.provider.drained and self.health(target).available(now):
                return False
        return full

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

    def health(self, target: Target) -> Health:
        """The health of a target, shared by all pools that use it. A new identity serves at once (B36)."""
        found = self._health.get(target.key)
        if found is None:
            found = self._health[target.key] = _fresh(target)
        return found

    def share(self, target: Target, now: float) -> float:
        """The part of its weight that it takes: less than 1 while it ramps up, or its account runs short (B36, B39)."""
        return self.health(target).share(now) * self.shaping.share(target, now)

    def budget(self, pool: Pool) -> RetryBudget:
        """The pool's retry budget, with the percentages of this snapshot."""
        percent, per_second = pool.fallback.budget_percent, pool.fallback.budget_per_second
        found = self._budgets.get(pool.name)
        if found is None:
            found = self._budgets[pool.name] = RetryBudget(percent, per_second)
        found.percent, found.per_second = percent, per_second
        return found

    def open_count(self, provider: str) -> int:
        """Attempts in flight at a provider; `connections.maxOpen` is compared with it."""
        return self.caps.in_flight(place("provider", provider))

    def unsupported(self, key: TargetKey, operation: str) -> bool:
        """Whether the target has said that it does not know this operation."""
        return (key, operation) in self._unsupported

    def mark_unsupported(self, key: TargetKey, operation: str) -> None:
        """It has said so; believed until the next reload."""
        self._unsupported.add((key, operation))

    def retain(self, snapshot: Snapshot) -> list[tuple[str, ...]]:
        """Keep what the snapshot mentions, with its settings, and return the keys of what was forgotten.

        A pool that is closed for the moment keeps its buckets: closing and opening again must not refill them.
        """
        self._unsupported.clear()
        self.learned.retain(snapshot)
        self.estimates.retain(snapshot)
        self.quotas.retain(snapshot)
        self.shaping.retain(snapshot)
        self.cache.retain(snapshot)
        pools = [pool for pool in snapshot.pools.values() if isinstance(pool, Pool)]
        every = [target for pool in pools for target in pool.targets.values()]
        targets = {target.key: target for target in every}
        limits = {limit.key for pool in pools for limit in pool.request_limits}
        limits |= {limit.key for pool in pools for own in pool.caller_limits.values() for limit in own}
        limits |= {limit.key for target in every for limit in target.limits}
        shut = {pool.name for pool in snapshot.pools.values() if isinstance(pool, ClosedPool)}
        self.hedges.retain({pool.name for pool in pools if pool.hedging is not None} | shut)
        forgotten: list[tuple[str, ...]] = []
        for key in [key for key in self._health if key not in targets]:
            del self._health[key]
            forgotten.append(key)
        forgotten += self.levels.retain(limits, shut)
        self.caps.retain(
            {key for target in every for key in target.places}
            | {cap.key for pool in pools for cap in pool.caller_caps.values()},
            {cap.identity for target in every for cap in target.caps},
        )
        for name in [name for name in {**self._places, **self._budgets} if name not in snapshot.pools]:
            self._places.pop(name, None)
            self._budgets.pop(name, None)
            forgotten.append(("pool", name))
        for key, health in self._health.items():
            health.settings = targets[key].provider.health
        return forgotten

    def describe(self, snapshot: Snapshot, now: float) -> dict[str, Any]:
        """For `/-/state`: what a person asks first, in plain values. Looking makes nothing."""
        return {
            "digest": snapshot.digest,
            "namespace": snapshot.namespace,
            "sidecars": self.sidecars,
            "pools": [self._describe_pool(pool, now) for pool in snapshot.pools.values()],
            "providers": [
                {
                    "name": name,
                    "open": self.open_count(name),
                    "maxOpen": provider.max_open,
                    "drained": provider.drained,
                    "limits": [
                        *(self.levels.describe(limit, now) for limit in provider.limits),
                        *(self.caps.describe(cap) for cap in provider.caps),
                    ],
                }
                for name, provider in snapshot.providers.items()
            ],
        }

    def _describe_pool(self, pool: Pool | ClosedPool, now: float) -> dict[str, Any]:
        if isinstance(pool, ClosedPool):
            return {"name": pool.name, "models": list(pool.models), "closed": pool.code, "message": pool.message}
        budget = self._budgets.get(pool.name) or RetryBudget(
            pool.fallback.budget_percent, pool.fallback.budget_per_second
        )
        return {
            "name": pool.name,
            "models": list(pool.models),
            "closed": None,
            "digest": pool.digest,
            "strategy": pool.strategy.type,
            "inFlight": self.in_flight(pool),
            "concurrency": self.most(pool),
            "queue": None
            if pool.queue is None
            else {"waiting": self.waiting(pool), "max": pool.queue.max, "timeout": pool.queue.timeout},
            "cache": self.cache.describe(pool, now),
            "retriesLeft": budget.remaining(now),
            "hedging": None if pool.hedging is None else self.hedges.describe(pool.name, pool.hedging),
            "fallbackPools": {when: list(names) for when, names in pool.fallback.pools.items()},
            "limits": [self.levels.describe(limit, now) for limit in pool.request_limits],
            "callerLimits": [
                *(
                    {"caller": name, **self.levels.describe(limit, now)}
                    for name, own in pool.caller_limits.items()
                    for limit in own
                ),
                *({"caller": name, **self.caps.describe(cap)} for name, cap in pool.caller_caps.items()),
            ],
            "targets": [
                {
                    **self._describe_target(target, now),
                    **self.learned.describe(pool, target),
                    **(chaining.told(pool, target) if pool.behind else {}),
                }
                for target in pool.targets.values()
            ],
            "poolTargets": [
                {"name": each.name, "pool": each.pool.name, "weight": each.weight, "priority": each.priority}
                for each in pool.pool_targets
            ],
            "unresolved": [
                {"name": left_out.target, "reason": left_out.reason, "message": left_out.message}
                for left_out in pool.unresolved
            ],
        }

    def _describe_target(self, target: Target, now: float) -> dict[str, Any]:
        health = self._health.get(target.key) or _fresh(target)
        return {
            "name": target.name,
            "provider": target.provider.name,
            "model": target.model,
            "priority": target.priority,
            "weight": target.weight,
            "drained": target.provider.drained,
            "quotaDomain": target.provider.quota_domain,
            **health.describe(now),
            "limits": self._describe_limits(target, now),
            "share": round(health.share(now) * self.shaping.share(target, now), 3),
            "shaped": self.shaping.describe(target, now),
            "unsupported": sorted(operation for key, operation in self._unsupported if key == target.key),
        }

    def _describe_limits(self, target: Target, now: float) -> list[dict[str, Any]]:
        """With whose they are, where some belong to pools on the way."""
        keys = [limit.key for limit in target.limits] + [cap.key for cap in target.caps]
        told = [self.levels.describe(limit, now) for limit in target.limits]
        told += [self.caps.describe(cap, target) for cap in target.caps]
        if target.through is None:
            return told
        return [{**each, "owner": key[1]} for key, each in zip(keys, told, strict=True)]

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

    def places(self, pool: Pool) -> Places:
        """The places of the pool, and who waits for one."""
        found = self._places.get(pool.name)
        if found is None:
            found = self._places[pool.name] = Places()
        return found

    def most(self, pool: Pool) -> int | None:
        """This sidecar's part of the pool's concurrency: at least 1, or the pool would never answer here."""
        return None if pool.concurrency is None else max(1, pool.concurrency // self.sidecars)


def _fresh(target: Target) -> Health:
    return Health(target.provider.health, f"{target.provider.name}/{target.model or '*'}")
