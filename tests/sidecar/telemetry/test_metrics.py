"""What /metrics shows, and what it never does."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery, Usage
from modelpool_sidecar.telemetry import logline, names, series, service
from modelpool_sidecar.telemetry.metrics import TargetState
from telemetry_records import attempt, record, refused

DOCS = Path(__file__).parents[3] / "docs" / "telemetry.md"


@pytest.fixture
def telemetry():
    return service.build({})


def end(telemetry, told):
    telemetry.request("POST", told.route, told.operation, told.requested_model, told.stream, (), told.started).end(told)


def value(telemetry, name, **labels):
    """The sample's value; None where there is no such sample."""
    return telemetry.metrics.registry.get_sample_value(name, labels)


def test_a_request_is_counted_by_what_became_of_it(telemetry):
    end(telemetry, record())
    end(telemetry, record())
    labels = {"pool": "chat", "target": "primary", "operation": "chat"}
    assert value(telemetry, "modelpool_requests_total", **labels, status="2xx", outcome="Ok", refusal="") == 2
    assert (
        value(telemetry, "modelpool_request_duration_seconds_count", pool="chat", operation="chat", stream="false") == 2
    )
    assert (
        value(telemetry, "modelpool_request_duration_seconds_sum", pool="chat", operation="chat", stream="false") == 3
    )


def test_a_model_that_nobody_knows_is_unknown_and_its_name_no_label(telemetry):
    end(telemetry, refused(requested_model="whatever-a-client-types", operation="steal"))
    assert (
        value(
            telemetry,
            "modelpool_requests_total",
            pool="unknown",
            target="",
            operation="other",
            status="4xx",
            outcome="",
            refusal="model_not_found",
        )
        == 1
    )
    assert b"whatever" not in telemetry.metrics_text()
    assert b"steal" not in telemetry.metrics_text()


@pytest.mark.parametrize(("status", "shown"), [(204, "2xx"), (429, "4xx"), (599, "5xx"), (0, "none"), (777, "none")])
def test_statuses_are_classes(telemetry, status, shown):
    end(telemetry, refused(status=status, refusal="a code of nobody"))
    labels = {"pool": "unknown", "target": "", "operation": "chat", "outcome": "", "refusal": ""}
    assert value(telemetry, "modelpool_requests_total", **labels, status=shown) == 1


def test_attempts_fallbacks_and_retries_are_counted_by_their_cause(telemetry):
    end(
        telemetry,
        record(
            target="secondary",
            attempts=(
                attempt(1, outcome=Outcome.FAILED, status=500),
                attempt(2, outcome=Outcome.UNREACHABLE, status=None, same_target=True),
                attempt(3, target="secondary", provider="other"),
            ),
        ),
    )
    primary = {"pool": "chat", "target": "primary"}
    assert value(telemetry, "modelpool_attempts_total", **primary, provider="openai", outcome="Failed") == 1
    assert value(telemetry, "modelpool_attempts_total", **primary, provider="openai", outcome="Unreachable") == 1
    assert (
        value(telemetry, "modelpool_attempts_total", pool="chat", target="secondary", provider="other", outcome="Ok")
        == 1
    )
    assert value(telemetry, "modelpool_retries_total", **primary, outcome="Failed") == 1
    assert value(telemetry, "modelpool_fallbacks_total", **primary, outcome="Unreachable") == 1
    assert value(telemetry, "modelpool_fallbacks_total", **primary, outcome="Failed") is None


FIRST_LOST = attempt(1, outcome=Outcome.CANCELLED, outrun=True)
HEDGE_LOST = attempt(2, target="spare", hedge=True, outcome=Outcome.CANCELLED, outrun=True)
HEDGE_FAILED = attempt(2, target="spare", hedge=True, outcome=Outcome.FAILED)
HEDGES = {
    "the second answers": ((FIRST_LOST, attempt(2, target="spare", hedge=True)), "won"),
    "the second answers and breaks": (
        (FIRST_LOST, attempt(2, target="spare", hedge=True, outcome=Outcome.BROKEN)),
        "won",
    ),
    "the first fails, the second answers": (
        (attempt(1, outcome=Outcome.FAILED), attempt(2, target="spare", hedge=True)),
        "won",
    ),
    "the first answers": ((HEDGE_LOST, attempt(1)), "lost"),
    "the first is refused": ((attempt(1, outcome=Outcome.REJECTED), HEDGE_LOST), "lost"),
    "the second fails": ((HEDGE_FAILED, attempt(1)), "failed"),
    "both fail": ((HEDGE_FAILED, attempt(1, outcome=Outcome.FAILED)), "failed"),
    "the client leaves": (
        (attempt(2, target="spare", hedge=True, outcome=Outcome.CANCELLED), attempt(1, outcome=Outcome.CANCELLED)),
        "left",
    ),
}


