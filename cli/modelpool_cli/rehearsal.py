"""A request taken through the sidecar's own proxy, on a clock that stands still, with providers that do not exist.

Nothing is decided here: parse, route, admit, choose and the walk are the core's, behind the ports that its sockets
stand behind elsewhere. An attempt is noted and then left, or fails as a provider that cannot be reached.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modelpool_config import callerkeys
from modelpool_config.models import Config
from modelpool_sidecar import credentials as keys
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Outlook
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.credentials import MountedCredentials
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.ports import Headers, Sink, UpstreamRequest
from modelpool_sidecar.proxy import Proxy
from modelpool_sidecar.services import Services
from modelpool_sidecar.telemetry.null import NullTelemetry

TIMES = 1000
"""How often the first choice is made, to tell how often it falls on whom."""
_TIMES_IF_LARGE, _LARGE_BYTES = 50, 100_000
_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the downstream edge would hand it over."""

    method: str
    target: str
    headers: Headers
    body: bytes
    loopback: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """What a provider would be sent. `at`: seconds after the request came."""

    provider: str
    request: UpstreamRequest = field(repr=False)
    at: float


@dataclass(frozen=True, slots=True)
class Take:
    """One request, taken to its end. `outlook`, `total` (seconds): of a walk that began; `told`: the state after it."""

    record: Record
    status: int
    body: bytes
    headers: Headers
    sent: tuple[Sent, ...]
    outlook: Outlook | None
    total: float | None
    told: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A config with its keys; every `take` is a sidecar that has just started."""

    config: Config
    credentials: Mapping[str, str] = field(repr=False)
    snapshot: Snapshot
    callers: Register = field(default_factory=Register)

    @classmethod
    def of(cls, config: Config, credentials: Mapping[str, str]) -> "Rehearsal":
        """Compiled as a sidecar compiles it. Raises CannotCompileError."""
        digests = {name: keys.digest(value) for name, value in credentials.items()}
        snapshot = compile_config(config, credential_digest=digests.get, fake_base_url=_fake_url)
        callers = Register()
        callers.replace({file: credentials[file] for file in snapshot.caller_files if file in credentials}, 0.0)
        return cls(config, credentials, snapshot, callers)

    def lend(self, caller: str, key: str) -> bool:
        """Let this key be the caller's wherever it has one: of its own only the digests are here. False: nowhere."""
        files = {file: callerkeys.decode(self.credentials.get(file, "")) for file in self.snapshot.caller_files}
        lent = {file: {**names, caller: callerkeys.digest(key)} for file, names in files.items() if caller in names}
        self.callers.replace({file: callerkeys.encode(names) for file, names in {**files, **lent}.items()}, 0.0)
        return bool(lent)

    def first(self, asked: Asked) -> Counter[str]:
        """How often each target is the first choice, of TIMES or fewer; nothing where nobody is asked."""
        found: Counter[str] = Counter()
        times = TIMES if len(asked.body) < _LARGE_BYTES else _TIMES_IF_LARGE
        for number in range(times):
            take = self._stage((number + 0.5) / times, seed=number).take(asked, fails=False)
            if not take.record.attempts:
                break
            found[take.record.attempts[0].target] += 1
        return found

    def walk(self, asked: Asked, first: str | None = None) -> Take:
        """The request while no provider can be reached: everybody who would be asked, in the order that is likely.

        `first`: who is to be asked first, where chance decides.
        """
        take: Take | None = None
        for number in range(TIMES):
            take = self._stage((number + 0.5) / TIMES, seed=number).take(asked, fails=True)
            if first is None or not take.record.attempts or take.record.attempts[0].target == first:
                break
        assert take is not None, "there was a first time"
        return take

    def untouched(self, pool: Pool, operation: str) -> Outlook:
        """What a walk over all targets of the pool would find, where none began."""
        clock = _Clock()
        missing = Keyring(self._keys(clock)).missing
        return Dispatch(pool, State(), operation, float("inf"), lambda: 0.0, missing).outlook(clock.now())

    def _keys(self, clock: "_Clock") -> MountedCredentials:
        return MountedCredentials(clock.now, self.credentials)

    def _stage(self, chance: float, seed: int) -> "_Stage":
        """`chance`: the first draw, so that a thousand of them are spread evenly; the others are drawn."""
        drawn = random.Random(seed).random  # noqa: S311 - a rehearsal guards nothing
        draws = itertools.chain([chance], iter(drawn, None))
        return _Stage(self, lambda: next(draws), self._keys)


