"""What happens to a request that has arrived: parse -> route -> admit, and then its exchange.

The shell of the data path reads like the line above; every decision is made in `core`, every refusal becomes bytes in
one place (`ownanswers`). Nothing in it knows a transport.
"""

from typing import Protocol

from modelpool_sidecar.caching import Caching, Doors
from modelpool_sidecar.core import access
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.limited import refused
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.onward import Reach
from modelpool_sidecar.core.queue import Waiting
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.exchange import Exchange
from modelpool_sidecar.ownanswers import OwnAnswers
from modelpool_sidecar.ports import Downstream, Headers
from modelpool_sidecar.queueing import Ends, Queued, Queueing
from modelpool_sidecar.services import Services
from modelpool_sidecar.sharing import Call
from modelpool_sidecar.ways import Way, Ways


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
        self._services, self._ways, self._own = services, Ways(services), OwnAnswers(services)
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
            self._own.refuse(request, downstream, None, None)
        elif snapshot is None:
            refusal = Refusal("not_ready", "no valid config has been read yet", retry_after=1.0)
            self._own.refuse(refusal, downstream, request, None)
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
        found = self._ways.find(snapshot, request)
        if isinstance(found, Way):
            return found
        refusal, pool, caller = found
        self._own.refuse(refusal, downstream, request, pool, caller, arrived)
        return None

    def _admit(self, request: Request, way: Way, downstream: Downstream, arrived: float | None = None) -> None:
        """`arrived`: when it came, where it has waited in another pool already: it has one deadline (B15)."""
        pool = way.pool
        admitted = self._services.state.admit(pool, self._services.clock.now(), way.asker)
        match admitted:
            case Permit():
                self._exchange(request, way, admitted, downstream, arrived)
            case Waiting():
                since = admitted.since if arrived is None else arrived
                self._queueing.enter(Queued(request, downstream, way, admitted, since))
            case Limited():
                self._refuse_limited(request, way, downstream, admitted, arrived)

    def _refuse_limited(
        self, request: Request, way: Way, downstream: Downstream, limited: Limited, arrived: float | None = None
    ) -> None:
        pool, caller = way.pool, way.asker.caller
        self._own.refuse(refused(pool, limited, caller), downstream, request, pool, caller, arrived)

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
            way = self._way(self.snapshot, queued.request, queued.downstream, queued.arrived)
        if way is None:
            permit.refund(self._services.clock.now())
        elif way.pool.name != queued.way.pool.name:
            permit.refund(self._services.clock.now())
            self._admit(queued.request, way, queued.downstream, queued.arrived)
        else:
            self._exchange(queued.request, way, permit, queued.downstream, queued.arrived)

    def _again(self, queued: Queued) -> None:
        assert self.snapshot is not None, "a config was taken over"
        way = self._way(self.snapshot, queued.request, queued.downstream, queued.arrived)
        if way is not None:
            self._admit(queued.request, way, queued.downstream, queued.arrived)

    def _refuse_queued(self, queued: Queued, refusal: Refusal) -> None:
        way = queued.way
        self._own.refuse(refusal, queued.downstream, queued.request, way.pool, way.asker.caller, queued.arrived)

    def _left(self, queued: Queued) -> None:
        way = queued.way
        self._own.record(None, queued.request, way.pool, None, way.asker.caller, queued.arrived)

    def _list_models(self, snapshot: Snapshot, request: Request, downstream: Downstream) -> None:
        visitor, model = self._ways.visitor(snapshot, request), request.model_id
        found = access.models(snapshot, visitor) if model is None else access.find(snapshot, model, visitor)
        if isinstance(found, Refusal):
            self._own.refuse(found, downstream, request, None)
            return
        body = openai.models_body(found) if isinstance(found, tuple) else openai.model_body(model or "")
        self._own.answer(200, body, downstream, request, None, None)