@pytest.mark.parametrize("what", HEDGES)
def test_hedges_are_counted_by_what_became_of_them_and_are_no_fallbacks(telemetry, what):
    attempts, result = HEDGES[what]
    end(telemetry, record(attempts=attempts))
    results = ("won", "lost", "failed", "left")
    told = {
        each: value(telemetry, "modelpool_hedges_total", pool="chat", target="spare", result=each) for each in results
    }
    assert {name for name, count in told.items() if count} == {result}
    assert b"modelpool_fallbacks_total{" not in telemetry.metrics_text()


def test_the_attempt_after_two_at_once_is_the_fallback_of_the_one_that_failed_last(telemetry):
    first = attempt(1, outcome=Outcome.UNREACHABLE)
    end(telemetry, record(attempts=(HEDGE_FAILED, first, attempt(3, target="third"))))
    told = {"pool": "chat", "target": "primary", "outcome": "Unreachable"}
    assert value(telemetry, "modelpool_fallbacks_total", **told) == 1
    assert value(telemetry, "modelpool_fallbacks_total", pool="chat", target="spare", outcome="Failed") is None


def test_tokens_are_counted_as_told_and_not_where_nothing_was_told(telemetry):
    end(telemetry, record(usage=Usage(10, 20, 3, None)))
    end(telemetry, record(usage=Usage(1, 0, None, None)))
    labels = {"pool": "chat", "target": "primary"}
    assert value(telemetry, "modelpool_tokens_total", **labels, type="input") == 11
    assert value(telemetry, "modelpool_tokens_total", **labels, type="output") == 20
    assert value(telemetry, "modelpool_tokens_total", **labels, type="cached") == 3
    assert value(telemetry, "modelpool_tokens_total", **labels, type="reasoning") is None


def test_costs_are_summed_up_by_who_charges_them_and_what_has_none_adds_nothing(telemetry):
    for cost in (Decimal("0.0005"), None, Decimal("0.0007")):
        end(telemetry, record(cost=cost))
    labels = {"pool": "chat", "target": "primary", "provider": "openai"}
    assert value(telemetry, "modelpool_cost_usd_total", **labels) == pytest.approx(0.0012)
    end(telemetry, record(target="free"))
    assert value(telemetry, "modelpool_cost_usd_total", pool="chat", target="free", provider="openai") is None


def test_what_a_limit_would_have_refused_is_counted_by_its_level_and_name(telemetry):
    end(telemetry, record(observed=("pool/minute", "provider/account")))
    end(telemetry, record(observed=("pool/minute",)))
    assert value(telemetry, "modelpool_limit_observed_total", pool="chat", limit="pool/minute") == 2
    assert value(telemetry, "modelpool_limit_observed_total", pool="chat", limit="provider/account") == 1


def test_the_first_token_of_streams_is_measured(telemetry):
    end(telemetry, record(stream=True, first_token=0.3))
    end(telemetry, record())
    labels = {"pool": "chat", "target": "primary"}
    assert value(telemetry, "modelpool_time_to_first_token_seconds_count", **labels) == 1
    assert value(telemetry, "modelpool_time_to_first_token_seconds_bucket", **labels, le="0.25") == 0
    assert value(telemetry, "modelpool_time_to_first_token_seconds_bucket", **labels, le="0.5") == 1


def test_reloads_are_counted_and_the_config_in_force_is_named(telemetry):
    assert value(telemetry, "modelpool_config_reloads_total", result="invalid") == 0
    assert value(telemetry, "modelpool_config_info", digest="sha256:a") is None
    telemetry.config_reload(True, "sha256:a")
    telemetry.config_reload(False, "sha256:broken")
    assert value(telemetry, "modelpool_config_info", digest="sha256:a") == 1
    telemetry.config_reload(True, "sha256:b")
    assert value(telemetry, "modelpool_config_info", digest="sha256:a") is None
    assert value(telemetry, "modelpool_config_info", digest="sha256:b") == 1
    assert value(telemetry, "modelpool_config_reloads_total", result="ok") == 2
    assert value(telemetry, "modelpool_config_reloads_total", result="invalid") == 1


def test_stances_and_requests_in_flight_are_looked_up_at_the_scrape(telemetry):
    states = [TargetState("chat", "primary", "openai", "serving")]
    in_flight = [3]
    telemetry.observe(lambda: states, lambda: in_flight[0])
    assert value(telemetry, "modelpool_in_flight") == 3
    labels = {"pool": "chat", "target": "primary", "provider": "openai"}
    assert [value(telemetry, "modelpool_target_stance", **labels, stance=name) for name in series.STANCES] == [1, 0, 0]
    assert value(telemetry, "modelpool_target_share", **labels) == 1
    states[0] = TargetState("chat", "primary", "openai", "cooling", 0.25)
    assert value(telemetry, "modelpool_target_share", **labels) == 0.25
    in_flight[0] = 0
    assert value(telemetry, "modelpool_in_flight") == 0
    assert [value(telemetry, "modelpool_target_stance", **labels, stance=name) for name in series.STANCES] == [0, 1, 0]
    states.clear()
    assert value(telemetry, "modelpool_target_stance", **labels, stance="cooling") is None