def _fake_url(name: str) -> str:
    """No Fake listens here; its name stands where its port would."""
    return f"http://{name}.fake/v1"


class _Clock:
    def __init__(self) -> None:
        self.time = 0.0
        self._number = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> "_Timer":
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self.time + delay, next(self._number), timer))
        return timer

    def step(self) -> bool:
        """On to the next timer; False where there is none."""
        while self._timers:
            due, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self.time = max(self.time, due)
                timer.callback()
                return True
        return False


class _Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _Attempt:
    def __init__(self, upstream: "_Upstream", provider: str) -> None:
        self._upstream, self.provider = upstream, provider
        self.sink: Sink | None = None

    def start(self, request: UpstreamRequest, sink: Sink) -> None:
        self.sink = sink
        self._upstream.sent.append(Sent(self.provider, request, self._upstream.clock.now()))
        self._upstream.open.append(self)

    def pause(self) -> None:
        """Nothing comes."""

    def resume(self) -> None:
        """Nothing comes."""

    def cancel(self) -> None:
        self.sink = None


class _Upstream:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.sent: list[Sent] = []
        self.open: list[_Attempt] = []

    def attempt(self, provider: str, idle_timeout: float) -> _Attempt:
        return _Attempt(self, provider)

    def fail(self) -> bool:
        """Whoever is asked cannot be reached; False where nobody is."""
        while self.open:
            sink = self.open.pop(0).sink
            if sink is not None:
                sink.error("connect", "not reached: this is a rehearsal")
                return True
        return False


class _Client:
    def __init__(self) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.on_drain_deadline: Callable[[], None] | None = None
        self.status, self.headers, self.body, self.ended = 0, (), b"", False  # type: int, Headers, bytes, bool

    def head(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    def write(self, data: bytes) -> bool:
        self.body += data
        return True

    def finish(self) -> None:
        self.ended = True
        if self.on_delivered is not None:
            self.on_delivered()

    def fail(self, event: bytes | None) -> None:
        """The head was out: `body` is what the first error event says."""
        self.body = (event or b"").partition(b"data: ")[2].partition(b"\n")[0]
        self.finish()


class _Stage:
    """One sidecar for one request."""

    def __init__(
        self, rehearsal: Rehearsal, rng: Callable[[], float], held: Callable[[_Clock], MountedCredentials]
    ) -> None:
        self._snapshot, self._clock, self._state = rehearsal.snapshot, _Clock(), State()
        self._upstream, self._records = _Upstream(self._clock), []  # type: _Upstream, list[Record]
        services = Services(
            self._upstream,
            held(self._clock),
            self._clock,
            rng,
            self._state,
            NullTelemetry(),
            self._records.append,
            rehearsal.callers,
        )
        self._proxy = Proxy(services)
        self._proxy.snapshot = rehearsal.snapshot

    def take(self, asked: Asked, *, fails: bool) -> Take:
        client = _Client()
        self._proxy.accept(asked, client)
        outlook, total = None, None
        for exchange in self._proxy.running:
            outlook, total = exchange.outlook(), exchange.deadline - self._clock.now()
        told = self._state.describe(self._snapshot, self._clock.now())
        if fails:
            steps = itertools.takewhile(lambda _: not client.ended, range(_STEPS))
            any(not (self._upstream.fail() or self._clock.step()) for _ in steps)
        if not client.ended and client.on_gone is not None:
            client.on_gone()
        sent = tuple(self._upstream.sent)
        return Take(self._records[-1], client.status, client.body, client.headers, sent, outlook, total, told)
