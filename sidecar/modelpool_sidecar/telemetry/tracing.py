"""Spans by OpenTelemetry's SDK: its sampler decides, its exporter sends; the spans are made after the fact.

While a request runs a span is an id and a start time. When it is over the finished span is queued, and what costs most,
its attributes and its encoding, is done in the exporter's thread. One decision of the sampler holds for the whole tree:
every sampler that a variable can name decides by the parent and the trace id, which a request's spans share.

This is the only module that imports the SDK; `service` imports it where an endpoint is configured.
"""

import random
import threading
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.re import parse_env_headers
from opentelemetry.util.types import Attributes

from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.telemetry import names, spans, tracecontext
from modelpool_sidecar.telemetry.settings import TraceSettings
from modelpool_sidecar.telemetry.tracecontext import SAMPLED, TraceContext

_COMPRESSIONS = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)


def _sampler(name: str, ratio: float) -> sampling.Sampler:
    root: sampling.Sampler = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
    }.get(name.removeprefix("parentbased_")) or sampling.TraceIdRatioBased(ratio)
    return sampling.ParentBased(root) if name.startswith("parentbased_") else root


class Tracing:
    """Makes the spans of requests and sends them. `wall` and `monotonic`: epoch and loop seconds."""

    def __init__(
        self,
        settings: TraceSettings,
        *,
        version: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._sampler = _sampler(settings.sampler, settings.ratio)
        self._resource = Resource.create({**settings.resource, "service.version": version})
        self._scope = InstrumentationScope(names.SCOPE, version, names.SCHEMA_URL)
        self._wall, self._monotonic = wall, monotonic
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

    def begin(self, route: str, operation: str, headers: Headers, started: float) -> "RequestSpans":
        """A request begins at `started`; the sampler decides now."""
        parent = tracecontext.extract(headers)
        trace_id = parent.trace_id if parent else _new_id(128)
        context = set_span_in_context(NonRecordingSpan(_foreign(parent)), Context()) if parent else None
        decision = self._sampler.should_sample(context, trace_id, route, SpanKind.SERVER, {names.HTTP_ROUTE: route})
        flags = (parent.flags & ~SAMPLED if parent else 0) | (
            SAMPLED if decision.decision is sampling.Decision.RECORD_AND_SAMPLE else 0
        )
        server = TraceContext(trace_id, _new_id(64), flags, parent.state if parent else "")
        asks_a_model = names.OPERATIONS.get(operation) is not None
        user_agent = next((value for name, value in headers if name == "user-agent"), None)
        # The clocks are compared anew for each tree: a laptop's sleep stops one of them, and a step moves the other.
        offset = self._wall() - self._monotonic()
        return RequestSpans(self, server, parent, asks_a_model, user_agent, started, offset)

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
        own = _local(context)
        self._processor.on_end(
            LateSpan(name, own, parent, self._resource, self._scope, kind, status, (start, max(start, end)), attributes)
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


class RequestSpans:
    """The spans of one request: ids and times until it ends."""

    __slots__ = ("_chat_id", "_ended", "_offset", "_parent", "_peers", "_started", "_tracing", "_user_agent", "server")

    def __init__(
        self,
        tracing: Tracing,
        server: TraceContext,
        parent: TraceContext | None,
        asks_a_model: bool,
        user_agent: str | None,
        started: float,
        offset: float,
    ) -> None:
        self._tracing, self.server, self._parent = tracing, server, parent
        self._chat_id = _new_id(64) if asks_a_model else None
        self._user_agent, self._started, self._offset = user_agent, started, offset
        self._peers: dict[int, spans.Peer] = {}
        self._ended = False

    def attempt(self, number: int, peer: spans.Peer, started: float) -> "AttemptSpan":
        """An attempt begins; its span hangs below the logical one, or below the server's where no model is asked."""
        self._peers[number] = peer
        above = self.server.span_id if self._chat_id is None else self._chat_id
        return AttemptSpan(self._tracing, self.below(_new_id(64)), self.below(above), peer, started, self._offset)

    def below(self, span_id: int) -> TraceContext:
        """The context of another span in this tree."""
        return TraceContext(self.server.trace_id, span_id, self.server.flags, self.server.state)

    def end(self, record: Record) -> None:
        """The request is over: its server span, and the logical one where anything was attempted."""
        if self._ended or not self.server.sampled:
            return
        self._ended = True
        times = (self._started + self._offset, record.started + record.duration + self._offset)
        if self._chat_id is not None and self._peers:
            last = record.attempts[-1].number if record.attempts else max(self._peers)
            peer = self._peers.get(last) or self._peers[max(self._peers)]
            self._tracing.emit(
                spans.chat_name(record.operation, record.requested_model),
                SpanKind.CLIENT,
                self.below(self._chat_id),
                _local(self.server),
                spans.chat_error(record),
                times,
                lambda: spans.chat_attributes(record, peer),
            )
        user_agent = self._user_agent
        self._tracing.emit(
            spans.server_name(record.method, record.route),
            SpanKind.SERVER,
            self.server,
            _foreign(self._parent) if self._parent else None,
            spans.server_error(record),
            times,
            lambda: spans.server_attributes(record, user_agent),
        )


class AttemptSpan:
    """The span of one attempt; implements ports.AttemptTrace."""

    __slots__ = ("_context", "_ended", "_offset", "_parent", "_peer", "_started", "_tracing")

    def __init__(
        self,
        tracing: Tracing,
        context: TraceContext,
        parent: TraceContext,
        peer: spans.Peer,
        started: float,
        offset: float,
    ) -> None:
        self._tracing, self._context, self._parent = tracing, context, parent
        self._peer, self._started, self._offset = peer, started, offset
        self._ended = False

    def propagate(self) -> Headers:
        """The attempt's own context, sampled or not."""
        return tracecontext.inject(self._context)

    def end(self, record: AttemptRecord) -> None:
        """The attempt is over."""
        if self._ended or not self._context.sampled:
            return
        self._ended = True
        peer = self._peer
        self._tracing.emit(
            spans.attempt_name(peer.method),
            SpanKind.CLIENT,
            self._context,
            _local(self._parent),
            spans.attempt_error(record),
            (self._started + self._offset, record.ended + self._offset),
            lambda: spans.attempt_attributes(record, peer),
        )


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


def _new_id(bits: int) -> int:
    return random.getrandbits(bits) or 1


def _context(context: TraceContext, *, is_remote: bool) -> SpanContext:
    state = TraceState.from_header([context.state]) if context.state else None
    return SpanContext(context.trace_id, context.span_id, is_remote, TraceFlags(context.flags), state)


def _foreign(context: TraceContext) -> SpanContext:
    return _context(context, is_remote=True)


def _local(context: TraceContext) -> SpanContext:
    return _context(context, is_remote=False)
