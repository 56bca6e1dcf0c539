"""Telemetry that tells nobody anything: for tests, and for whoever wires a proxy without it."""

from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.telemetry import tracecontext
from modelpool_sidecar.telemetry.tracecontext import TraceContext


class ForwardedAttempt:
    """An attempt without a span of ours: the client's own context goes on as it came, as through any plain proxy."""

    __slots__ = ("_context",)

    def __init__(self, context: TraceContext | None) -> None:
        self._context = context

    def propagate(self) -> Headers:
        """The client's trace context; nothing where it sent none."""
        return tracecontext.inject(self._context)

    def end(self, record: AttemptRecord) -> None:
        """Nothing to do: the request's record holds the attempt's."""


class NullTrace:
    """A request without a span of ours."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    @property
    def trace_id(self) -> str | None:
        """The client's trace, so that a log line can be found by it."""
        context = tracecontext.extract(self._headers)
        return None if context is None else context.trace_hex

    def attempt(self, number: int, method: str, url: str, host: str, port: int, started: float) -> ForwardedAttempt:
        """An attempt begins."""
        return ForwardedAttempt(tracecontext.extract(self._headers))

    def end(self, record: Record) -> None:
        """Nobody is told."""


class NullTelemetry:
    """Implements ports.Telemetry."""

    def request(
        self, method: str, route: str, operation: str, model: str | None, stream: bool, headers: Headers, started: float
    ) -> NullTrace:
        """A request begins."""
        return NullTrace(headers)
