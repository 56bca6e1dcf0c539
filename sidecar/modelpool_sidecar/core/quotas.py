"""Which targets stand behind one account, so that its limits cool all of them (B22).

A quota domain is a word that Providers share. RateLimited and QuotaExhausted speak of the account, so the cooldown of
one target becomes that of all; Unreachable, Failed and Denied speak of one endpoint or one key, and stay there.
The cooldowns themselves lie in each target's health: they survive reloads and are forgotten with it (B48).
"""

from collections.abc import Callable, Mapping

from modelpool_sidecar.core.health import Health
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool, Snapshot, Target, TargetKey

SHARED = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA_EXHAUSTED})
"""What an answer says of the account and not of the endpoint."""


class Quotas:
    """The domains of the snapshot in force. `health` finds, or makes, the health of a target."""

    def __init__(self, health: Callable[[Target], Health]) -> None:
        self._health = health
        self._domains: Mapping[str, Mapping[TargetKey, Target]] = {}

    def __repr__(self) -> str:
        return f"<Quotas: {', '.join(f'{name} {len(targets)}' for name, targets in self._domains.items()) or 'none'}>"

    def ended(self, target: Target, outcome: Outcome, now: float) -> None:
        """An attempt is over, and its target's health knows. What cooled it for the account cools the others."""
        told = self._health(target)
        if outcome not in SHARED or told.reason is not outcome or told.until(now) is None:
            return
        domain = target.provider.quota_domain or ""
        for key, other in self._domains.get(domain, {}).items():
            if key != target.key:
                self._health(other).join(told, now)

    def retain(self, snapshot: Snapshot) -> None:
        """These are the domains now."""
        domains: dict[str, dict[TargetKey, Target]] = {}
        for pool in snapshot.pools.values():
            for target in pool.targets.values() if isinstance(pool, Pool) else ():
                if target.provider.quota_domain is not None:
                    domains.setdefault(target.provider.quota_domain, {})[target.key] = target
        self._domains = domains
