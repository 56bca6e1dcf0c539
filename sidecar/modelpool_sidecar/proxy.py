"""What happens to a request that has arrived: parse -> route -> admit, and then its exchange.

The shell of the data path reads like the line above; every decision is made in `core`, every refusal becomes bytes in
one place here. Nothing in it knows a transport.
"""

from dataclasses import replace
from typing import Protocol

from modelpool_sidecar import account as accounts
from modelpool_sidecar.account import Account
from modelpool_sidecar.caching import Caching, Doors
from modelpool_sidecar.core import access, callers, chains, estimate, onward, routing, stateful
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.onward import Reach
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.queue import Waiting
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.exchange import Exchange
from modelpool_sidecar.ports import Downstream, Headers
from modelpool_sidecar.queueing import Ends, Queued, Queueing, Way
from modelpool_sidecar.services import Services
from modelpool_sidecar.sharing import Call

_JSON: tuple[str, str] = ("content-type", "application/json")


class Arrived(Protocol):
    """A whole request as the downstream edge read it. `target`: raw path and query; header names in lower case."""

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...
    @property
    def loopback(self) -> bool: ...


class Proxy:
    """Accepts requests; one snapshot at a time, swapped by assignment (B46)."""

    def __init__(self, services: Services) -> None:
        self.snapshot: Snapshot | None = None
        self._services = services
        self._exchanges: set[Exchange] = set()
        ends = Ends(turn=self._turn, refused=self._refuse_queued, left=self._left, again=self._again)
        self._queueing = Queueing(services.clock, services.state, ends)
        self._caching = Caching(services, Doors(self._admit, self._refuse_limited, self._current))

    def __repr__(self) -> str:
        return f"<Proxy {self.snapshot or 'without a config'}, {len(self._exchanges)} in flight>"

    @property
    def in_flight(self) -> int:
        """Requests that were admitted and are not over."""
        return len(self._exchanges)

    @property
    def running(self) -> tuple[Exchange, ...]:
        """The requests in flight."""
        return tuple(self._exchanges)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place in their pool."""
        return len(self._queueing)

    def reloaded(self) -> None:
        """Another snapshot counts, for those who wait, too: more of them may go, or none of a pool that is no more."""
        if self.snapshot is not None:
            self._queueing.reload(self.snapshot)

    def drain(self) -> None:
        """The process is to end: nobody waits for a place any more (B51)."""
        self._queueing.close()

    def accept(self, arrived: Arrived, downstream: Downstream) -> None:
        """Take a request. Never raises for what a client sends; the downstream hears exactly one answer."""
        snapshot = self.snapshot
        origin = parsing.judge_origin(arrived.headers) if arrived.loopback else None
        request = origin or parsing.parse(arrived.method, arrived.target, arrived.headers, arrived.body)
        if isinstance(request, Refusal):
            self._refuse(request, downstream, None, None)
        elif snapshot is None:
            refusal = Refusal("not_ready", "no valid config has been read yet", retry_after=1.0)
            self._refuse(refusal, downstream, request, None)
        elif request.operation.name in ("models", "model"):
            self._list_models(snapshot, request, downstream)
        else:
            way = self._way(snapshot, request, downstream)
            if way is not None:
                enter = self._admit if way.pool.cache is None else self._caching.enter
                enter(request, way, downstream)

    def _way(
        self, snapshot: Snapshot, request: Request, downstream: Downstream, arrived: float | None = None
    ) -> Way | None:
        """Where it goes; None where it was refused."""
        found = self._find(snapshot, request)
        if isinstance(found, Way):
            return found
        refusal, pool, caller = found
        self._refuse(refusal, downstream, request, pool, caller, arrived)
        return None

    def _find(self, snapshot: Snapshot, request: Request) -> Way | tuple[Refusal, Pool | ClosedPool | None, str | None]:
        visitor = self._visitor(snapshot, request)
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

    def _visitor(self, snapshot: Snapshot, request: Request) -> Visitor:
        digest = callers.shown(request.headers) if snapshot.caller_files else None
        return Visitor(self._services.callers, digest, self._services.clock.now())

    def _admit(self, request: Request, way: Way, downstream: Downstream) -> None:
        pool = way.pool
        admitted = self._services.state.admit(pool, self._services.clock.now(), way.asker)
        match admitted:
            case Permit():
                self._exchange(request, way, admitted, downstream)
            case Waiting():
                self._queueing.enter(Queued(request, downstream, way, admitted))
            case Limited():
                self._refuse_limited(request, way, downstream, admitted)

    def _refuse_limited(self, request: Request, way: Way, downstream: Downstream, limited: Limited) -> None:
        pool, caller = way.pool, way.asker.caller
        self._refuse(_limited(pool, limited, caller), downstream, request, pool, caller)

    def _current(self, name: str) -> Pool | None:
        """The open pool of this name that is in force."""
        there = self.snapshot.pools.get(name) if self.snapshot is not None else None
        return there if isinstance(there, Pool) else None

    def _exchange(
        self, request: Request, way: Way, permit: Permit, downstream: Downstream, arrived: float | None = None
    ) -> None:
        now, pool = self._services.clock.now(), way.pool
        self._services.state.budget(pool).request(now)

        def over(exchange: Exchange) -> None:
            self._exchanges.discard(exchange)
            self._freed(pool, now)

        reach = Reach(way.snapshot, way.visitor, self._freed, self._vacated)
        exchange = Exchange(
            self._services, reach, request, pool, way.tiers, way.asker, permit, downstream, over, arrived
        )
        if isinstance(downstream, Call):
            downstream.lead(exchange)
        self._exchanges.add(exchange)
        exchange.start()

    # -- those who wait for a place

    def _freed(self, pool: Pool, since: float) -> None:
        """A request is over that held a place since then."""
        if pool.concurrency is not None or pool.caller_caps:
            self._services.state.places(pool).held(self._services.clock.now() - since)
        there = self._current(pool.name)
        if there is not None:
            self._queueing.serve(there)

    def _vacated(self) -> None:
        """An attempt is over: somebody may wait for its place at the target, in any pool."""
        for pool in self.snapshot.pools.values() if self.snapshot is not None and len(self._queueing) else ():
            if isinstance(pool, Pool) and pool.queue is not None:
                self._queueing.serve(pool)

    def _turn(self, queued: Queued, permit: Permit) -> None:
        """It has its place; where the config has changed, it goes as the new one says."""
        way: Way | None = queued.way
        if self.snapshot is not None and self.snapshot is not queued.way.snapshot:
            way = self._way(self.snapshot, queued.request, queued.downstream, queued.waiting.since)
        if way is None:
            permit.refund(self._services.clock.now())
        elif way.pool.name != queued.way.pool.name:
            permit.refund(self._services.clock.now())
            self._admit(queued.request, way, queued.downstream)
        else:
            self._exchange(queued.request, way, permit, queued.downstream, queued.waiting.since)

    def _again(self, queued: Queued) -> None:
        assert self.snapshot is not None, "a config was taken over"
        way = self._way(self.snapshot, queued.request, queued.downstream, queued.waiting.since)
        if way is not None:
            self._admit(queued.request, way, queued.downstream)

    def _refuse_queued(self, queued: Queued, refusal: Refusal) -> None:
        way = queued.way
        self._refuse(refusal, queued.downstream, queued.request, way.pool, way.asker.caller, queued.waiting.since)

    def _left(self, queued: Queued) -> None:
        way = queued.way
        self._record(None, queued.request, way.pool, None, way.asker.caller, queued.waiting.since)

    def _list_models(self, snapshot: Snapshot, request: Request, downstream: Downstream) -> None:
        visitor, model = self._visitor(snapshot, request), request.model_id
        found = access.models(snapshot, visitor) if model is None else access.find(snapshot, model, visitor)
        if isinstance(found, Refusal):
            self._refuse(found, downstream, request, None)
            return
        body = openai.models_body(found) if isinstance(found, tuple) else openai.model_body(model or "")
        self._answer(200, body, downstream, request, None, None)

    # -- answers of our own

    def _refuse(
        self,
        refusal: Refusal,
        downstream: Downstream,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        caller: str | None = None,
        arrived: float | None = None,
    ) -> None:
        body = openai.refusal_body(refusal)
        self._answer(refusal.status, body, downstream, request, pool, refusal, caller, arrived)

    def _answer(
        self,
        status: int,
        body: bytes,
        downstream: Downstream,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        refusal: Refusal | None,
        caller: str | None = None,
        arrived: float | None = None,
    ) -> None:
        named: Headers = ()
        if pool is not None:
            named = (
                ("x-modelpool-pool", pool.name),
                ("x-modelpool-attempts", "0"),
                ("x-modelpool-config", pool.short_digest),
            )
        told = refusal.all_headers if refusal is not None else ()
        downstream.head(status, (_JSON, *told, *named, ("content-length", str(len(body)))))
        downstream.write(body)
        downstream.finish()
        self._record(status, request, pool, refusal, caller, arrived)

    def _record(
        self,
        status: int | None,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        refusal: Refusal | None,
        caller: str | None,
        arrived: float | None,
    ) -> None:
        """`arrived`: where it waited for a place, since when."""
        now = self._services.clock.now()
        code = refusal.code if refusal is not None else None
        account = Account(now, request, pool, status=status, refusal=code, caller=caller)
        if arrived is not None:
            account.started, account.queued = arrived, now - arrived
        if status is None:
            account.outcome = Outcome.CANCELLED
        accounts.close(account, self._services.telemetry, self._services.on_record, now)


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


def _limited(pool: Pool, limited: Limited, caller: str | None) -> Refusal:
    """429 in our own name: which limit, and the earliest moment at which it opens (B12)."""
    wait = f"try again in {limited.retry_after:.1f} s"
    if limited.kind == "concurrency" and limited.own:
        message = f"pool {pool.name}: caller {caller} has {limited.max} requests in flight, which is its limit; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    if limited.kind == "concurrency" and limited.level == "target":
        message = f"pool {pool.name}: every target has as many in flight as it may, and {limited.waiting} wait; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    if limited.kind == "concurrency":
        queue = f", and {limited.waiting} wait" if limited.waiting else ""
        message = f"pool {pool.name}: {limited.max} requests are in flight, which is its limit{queue}; {wait}"
        return Refusal("concurrency_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
    values = f" for this value of {limited.header}" if limited.header else ""
    values = f" for caller {caller}" if limited.own and caller is not None else values
    if limited.never:
        message = (
            f"pool {pool.name}: the request is for about {limited.asked} tokens, and the limit {limited.limit!r} lets "
            f"at most {limited.max} come at once{values}; send less"
        )
        return Refusal("tokens_above_limit", message, headers=limited.headers)
    asked = f" for about {limited.asked}" if limited.kind == "tokens" else ""
    what = f"the limit {limited.limit!r} of {limited.max} {limited.kind}"
    message = f"pool {pool.name}: {what} is reached{values}{asked}; {wait}"
    return Refusal("rate_limit_exceeded", message, retry_after=limited.retry_after, headers=limited.headers)
