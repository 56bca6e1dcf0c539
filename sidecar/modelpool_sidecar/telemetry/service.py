"""The telemetry of one sidecar, put together: `build` reads the environment, the proxy calls the rest."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from modelpool_sidecar.core.record import Record
from modelpool_sidecar.ports import AttemptTrace, Headers
from modelpool_sidecar.telemetry import settings, tracecontext
from modelpool_sidecar.telemetry.metrics import CONTENT_TYPE, Metrics, TargetState
from modelpool_sidecar.telemetry.null import ForwardedAttempt
from modelpool_sidecar.telemetry.spans import Peer
from modelpool_sidecar.version import VERSION

if TYPE_CHECKING:
    from modelpool_sidecar.telemetry.tracing import RequestSpans, Tracing

__all__ = ["CONTENT_TYPE", "TargetState", "TelemetryService", "build"]

_log = logging.getLogger(__name__)


def build(
    env: Mapping[str, str],
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> "TelemetryService":
    """The telemetry that these variables ask for; what they ask for in vain is logged, never raised.

    `monotonic` must be the clock of the `started` and `ended` times that come later: the event loop's.
    """
    found = settings.read(env)
    for problem in found.problems:
        _log.warning("%s", problem)
    if found.traces is None:
        return TelemetryService(Metrics(), None)
    from modelpool_sidecar.telemetry.tracing import Tracing  # noqa: PLC0415 - 20 MB and 0.2 s that only traces cost

    return TelemetryService(
        Metrics(), Tracing(found.traces, version=VERSION, wall=wall, monotonic=monotonic), found.traces.endpoint
    )


class TelemetryService:
    """Implements ports.Telemetry; beside it what the admin port and the reload call."""

    content_type = CONTENT_TYPE

    def __init__(self, metrics: Metrics, tracing: "Tracing | None", endpoint: str | None = None) -> None:
        self.metrics = metrics
        self._tracing = tracing
        self._endpoint = endpoint

    def __repr__(self) -> str:
        return f"<TelemetryService traces to {self._endpoint}>" if self._tracing else "<TelemetryService no traces>"

    def request(
        self, method: str, route: str, operation: str, model: str | None, stream: bool, headers: Headers, started: float
    ) -> "ServiceTrace":
        """A request begins. What it is called and asks for is read from its record, at its end."""
        spans = self._tracing.begin(route, operation, headers, started) if self._tracing else None
        return ServiceTrace(self.metrics, spans, headers)

    def observe(
        self,
        states: Callable[[], Iterable[TargetState]],
        in_flight: Callable[[], int],
        queues: Callable[[], Iterable[tuple[str, int]]] = tuple,
        caches: Callable[[], Iterable[tuple[str, int, int]]] = tuple,
    ) -> None:
        """Where a scrape finds the stances of targets, the number of requests in flight, and what is kept."""
        self.metrics.observe(states, in_flight, queues, caches)

    def config_reload(self, ok: bool, digest: str | None = None) -> None:
        """A changed config was read (the first one too); `digest` of the one that is in force now."""
        self.metrics.config_reload(ok, digest)

    def metrics_text(self) -> bytes:
        """The body of GET /metrics, of type `content_type`."""
        return self.metrics.text()

    def flush(self) -> None:
        """Export what is queued, now. Blocks as long as the exporter's timeout at most."""
        if self._tracing:
            self._tracing.flush()

    def shutdown(self, timeout_seconds: float) -> None:
        """Export what is queued and stop, in at most that time. Blocks: for the end of the process."""
        if self._tracing:
            self._tracing.shutdown(timeout_seconds)


class ServiceTrace:
    """The telemetry of one request; implements ports.RequestTrace."""

    __slots__ = ("_headers", "_metrics", "_spans")

    def __init__(self, metrics: Metrics, spans: "RequestSpans | None", headers: Headers) -> None:
        self._metrics, self._spans, self._headers = metrics, spans, headers

    @property
    def trace_id(self) -> str | None:
        """The trace that the request belongs to, ours or the client's; None without either."""
        context = self._spans.server if self._spans else tracecontext.extract(self._headers)
        return None if context is None else context.trace_hex

    def attempt(self, number: int, method: str, url: str, host: str, port: int, started: float) -> AttemptTrace:
        """An attempt begins."""
        if self._spans is None:
            return ForwardedAttempt(tracecontext.extract(self._headers))
        return self._spans.attempt(number, Peer(method, url, host, port), started)

    def end(self, record: Record) -> None:
        """The request is over."""
        self._metrics.count(record)
        if self._spans is not None:
            self._spans.end(record)
