"""Which way does a request go: its pool, the targets there that take it, who asks; or why none."""

from dataclasses import dataclass, replace

from modelpool_sidecar.core import access, callers, chains, estimate, onward, routing, stateful
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target
from modelpool_sidecar.services import Services


@dataclass(frozen=True, slots=True)
class Way:
    """Where a request goes, as a snapshot has it."""

    snapshot: Snapshot
    pool: Pool
    tiers: Tiers | Refusal
    """A refusal: no target of this pool, but there are other pools for it (B20)."""
    asker: Asker
    visitor: Visitor


class Ways:
    """Finds them; takes nothing."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def find(self, snapshot: Snapshot, request: Request) -> Way | tuple[Refusal, Pool | ClosedPool | None, str | None]:
        """Where it goes; else why not, the pool as far as one was found, and who asked."""
        visitor = self.visitor(snapshot, request)
        if request.operation.state:
            pool = stateful.place(snapshot, request, visitor)
        else:
            pool = access.find(snapshot, request.model, visitor)
        if isinstance(pool, Refusal):
            return pool, None, None
        caller = visitor.caller(pool)
        if isinstance(pool, ClosedPool):
            return routing.closed(pool), pool, caller
        asker = Asker(request.headers, snapshot.namespace, caller)
        if pool.behind:
            asker = replace(asker, names=chains.names(pool, visitor))
        within = _pin(pool, request, asker) or stateful.home(pool, request)
        if isinstance(within, Refusal):
            return within, pool, caller
        tiers = onward.candidates(pool, request, asker, ((within,),) if isinstance(within, Target) else within)
        if not tiers:
            return access.stranger(snapshot, visitor, request.model) or routing.nothing_open(pool), pool, caller
        if pool.stateful is not None and request.ties.kept and not isinstance(tiers, Refusal):
            tiers = stateful.preferred(pool, request, tiers)
        if isinstance(tiers, Refusal) and not onward.may_leave(pool, request, tiers):
            return tiers, pool, caller
        if pool.counts_tokens and not request.operation.state:  # what is only kept costs none
            size = estimate.size(request)
            tokens = self._services.state.estimates.of_pool(pool, size)
            asker = replace(asker, size=size, tokens=tokens)
        return Way(snapshot, pool, tiers, asker, visitor)

    def visitor(self, snapshot: Snapshot, request: Request) -> Visitor:
        """Who asks, by the keys that callers have."""
        digest = callers.shown(request.headers) if snapshot.caller_files else None
        return Visitor(self._services.callers, digest, self._services.clock.now())


def _pin(pool: Pool, request: Request, asker: Asker) -> Tiers | Refusal | None:
    """The target that `x-modelpool-target` names, if the pool allows it (B20)."""
    if request.pinned is None:
        return None
    if not pool.pinning:
        return Refusal("pinning_denied", f"pool {pool.name} does not allow x-modelpool-target", param=None)
    meant = chains.open_to(chains.named(pool, request.pinned), asker.names)
    into = meant[0][0].passed[: request.pinned.count("/")] if meant else ()
    closed = next((each.name for each in into if not each.pinning), None)
    if closed is not None:
        return Refusal("pinning_denied", f"pool {closed} does not allow x-modelpool-target")
    if not meant:
        there = chains.open_to(pool.tiers, asker.names)
        names = ", ".join(target.name for tier in there for target in tier)
        return Refusal("unknown_target", f"pool {pool.name} has no target {request.pinned!r}; there is {names}")
    return meant
