"""Spans by OpenTelemetry's SDK: its sampler decides, its exporter sends; the spans are made after the fact.

While a request runs a span is an id and a start time. When it is over the finished span is queued, and what costs most,
its attributes and its encoding, is done in the exporter's thread. One decision of the sampler holds for the whole tree:
every sampler that a variable can name decides by the parent and the trace id, which a request's spans share.

This module and `exporting` alone import the SDK; `service` imports them where an endpoint is configured.
"""

import random
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import NonRecordingSpan, SpanKind, set_span_in_context

from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.telemetry import names, spans, tracecontext
from modelpool_sidecar.telemetry.exporting import Exports, local, remote
from modelpool_sidecar.telemetry.settings import TraceSettings
from modelpool_sidecar.telemetry.tracecontext import SAMPLED, TraceContext


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
        self._exports = Exports(settings, version)
        self._wall, self._monotonic = wall, monotonic

    def begin(self, route: str, operation: str, headers: Headers, started: float) -> "RequestSpans":
        """A request begins at `started`; the sampler decides now."""
        parent = tracecontext.extract(headers)
        trace_id = parent.trace_id if parent else _new_id(128)
        context = set_span_in_context(NonRecordingSpan(remote(parent)), Context()) if parent else None
        decision = self._sampler.should_sample(context, trace_id, route, SpanKind.SERVER, {names.HTTP_ROUTE: route})
        flags = (parent.flags & ~SAMPLED if parent else 0) | (
            SAMPLED if decision.decision is sampling.Decision.RECORD_AND_SAMPLE else 0
        )
        server = TraceContext(trace_id, _new_id(64), flags, parent.state if parent else "")
        asks_a_model = names.OPERATIONS.get(operation) is not None
        user_agent = next((value for name, value in headers if name == "user-agent"), None)
        # The clocks are compared anew for each tree: a laptop's sleep stops one of them, and a step moves the other.
        offset = self._wall() - self._monotonic()
        return RequestSpans(self._exports, server, parent, asks_a_model, user_agent, started, offset)

    def flush(self) -> None:
        """Send what is queued, now; blocks until the collector answered or the timeout passed."""
        self._exports.flush()

    def shutdown(self, timeout_seconds: float) -> None:
        """Send what is queued and stop, in at most that time; what is left then is dropped. Blocks."""
        self._exports.shutdown(timeout_seconds)


class RequestSpans:
    """The spans of one request: ids and times until it ends."""

    __slots__ = ("_chat_id", "_ended", "_exports", "_offset", "_parent", "_peers", "_started", "_user_agent", "server")

    def __init__(
        self,
        exports: Exports,
        server: TraceContext,
        parent: TraceContext | None,
        asks_a_model: bool,
        user_agent: str | None,
        started: float,
        offset: float,
    ) -> None:
        self._exports, self.server, self._parent = exports, server, parent
        self._chat_id = _new_id(64) if asks_a_model else None
        self._user_agent, self._started, self._offset = user_agent, started, offset
        self._peers: dict[int, spans.Peer] = {}
        self._ended = False

    def attempt(self, number: int, peer: spans.Peer, started: float) -> "AttemptSpan":
        """An attempt begins; its span hangs below the logical one, or below the server's where no model is asked."""
        self._peers[number] = peer
        above = self.server.span_id if self._chat_id is None else self._chat_id
        return AttemptSpan(self._exports, self.below(_new_id(64)), self.below(above), peer, started, self._offset)

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
            last = next((each.number for each in reversed(record.attempts) if not each.outrun), max(self._peers))
            peer = self._peers.get(last) or self._peers[max(self._peers)]
            self._exports.emit(
                spans.chat_name(record.operation, record.requested_model),
                SpanKind.CLIENT,
                self.below(self._chat_id),
                local(self.server),
                spans.chat_error(record),
                times,
                lambda: spans.chat_attributes(record, peer),
            )
        user_agent = self._user_agent
        self._exports.emit(
            spans.server_name(record.method, record.route),
            SpanKind.SERVER,
            self.server,
            remote(self._parent) if self._parent else None,
            spans.server_error(record),
            times,
            lambda: spans.server_attributes(record, user_agent),
        )


class AttemptSpan:
    """The span of one attempt; implements ports.AttemptTrace."""

    __slots__ = ("_context", "_ended", "_exports", "_offset", "_parent", "_peer", "_started")

    def __init__(
        self,
        exports: Exports,
        context: TraceContext,
        parent: TraceContext,
        peer: spans.Peer,
        started: float,
        offset: float,
    ) -> None:
        self._exports, self._context, self._parent = exports, context, parent
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
        self._exports.emit(
            spans.attempt_name(peer.method),
            SpanKind.CLIENT,
            self._context,
            local(self._parent),
            spans.attempt_error(record),
            (self._started + self._offset, record.ended + self._offset),
            lambda: spans.attempt_attributes(record, peer),
        )


def _new_id(bits: int) -> int:
    return random.getrandbits(bits) or 1
