"""What survives a reload: the limits' buckets, the targets' health, the retry budgets, what is in flight (B48).

Everything is found by identity: a target by provider, base URL, model and credential, a limit by its level and name, a
budget and the requests in flight by the pool. A reload changes shapes and thresholds under them; only what no snapshot
mentions any more is forgotten. A permit or ticket that outlives what it came from speaks to nobody, which is harmless.
"""

from typing import Any

from modelpool_sidecar.core import chaining
from modelpool_sidecar.core.admission import Admission
from modelpool_sidecar.core.allowance import place
from modelpool_sidecar.core.budget import RetryBudget
from modelpool_sidecar.core.cache import Cache
from modelpool_sidecar.core.estimate import Estimates
from modelpool_sidecar.core.health import Health
from modelpool_sidecar.core.hedging import HedgesByPool
from modelpool_sidecar.core.learned import Learned
from modelpool_sidecar.core.quotas import Quotas
from modelpool_sidecar.core.shaping import Shaping
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target, TargetKey


class State(Admission):
    """One per process. `sidecars` (how many share a Divided limit, B13) may be set at any time."""

    def __init__(self, sidecars: int = 1) -> None:
        super().__init__(sidecars, self.health)
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
        counted = f"{len(self._health)} targets, {len(self.levels.buckets)} buckets"
        return f"<State: {counted}, {self.running} requests in flight>"

    @property
    def sidecars(self) -> int:
        """How many sidecars divide the Divided limits among them, this one included."""
        return self.levels.sidecars

    @sidecars.setter
    def sidecars(self, count: int) -> None:
        """The shares change at once; buckets take their new shape when they are next looked at."""
        self.levels.sidecars = max(1, count)

    def health(self, target: Target) -> Health:
        """The health of a target, shared by all pools that use it. A new identity serves at once (B36)."""
        found = self._health.get(target.key)
        if found is None:
            found = self._health[target.key] = _fresh(target)
        return found

    def share(self, target: Target, now: float) -> float:
        """The part of its weight that it takes: less than 1 while it ramps up, or its account runs short (B36, B39)."""
        share = self.health(target).share(now)
        return share * self.shaping.share(target, now) if self.shaping else share

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
        return bool(self._unsupported) and (key, operation) in self._unsupported

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
        gone = [*self.forget(snapshot.pools), *(name for name in self._budgets if name not in snapshot.pools)]
        for name in dict.fromkeys(gone):
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


def _fresh(target: Target) -> Health:
    return Health(target.provider.health, f"{target.provider.name}/{target.model or '*'}")
