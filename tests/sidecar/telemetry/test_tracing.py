"""Traces as a collector on loopback receives them."""

import logging
import subprocess
import sys
import time

import pytest

from modelpool_sidecar import ports
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.telemetry import service
from modelpool_sidecar.telemetry.null import NullTelemetry
from otlp_receiver import OtlpReceiver
from telemetry_records import attempt, record, refused

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
FROM_CLIENT: Headers = (
    ("traceparent", f"00-{TRACE}-{SPAN}-01"),
    ("tracestate", "vendor=1"),
    ("baggage", "user=somebody"),
    ("user-agent", "OpenAI/Python 3"),
)
EPOCH = 1_700_000_000.0
"""Wall time at the monotonic time 0."""


class Clocks:
    """A wall clock that stands still beside a monotonic one."""

    def __init__(self) -> None:
        self.epoch = EPOCH

    def wall(self) -> float:
        return self.epoch + 100.0

    def monotonic(self) -> float:
        return 100.0


def build(env: dict[str, str], clocks: Clocks | None = None) -> service.TelemetryService:
    clocks = clocks or Clocks()
    return service.build(env, wall=clocks.wall, monotonic=clocks.monotonic)


def run(telemetry: ports.Telemetry, told: Record, headers: Headers = ()) -> list[Headers]:
    """One request with the attempts of its record; what each of them would have sent."""
    trace = telemetry.request(
        told.method, told.route, told.operation, told.requested_model, told.stream, headers, told.started
    )
    sent = []
    for one in told.attempts:
        host = f"{one.target}.example"
        span = trace.attempt(
            one.number, "POST", f"https://{host}/v1/chat/completions?key=canary", host, 443, one.started
        )
        sent.append(span.propagate())
        span.end(one)
    trace.end(told)
    return sent


FALLBACK = record(
    stream=True,
    first_token=0.75,
    target="secondary",
    provider="other",
    attempts=(
        attempt(1, outcome=Outcome.FAILED, status=500, started=100.1, ended=100.3),
        attempt(2, target="secondary", provider="other", model="llama", started=100.4, ended=101.4),
    ),
)


@pytest.fixture
def collector():
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def telemetry(collector):
    built = build(collector.env)
    yield built
    built.shutdown(5.0)


def test_a_fallback_is_one_tree_of_four_spans(collector, telemetry):
    first, second = run(telemetry, FALLBACK, FROM_CLIENT)
    telemetry.flush()

    server, chat = collector.span("POST /v1/chat/completions"), collector.span("chat chat")
    tries = sorted((span for span in collector.spans if span.name == "POST"), key=lambda span: span.start)
    assert len(collector.spans) == 4
    assert {span.trace_id for span in collector.spans} == {TRACE}
    assert len({span.span_id for span in collector.spans}) == 4
    assert {span.trace_state for span in collector.spans} == {"vendor=1"}
    assert (server.kind, server.parent_id, server.status) == ("SERVER", SPAN, "UNSET")
    assert (chat.kind, chat.parent_id, chat.status) == ("CLIENT", server.span_id, "UNSET")
    assert [(one.kind, one.parent_id, one.status) for one in tries] == [
        ("CLIENT", chat.span_id, "ERROR"),
        ("CLIENT", chat.span_id, "UNSET"),
    ]
    assert [dict(headers) for headers in (first, second)] == [
        {"traceparent": f"00-{TRACE}-{one.span_id}-01", "tracestate": "vendor=1"} for one in tries
    ]


def test_spans_start_and_end_when_the_request_and_its_attempts_did(collector, telemetry):
    run(telemetry, FALLBACK)
    telemetry.flush()
    times = sorted((span.start - EPOCH, span.end - EPOCH) for span in collector.spans)
    expected = [(100.0, 101.5), (100.0, 101.5), (100.1, 100.3), (100.4, 101.4)]
    assert [pytest.approx(pair, abs=1e-5) for pair in expected] == times


