"""What happens to a request at a pool with a cache, before it is admitted: a hit, a share in a call, or a call (B53).

The shell of `core.cache`. A hit, and one that shares a call, takes from the limits on requests of its caller and its
pool, and from nothing else: no place, no tokens, no target. Calls are shared among equal requests that want their
answer in the same form; a request that wants a new answer calls alone. A call that may be shared has its pool's
deadline: a client that gives up earlier leaves it, and that ends it only where nobody else waits.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from modelpool_sidecar import account as accounts
from modelpool_sidecar.account import Account
from modelpool_sidecar.core import cache, cacheable, cachekey
from modelpool_sidecar.core.cache import Entry
from modelpool_sidecar.core.grip import Grip
from modelpool_sidecar.core.limits import Limited
from modelpool_sidecar.core.limits import headers as limit_headers
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.listeners import Listener
from modelpool_sidecar.ports import Downstream, Headers
from modelpool_sidecar.services import Services
from modelpool_sidecar.sharing import Call, Result
from modelpool_sidecar.ways import Way

_Form = tuple[bytes, bool, bool]
"""Equal requests that want equal bytes: the key, as a stream, with usage."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where a request goes on to. `current`: the pool of that name that is in force."""

    admit: Callable[[Request, Way, Downstream], None]
    limited: Callable[[Request, Way, Downstream, Limited], None]
    current: Callable[[str], Pool | None]


class Caching:
    """The calls of a process that may be shared."""

    def __init__(self, services: Services, doors: Doors) -> None:
        self._services, self._doors = services, doors
        self._cache = services.state.cache
        self._calls: dict[_Form, Call] = {}

    def __repr__(self) -> str:
        return f"<Caching: {self._cache!r}, {len(self._calls)} calls>"

    def enter(self, request: Request, way: Way, downstream: Downstream) -> None:
        """A request for a pool with a cache."""
        key = None if cachekey.no_store(request.headers) else _key(request, way)
        if key is None:
            self._call(request, way, downstream, "bypass", None, None)
            return
        if cachekey.no_cache(request.headers):
            self._call(request, way, downstream, "bypass", key, None)
            return
        now = self._services.clock.now()
        form = (key, request.stream, request.include_usage)
        kept, call = self._find(request, way.pool, key, now), self._calls.get(form)
        if kept is None and call is None:
            self._cache.missed(way.pool)
            self._call(request, way, downstream, "miss", key, form)
            return
        held = self._services.state.admit_stored(way.pool, now, way.asker)
        if isinstance(held, Limited):
            self._doors.limited(request, way, downstream, held)
        elif kept is not None:
            self._cache.used(way.pool, key)
            self._hit(request, way, downstream, held, *kept)
        elif call is not None:
            self._share(request, way, downstream, held, call)

    def _find(self, request: Request, pool: Pool, key: bytes, now: float) -> tuple[Entry, bytes] | None:
        """What is kept, and how this request wants to have it."""
        entry = self._cache.find(pool, key, now)
        if entry is None:
            return None
        stream, usage = request.stream, request.include_usage
        body = openai.replay(request.operation, entry, stream=stream, include_usage=usage)
        return None if body is None else (entry, body)

    def _hit(self, request: Request, way: Way, downstream: Downstream, held: Grip, entry: Entry, body: bytes) -> None:
        pool, now = way.pool, self._services.clock.now()
        framing: Headers = () if request.stream else (("content-length", str(len(body))),)
        kind: Headers = () if entry.stream == request.stream else (("content-type", _kind(request.stream)),)
        headers = tuple(pair for pair in entry.headers if not kind or pair[0] != "content-type")
        own: Headers = (
            ("x-modelpool-pool", pool.name),
            ("x-modelpool-attempts", "0"),
            ("x-modelpool-config", pool.short_digest),
            ("x-modelpool-cache", "hit"),
            ("x-modelpool-cost", "0"),
            ("age", str(math.floor(now - entry.stored))),
        )
        downstream.head(200, (*headers, *kind, *limit_headers(held.told), *own, *framing))
        downstream.write(body)
        downstream.finish()
        held.close()
        self._record(self._account(request, way, "hit", held), 200)

    def _share(self, request: Request, way: Way, downstream: Downstream, held: Grip, call: Call) -> None:
        noted = self._account(request, way, "shared", held)

        def over(_: Listener, left: bool) -> None:
            source = call.source
            if source is None or (source.nothing_sent and not left):
                held.give_back(self._services.clock.now())
            held.close()
            if left:
                noted.outcome = Outcome.CANCELLED
            elif source is not None:
                noted.refusal = source.account.refusal
            self._record(noted, None if left else call.status)

        call.join(Listener(downstream, True, held.told, over))

    def _call(
        self, request: Request, way: Way, downstream: Downstream, result: Result, key: bytes | None, form: _Form | None
    ) -> None:
        """Ask the providers. `key`: to keep the answer under; `form`: for whom the call is open."""
        assert way.pool.cache is not None, "only a pool with a cache comes here"
        most = 0 if key is None else min(way.pool.cache.max_bytes, cache.MOST_ENTRY_BYTES)
        complete = partial(self._keep, request, way, key)
        call = Call(result, most, self._services.room.lease(), partial(self._close, form), complete)
        if form is not None:
            self._calls[form] = call
        call.join(Listener(downstream, False, (), lambda _listener, _left: None))
        self._doors.admit(request if form is None else replace(request, read_timeout=None), way, call)

    def _close(self, form: _Form | None) -> None:
        """Nobody may join it any more."""
        if form is not None:
            del self._calls[form]

    def _keep(self, request: Request, way: Way, key: bytes | None, call: Call, body: bytes) -> None:
        """The whole answer is there: keep it, if it is one to be given again, and the rules are still the same."""
        source, pool = call.source, way.pool
        current = self._doors.current(pool.name)
        if key is None or source is None or not source.at_home or source.account.parts or current is None:
            return
        if not source.pool.digest == current.digest == pool.digest:
            return
        kind = next((value for name, value in call.headers if name == "content-type"), "")
        stream = kind.partition(";")[0].strip().lower() == "text/event-stream"
        kept = openai.kept(request.operation, body, stream=stream) if stream == request.stream else None
        if kept is None:
            return
        target, answer, now = source.account.target, source.account.answer, self._services.clock.now()
        if answer is not None and answer.dropped:  # something of it is missing (B28)
            return
        own = target.provider.response_headers if target is not None else ()
        entry = Entry(
            stream=stream,
            include_usage=request.include_usage,
            body=kept,
            headers=(("content-type", kind), ("x-modelpool-target", source.account.place or ""), *own),
            usage=NO_USAGE if answer is None else answer.usage,
            stored=now,
        )
        self._cache.keep(pool, key, entry, now)

    # -- records

    def _account(self, request: Request, way: Way, result: Result, held: Grip) -> Account:
        noted = Account(self._services.clock.now(), request, way.pool, caller=way.asker.caller)
        noted.cache, noted.observed = result, held.observed
        return noted

    def _record(self, noted: Account, status: int | None) -> None:
        noted.status = status
        services = self._services
        accounts.close(noted, services.telemetry, services.on_record, services.clock.now())


def _key(request: Request, way: Way) -> bytes | None:
    """The key of a request whose answer may be kept."""
    if isinstance(way.tiers, Refusal):
        return None
    targets = [target for tier in way.tiers for target in tier]
    asked = cacheable.asked(way.pool, request, targets)
    return None if isinstance(asked, str) else cachekey.key(way.pool, request, asked, way.asker, targets)


def _kind(stream: bool) -> str:
    return "text/event-stream; charset=utf-8" if stream else "application/json"
