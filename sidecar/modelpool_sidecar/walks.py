"""One request's walk: over the targets of its pool, and of the pools that it falls back to."""

from dataclasses import replace

from modelpool_sidecar.core import affinity, chains, estimate, onward
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.dispatch import Dispatch
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.onward import Journey, Reach
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.services import Services


class Walks:
    """Makes the walks of one request. `asker`: who asks, as the first pool sees it."""

    def __init__(
        self, services: Services, reach: Reach, request: Request, asker: Asker, keyring: Keyring, deadline: float
    ) -> None:
        self._services, self._reach, self._request, self._asker = services, reach, request, asker
        self._keyring, self._deadline = keyring, deadline

    def first(self, pool: Pool, tiers: Tiers | Refusal) -> Dispatch | Journey:
        """Where it begins; a journey where it may go on in other pools."""
        refused = tiers if isinstance(tiers, Refusal) else None
        walk = self._over(pool, () if isinstance(tiers, Refusal) else tiers, self._asker)
        if pool.fallback.pools and onward.is_free(pool, self._request):
            return Journey(walk, self._reach.snapshot.pools, self._enter, refused)
        return walk

    def _over(self, pool: Pool, tiers: Tiers, asker: Asker, earlier: int = 0) -> Dispatch:
        services, request = self._services, self._request
        return Dispatch(
            pool=pool,
            state=services.state,
            operation=request.operation.name,
            deadline=self._deadline,
            rng=services.rng,
            missing=self._keyring.missing,
            repeated=request.client_retry > 0,
            tiers=tiers,
            stream=request.stream,
            key=affinity.of(pool.strategy, request, asker.caller) if pool.strategy.by is not None else None,
            inner_keys=chains.keys(pool, request, asker) if pool.behind else {},
            model=request.model or "",
            asker=asker,
            once=request.ties.creates,
            earlier=earlier,
            hedged=pool.hedging is not None and onward.may_hedge(pool, request),
            hurry=request.hurry(pool.total),
        )

    def _enter(self, pool: Pool, earlier: int) -> Dispatch | None:
        """A walk over a pool that the request falls back to; None where it may not, or no target there takes it."""
        asker = self._reach.asker(pool, self._asker)
        if asker is not None and pool.counts_tokens:
            size = asker.size or estimate.size(self._request)
            asker = replace(asker, size=size, tokens=self._services.state.estimates.of_pool(pool, size))
        tiers = onward.candidates(pool, self._request, asker) if asker is not None else ()
        if asker is None or not tiers or isinstance(tiers, Refusal):
            return None
        walk = self._over(pool, tiers, asker, earlier)
        walk.last_resort, walk.prefix = False, f"{pool.name}/"
        return walk