def test_events_that_were_left_out_are_counted(telemetry):
    end(telemetry, record(dropped=2))
    end(telemetry, record())
    [family] = [each for name, each in full(telemetry).items() if name == "modelpool_stream_events_dropped_total"]
    assert [sample.value for sample in family.samples if sample.name.endswith("_total")] == [3]


def test_recoveries_are_counted_by_way_and_result(telemetry):
    end(telemetry, record(recoveries=(Recovery("Continue", "Failed"), Recovery("Replay", "Recovered"))))
    end(telemetry, record(recoveries=(Recovery(None, "NotPossible", "inside reasoning"),)))
    [family] = [each for name, each in full(telemetry).items() if name == "modelpool_stream_recoveries_total"]
    told = {(sample.labels["mode"], sample.labels["result"]): sample.value for sample in family.samples}
    assert told[("Continue", "Failed")] == told[("None", "NotPossible")] == 1


def full(telemetry):
    """Everything that can be shown, shown once."""
    retried = attempt(2, same_target=True)
    rare = {"cost": Decimal("0.1"), "first_token": 0.1, "observed": ("pool/minute",)}
    end(telemetry, record(stream=True, attempts=(attempt(), retried, attempt(3)), **rare))
    end(telemetry, record(cost=Decimal("0.1"), caller="alice", queued=0.5, cache="miss"))
    end(telemetry, record(recoveries=(Recovery("Replay", "Recovered"),), dropped=1))
    end(telemetry, record(attempts=(attempt(outrun=True), attempt(2, hedge=True))))
    telemetry.config_reload(True, "sha256:a")
    telemetry.metrics.check("openai", "Ok")
    telemetry.observe(
        lambda: [TargetState("chat", "primary", "openai", "serving")],
        lambda: 1,
        lambda: [("chat", 2)],
        lambda: [("chat", 3, 4096)],
    )
    families = text_string_to_metric_families(telemetry.metrics_text().decode())
    return {family.name + ("_total" if family.type == "counter" else ""): family for family in families}


def test_the_table_of_names_is_what_is_shown(telemetry):
    shown = {name: family for name, family in full(telemetry).items() if name.startswith("modelpool_")}
    assert set(shown) == {metric.name for metric in series.METRICS}
    for metric in series.METRICS:
        family = shown[metric.name]
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert (family.type, labels, family.documentation) == (metric.kind, set(metric.labels), metric.help)


def test_the_documentation_has_the_same_table():
    rows = re.findall(r"^\| `(modelpool_\w+)` \| (\w+) \| (.*?) \|", DOCS.read_text(), re.MULTILINE)
    assert [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows] == [
        (metric.name, metric.kind, metric.labels) for metric in series.METRICS
    ]


def test_the_documentation_has_every_field_of_the_log_line():
    section = DOCS.read_text().partition("## The log line")[2]
    rows = [cell for cell in re.findall(r"^\| (.*?) \|", section, re.MULTILINE) if "`" in cell]
    assert [name for cell in rows for name in re.findall(r"`(\w+)`", cell)] == list(logline.FIELDS)


def test_the_documentation_has_every_attribute_of_a_span():
    text = DOCS.read_text()
    ours = [name for key, name in vars(names).items() if key.isupper() and isinstance(name, str) and "." in name]
    attributes = [name for name in ours if not name.startswith(("http://", "https://")) and name != names.SCOPE]
    assert attributes
    assert not [name for name in attributes if f"`{name}`" not in text]


def test_the_process_is_measured_and_nothing_is_said_about_when_a_counter_began(telemetry):
    shown = full(telemetry)
    assert "process_resident_memory_bytes" in shown
    assert not [name for name in shown if name.endswith("_created")]
    assert telemetry.content_type.startswith("text/plain; version=0.0.4")


def test_two_services_share_no_number(telemetry):
    other = service.build({})
    end(telemetry, record())
    assert b"modelpool_attempts_total{" in telemetry.metrics_text()
    assert b"modelpool_attempts_total{" not in other.metrics_text()


def test_callers_beyond_the_first_hundred_are_one_label():
    """B45: names of callers are configured ones, and there may be thousands of them."""
    telemetry = service.build({})
    for number in range(series.MAX_CALLERS + 5):
        end(telemetry, record(caller=f"caller-{number}"))
    end(telemetry, record(caller="caller-0"))
    families = text_string_to_metric_families(telemetry.metrics_text().decode())
    found = next(family for family in families if family.name == "modelpool_caller_requests")
    counted = {sample.labels["caller"]: sample.value for sample in found.samples}
    assert len(counted) == series.MAX_CALLERS + 1
    assert (counted["other"], counted["caller-0"]) == (5, 2)