def test_the_attributes_are_those_of_the_conventions(collector, telemetry):
    run(telemetry, FALLBACK, FROM_CLIENT)
    telemetry.flush()
    assert collector.span("POST /v1/chat/completions").attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "url.path": "/v1/chat/completions",
        "url.scheme": "http",
        "user_agent.original": "OpenAI/Python 3",
        "modelpool.pool": "chat",
        "modelpool.target": "secondary",
        "modelpool.attempts": 2,
        "modelpool.outcome": "Ok",
        "modelpool.config": "0123456789ab",
    }
    assert collector.span("chat chat").attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "chat",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.75,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 34,
        "gen_ai.usage.cache_read.input_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 6,
        "openai.api.type": "chat_completions",
        "server.address": "secondary.example",
        "server.port": 443,
        "modelpool.pool": "chat",
        "modelpool.target": "secondary",
        "modelpool.provider": "other",
        "modelpool.attempts": 2,
        "modelpool.outcome": "Ok",
    }
    failed, answered = sorted((span for span in collector.spans if span.name == "POST"), key=lambda span: span.start)
    assert failed.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 500,
        "url.full": "https://primary.example/v1/chat/completions?REDACTED",
        "server.address": "primary.example",
        "server.port": 443,
        "error.type": "500",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "modelpool.target": "primary",
        "modelpool.provider": "openai",
        "modelpool.outcome": "Failed",
    }
    assert answered.attributes["http.request.resend_count"] == 1
    assert answered.attributes["gen_ai.request.model"] == "llama"
    assert answered.attributes["modelpool.same_target"] is False


def test_without_a_context_from_the_client_a_trace_begins_here(collector, telemetry):
    run(telemetry, record())
    run(telemetry, record())
    telemetry.flush()
    servers = [span for span in collector.spans if span.kind == "SERVER"]
    assert [span.parent_id for span in servers] == ["", ""]
    assert servers[0].trace_id != servers[1].trace_id


def test_a_request_that_was_refused_is_one_span(collector, telemetry):
    run(telemetry, refused())
    telemetry.flush()
    (span,) = collector.spans
    assert (span.kind, span.status) == ("SERVER", "UNSET")
    assert span.attributes["modelpool.refusal"] == "model_not_found"


def test_a_request_for_the_models_has_no_model_call(collector, telemetry):
    run(telemetry, record(method="GET", route="/v1/models", operation="models", attempts=()))
    run(telemetry, record(method="GET", route="/v1/models/{id}", operation="model"))
    telemetry.flush()
    below, plain, one = sorted(collector.spans, key=lambda span: span.name, reverse=True)
    assert [span.name for span in (below, one, plain)] == ["POST", "GET /v1/models", "GET /v1/models/{id}"]
    assert below.parent_id == plain.span_id


def test_an_attempt_that_ends_after_its_request_still_hangs_in_the_tree(collector, telemetry):
    trace = telemetry.request("POST", "/v1/chat/completions", "chat", "chat", False, (), 100.0)
    late = trace.attempt(1, "POST", "http://a.example/v1", "a.example", 80, 100.0)
    trace.end(record(attempts=()))
    late.end(attempt(outcome=Outcome.CANCELLED, status=None))
    trace.end(record(attempts=()))
    late.end(attempt())
    telemetry.flush()
    assert len(collector.spans) == 3
    chat = collector.span("chat chat")
    assert chat.attributes["server.address"] == "a.example"
    assert collector.span("POST").parent_id == chat.span_id
    assert collector.span("POST").status == "UNSET"


@pytest.mark.parametrize(
    ("sampler", "ratio", "headers", "spans"),
    [
        ("", "", (("traceparent", f"00-{TRACE}-{SPAN}-00"),), 0),
        ("parentbased_always_off", "", (), 0),
        ("parentbased_always_off", "", FROM_CLIENT, 3),
        ("always_off", "", FROM_CLIENT, 0),
        ("always_on", "", (("traceparent", f"00-{TRACE}-{SPAN}-00"),), 3),
        ("traceidratio", "0", FROM_CLIENT, 0),
        ("traceidratio", "1", (), 3),
        ("parentbased_traceidratio", "0", (), 0),
        ("parentbased_traceidratio", "0", FROM_CLIENT, 3),
    ],
)
def test_the_sampler_decides_for_the_whole_tree_and_the_next_hop_hears_it(collector, sampler, ratio, headers, spans):
    telemetry = build({**collector.env, "OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": ratio})
    ((parent, *_),) = run(telemetry, record(), headers)
    telemetry.shutdown(5.0)
    assert len(collector.spans) == spans
    assert parent[0] == "traceparent"
    assert parent[1].endswith("-01" if spans else "-00")
    assert SPAN not in parent[1]


