"""No prompt, answer or key in any signal (B44): strings that must not be found are put wherever they could come in."""

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.telemetry import logline, service
from otlp_receiver import OtlpReceiver
from telemetry_records import attempt, record

CANARIES = ("canary-key", "canary-cookie", "canary-baggage", "canary-query", "canary-user")
HEADERS = (
    ("authorization", "Bearer canary-key"),
    ("api-key", "canary-key"),
    ("x-api-key", "canary-key"),
    ("cookie", "session=canary-cookie"),
    ("baggage", "prompt=canary-baggage"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
)
URL = "https://canary-user:canary-key@a.example/v1/chat/completions?prompt=canary-query&api-key=canary-key"


def test_no_secret_of_a_request_reaches_a_span_a_metric_or_the_log():
    told = record(attempts=(attempt(outcome=Outcome.DENIED, status=401),), status=502, outcome=Outcome.DENIED)
    with OtlpReceiver() as collector:
        telemetry = service.build({**collector.env, "OTEL_EXPORTER_OTLP_HEADERS": "x-collector=canary-collector"})
        trace = telemetry.request("POST", told.route, "chat", told.requested_model, False, HEADERS, told.started)
        sent = trace.attempt(1, "POST", URL, "a.example", 443, told.started)
        propagated = repr(sent.propagate())
        sent.end(told.attempts[0])
        trace.end(told)
        telemetry.shutdown(5.0)
    assert len(collector.spans) == 3
    line = logline.log_line(told, trace_id=trace.trace_id)
    signals = (b"".join(collector.bodies), telemetry.metrics_text(), line.encode(), propagated.encode())
    for canary in (*CANARIES, "canary-collector"):
        assert not [signal for signal in signals if canary.encode() in signal]


def test_names_from_outside_are_in_spans_and_the_log_but_in_no_label():
    told = record(
        requested_model="odd-request", response_model="odd-answer", response_id="odd-id", sent_model="odd-sent"
    )
    telemetry = service.build({})
    telemetry.request("POST", told.route, "chat", "odd-request", False, HEADERS, 0.0).end(told)
    assert b"odd-" not in telemetry.metrics_text()
    assert logline.log_line(told).count("odd-") == 4
