"""How finished spans leave: the SDK's queue and exporter, fed with spans that fill themselves in late.

A span is queued with what it takes to build its attributes; the exporter's thread builds them when it reads them.
"""

import threading
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.re import parse_env_headers
from opentelemetry.util.types import Attributes

from modelpool_sidecar.telemetry import names, spans
from modelpool_sidecar.telemetry.settings import TraceSettings
from modelpool_sidecar.telemetry.tracecontext import TraceContext

_COMPRESSIONS = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)


class Exports:
    """The queue towards one collector."""

    def __init__(self, settings: TraceSettings, version: str) -> None:
        self._resource = Resource.create({**settings.resource, "service.version": version})
        self._scope = InstrumentationScope(names.SCOPE, version, names.SCHEMA_URL)
        self._exporter = _CloseOnce(
            OTLPSpanExporter(
                endpoint=settings.endpoint,
                certificate_file=settings.certificate,
                client_key_file=settings.client_key,
                client_certificate_file=settings.client_certificate,
                headers=parse_env_headers(settings.headers, liberal=True),
                timeout=settings.timeout_ms / 1000,
                compression=_COMPRESSIONS[settings.compression],
            )
        )
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=settings.queue,
            schedule_delay_millis=settings.delay_ms,
            max_export_batch_size=settings.batch,
            export_timeout_millis=settings.timeout_ms,
        )

    def emit(
        self,
        name: str,
        kind: SpanKind,
        context: TraceContext,
        parent: SpanContext | None,
        error: str | None,
        times: tuple[float, float],
        attributes: Callable[[], spans.Attributes],
    ) -> None:
        """Queue a finished span; `times` are epoch seconds."""
        status = _UNSET if error is None else _ERROR
        start, end = (round(seconds * 1e9) for seconds in times)
        self._processor.on_end(
            LateSpan(
                name,
                local(context),
                parent,
                self._resource,
                self._scope,
                kind,
                status,
                (start, max(start, end)),
                attributes,
            )
        )

    def flush(self) -> None:
        """Send what is queued, now; blocks until the collector answered or the timeout passed."""
        self._processor.force_flush()

    def shutdown(self, timeout_seconds: float) -> None:
        """Send what is queued and stop, in at most that time; what is left then is dropped. Blocks."""
        stopping = threading.Thread(target=self._processor.shutdown, name="modelpool-telemetry-stop", daemon=True)
        stopping.start()
        stopping.join(timeout_seconds)
        if stopping.is_alive():
            self._exporter.shutdown()


class LateSpan(ReadableSpan):
    """A finished span whose attributes are built when the exporter reads them, in its own thread."""

    def __init__(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        resource: Resource,
        scope: InstrumentationScope,
        kind: SpanKind,
        status: Status,
        times: tuple[int, int],
        build: Callable[[], spans.Attributes],
    ) -> None:
        super().__init__(
            name,
            context,
            parent,
            resource,
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=scope,
        )
        self._build = build

    @property
    def attributes(self) -> Attributes:
        """What stands in the span."""
        return self._build()


class _CloseOnce(SpanExporter):
    """An exporter that may be shut down by two threads: the processor's own way, and by who no longer waits for it."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._closing = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them."""
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        """Give up what is being sent; the second call does nothing."""
        if self._closing.acquire(blocking=False):
            self._exporter.shutdown()


def _context(context: TraceContext, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([context.state]) if context.state else None
    return SpanContext(context.trace_id, context.span_id, is_remote, TraceFlags(context.flags), state)


def remote(context: TraceContext) -> SpanContext:
    """A context that came over the wire, as the SDK knows it."""
    return _context(context, is_remote=True)


def local(context: TraceContext) -> SpanContext:
    """A context of ours, as the SDK knows it."""
    return _context(context, is_remote=False)
