"""The ports of the data path in memory, on a clock that a test moves: no socket, no sleep, no chance."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.room import Room
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.ports import ErrorKind, Headers, Sink, UpstreamRequest
from modelpool_sidecar.proxy import Proxy
from modelpool_sidecar.services import Services
from modelpool_sidecar.telemetry.null import NullTelemetry

SSE: Headers = (("content-type", "text/event-stream"),)
JSON: Headers = (("content-type", "application/json"),)


class VirtualTimer:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Time passes only in `advance`, and then every timer that is due is called, in order."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, VirtualTimer, Callable[[], None]]] = []
        self._sweep_at = 64

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1_800_000_000.0 + self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer()
        if len(self._timers) >= self._sweep_at:  # what was cancelled holds on to its request until it is due
            self._timers = [each for each in self._timers if not each[2].cancelled]
            heapq.heapify(self._timers)
            self._sweep_at = 2 * len(self._timers) + 64
        heapq.heappush(self._timers, (self.time + delay, next(self._order), timer, callback))
        return timer

    def advance(self, seconds: float) -> None:
        end = self.time + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer, callback = heapq.heappop(self._timers)
            self.time = max(self.time, due)
            if not timer.cancelled:
                callback()
        self.time = end

    @property
    def armed(self) -> int:
        """Timers that will still go off: none may be left when a request is over."""
        return sum(not timer.cancelled for _, _, timer, _ in self._timers)


class ScriptedAttempt:
    """One attempt at a provider; the test answers it by hand."""

    def __init__(self, upstream: "ScriptedUpstream", provider: str) -> None:
        self.upstream, self.provider = upstream, provider
        self.request: UpstreamRequest | None = None
        self.sink: Sink | None = None
        self.paused = False
        self.cancelled = False
        self.ended = False

    def start(self, request: UpstreamRequest, sink: Sink) -> None:
        self.request, self.sink = request, sink
        self.upstream.attempts.append(self)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def cancel(self) -> None:
        self.cancelled = True

    # what a provider does

    @property
    def listening(self) -> Sink:
        assert self.sink is not None
        assert not self.cancelled, "a cancelled attempt hears nothing"
        return self.sink

    def head(self, status: int = 200, headers: Headers = JSON) -> None:
        self.listening.head(status, headers)

    def data(self, data: bytes) -> None:
        self.listening.data(data)

    def end(self) -> None:
        self.ended = True
        self.listening.end()

    def error(self, kind: ErrorKind, detail: str = "it broke") -> None:
        self.ended = True
        self.listening.error(kind, detail)

    def answer(self, body: Any = None, status: int = 200, headers: Headers = JSON) -> None:
        """A whole answer at once."""
        self.head(status, headers)
        self.data(body if isinstance(body, bytes) else orjson.dumps(body if body is not None else a_completion()))
        if not self.cancelled:
            self.end()

    @property
    def open(self) -> bool:
        return not (self.cancelled or self.ended)


class ScriptedUpstream:
    """Hands out attempts and remembers them in order."""

    def __init__(self) -> None:
        self.attempts: list[ScriptedAttempt] = []

    def attempt(self, provider: str, idle_timeout: float) -> ScriptedAttempt:
        return ScriptedAttempt(self, provider)

    @property
    def last(self) -> ScriptedAttempt:
        return self.attempts[-1]

    @property
    def asked(self) -> list[str]:
        return [attempt.provider for attempt in self.attempts]


class HeldDownstream:
    """A client that keeps what it gets."""

    def __init__(self, *, room: int | None = None) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.on_drain_deadline: Callable[[], None] | None = None
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = b""
        self.end: str | None = None
        self.room = room

    def head(self, status: int, headers: Headers) -> None:
        assert self.status is None, "one head"
        self.status, self.headers = status, dict(headers)

    def write(self, data: bytes) -> bool:
        assert self.status is not None, "the head comes first"
        assert self.end is None, "nothing after the end"
        self.body += data
        return self.room is None or len(self.body) <= self.room

    def finish(self) -> None:
        self._end("finished")

    def fail(self, event: bytes | None) -> None:
        self.body += event or b""
        self._end("failed")

    def _end(self, how: str) -> None:
        assert self.end is None, "one end"
        self.end = how
        if self.on_delivered is not None:
            self.on_delivered()

    def leave(self) -> None:
        """The client goes."""
        if self.end is None and self.on_gone is not None:
            self.on_gone()

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error_code(self) -> str:
        return str(self.json["error"]["code"])


class MemoryCredentials:
    """Keys in a dict; `rotate` keeps the old one as the previous."""

    def __init__(self, **keys: str) -> None:
        self.keys = dict(keys)
        self.old: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self.keys.get(name)

    def previous(self, name: str) -> str | None:
        return self.old.get(name)

    def digest(self, name: str) -> str | None:
        return None if name not in self.keys else f"digest-{self.keys[name]}"

    def rotate(self, name: str, value: str) -> None:
        self.old[name], self.keys[name] = self.keys[name], value


@dataclass(frozen=True)
class Asked:
    """A request as an edge would hand it over."""

    method: str
    target: str
    headers: Headers
    body: bytes
    loopback: bool = True


@dataclass
class Bench:
    """A proxy with everything around it in memory."""

    snapshot: Snapshot | None
    credentials: MemoryCredentials = field(default_factory=MemoryCredentials)
    rng: Callable[[], float] = lambda: 0.0
    clock: VirtualClock = field(default_factory=VirtualClock)
    upstream: ScriptedUpstream = field(default_factory=ScriptedUpstream)
    state: State = field(default_factory=State)
    records: list[Record] = field(default_factory=list)
    callers: Register = field(default_factory=Register)
    room: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        self.proxy = Proxy(
            Services(
                self.upstream,
                self.credentials,
                self.clock,
                self.rng,
                self.state,
                NullTelemetry(),
                self.records.append,
                self.callers,
                self.room,
            )
        )
        self.proxy.snapshot = self.snapshot

    def ask(
        self,
        body: Any = None,
        *,
        stream: bool = False,
        path: str = "/v1/chat/completions",
        headers: dict[str, str] | None = None,
        method: str = "POST",
        downstream: HeldDownstream | None = None,
        loopback: bool = True,
    ) -> HeldDownstream:
        """Send a request; its answer comes as the test goes on."""
        if body is None:
            body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        downstream = downstream or HeldDownstream()
        named = {"host": "127.0.0.1:4891", "content-type": "application/json", **(headers or {})}
        self.proxy.accept(Asked(method, path, tuple(named.items()), raw, loopback), downstream)
        return downstream

    def nothing_is_held(self) -> bool:
        """No place, permit, hold of a bucket, timer, attempt or exchange is left."""
        buckets = self.state.levels.buckets
        return (
            self.proxy.in_flight == 0
            and self.room.taken_bytes == 0
            and self.clock.armed == 0
            and not any(attempt.open for attempt in self.upstream.attempts)
            and not any(bucket.top for key in buckets for bucket in buckets.of(key).values())
            and not any(self.state.open_count(attempt.provider) for attempt in self.upstream.attempts)
        )


def a_completion(content: str = "hello", model: str = "primary-model", **more: Any) -> dict[str, Any]:
    """A whole chat answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        **more,
    }


def a_chunk(content: str | None = None, finish: str | None = None, **delta: Any) -> bytes:
    """One event of a chat stream."""
    if content is not None:
        delta["content"] = content
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "primary-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


ROLE = a_chunk(role="assistant")
DONE = b"data: [DONE]\n\n"