def test_the_resource_the_headers_and_the_path_are_as_configured(collector):
    telemetry = build(
        {
            **collector.env,
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.base}/in",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abc",
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=web-1",
            "OTEL_SERVICE_NAME": "web-sidecar",
        }
    )
    run(telemetry, record())
    telemetry.shutdown(5.0)
    assert collector.paths == ["/in"]
    assert collector.headers[0]["authorization"] == "Bearer abc"
    assert collector.headers[0]["content-type"] == "application/x-protobuf"
    assert collector.resource["service.name"] == "web-sidecar"
    assert collector.resource["k8s.pod.name"] == "web-1"
    assert collector.resource["service.version"]
    assert collector.resource["telemetry.sdk.name"] == "opentelemetry"
    assert collector.scopes == {("modelpool.sidecar", "https://opentelemetry.io/schemas/1.41.0")}


def test_the_body_is_compressed_where_that_is_asked_for(collector):
    telemetry = build({**collector.env, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"})
    run(telemetry, record())
    telemetry.shutdown(5.0)
    assert collector.bodies[0].startswith(b"\x1f\x8b")


def test_the_clocks_are_compared_anew_for_each_request(collector):
    clocks = Clocks()
    telemetry = build(collector.env, clocks)
    clocks.epoch += 3600.0
    run(telemetry, record())
    telemetry.shutdown(5.0)
    assert min(span.start for span in collector.spans) == pytest.approx(EPOCH + 3600 + 100, abs=1e-5)


def test_the_end_waits_no_longer_than_it_is_told_for_a_collector_that_hangs(collector):
    telemetry = build({**collector.env, "OTEL_EXPORTER_OTLP_TIMEOUT": "60000"})
    collector.gate.clear()
    run(telemetry, record())
    begun = time.monotonic()
    telemetry.shutdown(0.2)
    assert time.monotonic() - begun < 5.0, "the collector holds it for ten"
    collector.gate.set()


def test_a_collector_that_is_away_is_told_in_the_log_and_no_request_fails(caplog):
    telemetry = build({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "100"})
    with caplog.at_level(logging.ERROR):
        run(telemetry, record())
        telemetry.flush()
    assert "Failed to export spans batch" in caplog.text
    telemetry.shutdown(1.0)
    run(telemetry, record())


@pytest.mark.parametrize("make", [NullTelemetry, lambda: build({})])
def test_without_an_exporter_the_clients_own_context_goes_on_and_nothing_is_invented(make):
    assert run(make(), record(), FROM_CLIENT) == [FROM_CLIENT[:2]]
    assert run(make(), record()) == [()]


@pytest.mark.parametrize("make", [NullTelemetry, lambda: build({})])
def test_the_log_line_finds_the_clients_trace_without_an_exporter_too(make):
    def trace_id(headers: Headers) -> str | None:
        return make().request("POST", "/v1/chat/completions", "chat", "m", False, headers, 0.0).trace_id

    assert trace_id(FROM_CLIENT) == TRACE
    assert trace_id(()) is None


def test_the_log_line_finds_our_own_trace(collector, telemetry):
    trace = telemetry.request("POST", "/v1/chat/completions", "chat", "m", False, (), 0.0)
    trace.end(record())
    telemetry.flush()
    assert trace.trace_id == collector.spans[0].trace_id


def test_flush_and_shutdown_without_an_exporter_are_fine():
    telemetry = build({})
    telemetry.flush()
    telemetry.shutdown(0.0)
    assert repr(telemetry) == "<TelemetryService no traces>"


def test_a_service_says_where_it_sends(collector, telemetry):
    assert repr(telemetry) == f"<TelemetryService traces to {collector.base}/v1/traces>"


def test_what_is_asked_for_in_vain_is_logged_in_a_sentence(caplog):
    telemetry = build({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert "only 'http/protobuf' (port 4318 of a collector) is: no traces are exported" in caplog.text
    assert repr(telemetry) == "<TelemetryService no traces>"


def test_the_sdk_is_not_imported_without_an_endpoint():
    code = (
        "import sys; from modelpool_sidecar.telemetry import logline, null, service;"
        "service.build({'OTEL_SERVICE_NAME': 'x'}).metrics_text();"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
