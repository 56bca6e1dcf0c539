"""Where the data path ends and I/O begins: what the proxy asks of a client's connection, of a provider's, of time.

No type of a transport crosses these lines, so a transport can be exchanged without touching a rule. All calls are
made from one event loop; none of them blocks, none of them raises for what the other side does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from modelpool_sidecar.core.record import AttemptRecord, Record

Headers = tuple[tuple[str, str], ...]
"""Name and value pairs in order, names in lower case; a name may stand there twice."""

ErrorKind = Literal["no_files", "dns", "connect", "connect_timeout", "tls", "reset", "stale", "malformed", "cut"]
"""How an attempt's transport failed: `no_files` where this process may open no connection, `reset` before the head,
`stale` likewise but on a reused connection that had not answered a single byte (it may be repeated, B15a), `malformed`
where the answer is not HTTP, `cut` after the head."""


class Downstream(Protocol):
    """Towards the client: one answer. `head`, any number of `write`, then exactly one of `finish` and `fail`."""

    on_gone: Callable[[], None] | None
    """Called at most once, when the client left before everything was delivered; nothing may be written after it."""
    on_writable: Callable[[], None] | None
    """Called when there is room again after `write` returned False."""
    on_delivered: Callable[[], None] | None
    """Called at most once, after `finish` or `fail`, when the last byte has left our buffers. Never after on_gone."""
    on_drain_deadline: Callable[[], None] | None
    """Called when the process is to end and the grace period is over: `fail` now (B51). Unset, the answer is cut."""

    def head(self, status: int, headers: Headers) -> None:
        """Send status and headers. Without a content-length header the body is chunked (or ends by close in 1.0)."""

    def write(self, data: bytes) -> bool:
        """Send a part of the body. False: it was taken, but pause until on_writable (B30)."""
        ...

    def finish(self) -> None:
        """The body is complete: a clean end."""

    def fail(self, event: bytes | None) -> None:
        """The body is broken: deliver the event, if any, then end as no client can take for success (B25)."""


class Sink(Protocol):
    """What an attempt calls: `head` once, `data` any number of times, then exactly one of `end` and `error`.

    After `cancel` nothing is called any more. Nothing is called from inside `start`.
    """

    def head(self, status: int, headers: Headers) -> None:
        """The final status (1xx are swallowed) and the headers of the answer."""

    def data(self, data: bytes) -> None:
        """A part of the body, never empty."""

    def end(self) -> None:
        """The body ended as its framing promised."""

    def error(self, kind: ErrorKind, detail: str) -> None:
        """The transport failed. `detail` is ours to log: addresses and error numbers, no content."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request to a provider, whole. `fresh`: on a connection of its own, not a reused one."""

    method: str
    url: str
    headers: Headers
    body: bytes
    connect_timeout: float
    fresh: bool = False


class Attempt(Protocol):
    """One try at one provider."""

    def start(self, request: UpstreamRequest, sink: Sink) -> None:
        """Begin; the sink hears the rest."""

    def pause(self) -> None:
        """Stop reading: the client is slower than the provider."""

    def resume(self) -> None:
        """Go on reading."""

    def cancel(self) -> None:
        """Drop it: the connection is closed at once, so that the provider stops working. Twice is fine."""


class Upstream(Protocol):
    """Makes attempts; owns the connections to providers."""

    def attempt(self, provider: str, idle_timeout: float) -> Attempt:
        """A new attempt at the provider of that name; its connections are kept for `idle_timeout` seconds."""
        ...


class Credentials(Protocol):
    """The mounted keys."""

    def get(self, name: str) -> str | None:
        """The current value of the credential, None where it is not there. Never logged, never in a repr."""
        ...

    def previous(self, name: str) -> str | None:
        """The value before the last rotation, for 10 minutes after it; else None (B17, 401)."""
        ...

    def digest(self, name: str) -> str | None:
        """A short digest of it, to compare and to show."""
        ...


class Timer(Protocol):
    """A call that was arranged."""

    def cancel(self) -> None:
        """It will not happen. Twice, or too late, is fine."""


class Clock(Protocol):
    """Monotonic time. The event loop in the process, a table in a test."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall(self) -> float:
        """Unix time, for dates in headers only: never for a deadline."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call it in `delay` seconds, from the same loop."""
        ...


class AttemptTrace(Protocol):
    """The telemetry of one attempt."""

    def propagate(self) -> Headers:
        """Headers that carry the attempt's trace context (traceparent, tracestate; never baggage)."""
        ...

    def end(self, record: AttemptRecord) -> None:
        """The attempt is over."""


class RequestTrace(Protocol):
    """The telemetry of one request."""

    @property
    def trace_id(self) -> str | None:
        """The trace that it belongs to, ours or the client's; None without either. For the log line."""
        ...

    def attempt(self, number: int, method: str, url: str, host: str, port: int, started: float) -> AttemptTrace:
        """An attempt begins. `url` holds no credential."""
        ...

    def end(self, record: Record) -> None:
        """The request is over: spans end, metrics count."""


class Telemetry(Protocol):
    """Traces and metrics. The only port behind which OpenTelemetry and Prometheus are known."""

    def request(
        self, method: str, route: str, operation: str, model: str | None, stream: bool, headers: Headers, started: float
    ) -> RequestTrace:
        """A request begins; the client's trace context is in its headers."""
        ...
