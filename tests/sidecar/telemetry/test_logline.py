"""The line that a finished request leaves."""

import dataclasses
import json
from decimal import Decimal

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Record, Recovery
from modelpool_sidecar.telemetry import logline
from telemetry_records import attempt, record, refused


def test_a_line_tells_the_whole_way_of_a_request():
    told = record(
        stream=True,
        first_token=0.25,
        client_retry=2,
        cost=Decimal("0.0000100"),
        observed=("pool/minute",),
        attempts=(
            attempt(1, outcome=Outcome.UNREACHABLE, status=None, started=100.0, ended=100.25),
            attempt(2, target="secondary", probe=True, started=100.25, ended=101.5),
        ),
    )
    line = logline.log_line(told, trace_id="ab", ended=1_700_000_000.5)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "event": "request",
        "method": "POST",
        "route": "/v1/chat/completions",
        "operation": "chat",
        "stream": True,
        "status": 200,
        "outcome": "Ok",
        "pool": "chat",
        "target": "primary",
        "provider": "openai",
        "requested_model": "chat",
        "sent_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "response_id": "chatcmpl-1",
        "finish_reasons": ["stop"],
        "input_tokens": 12,
        "output_tokens": 34,
        "cached_tokens": 5,
        "reasoning_tokens": 6,
        "cost": "0.00001",
        "attempts": 2,
        "outcomes": [
            {"target": "primary", "outcome": "Unreachable", "duration_ms": 250.0},
            {"target": "secondary", "outcome": "Ok", "status": 200, "duration_ms": 1250.0, "probe": True},
        ],
        "observed": ["pool/minute"],
        "first_token_ms": 250.0,
        "duration_ms": 1500.0,
        "client_retry": 2,
        "config": "0123456789ab",
        "trace_id": "ab",
    }


def test_a_refusal_is_a_short_line():
    assert json.loads(logline.log_line(refused(requested_model=None, config=""))) == {
        "event": "request",
        "method": "POST",
        "route": "/v1/chat/completions",
        "operation": "chat",
        "stream": False,
        "status": 404,
        "refusal": "model_not_found",
        "attempts": 0,
        "duration_ms": 1500.0,
    }


def test_every_part_of_a_record_has_its_field():
    told = {field.name for field in dataclasses.fields(Record)}
    named = {
        "dropped": "dropped_events",
        "usage": "input_tokens",
        "first_token": "first_token_ms",
        "duration": "duration_ms",
        "queued": "queued_ms",
    }
    assert {named.get(name, name) for name in told} - {"started"} <= set(logline.FIELDS)


def test_the_fields_stand_in_the_documented_order():
    rare = {"first_token": 0.1, "client_retry": 1, "refusal": "upstream_error", "observed": ("pool/minute",)}
    broke = (Recovery("Replay", "Differs"), Recovery(None, "NotPossible", "inside reasoning"))
    rare |= {"dropped": 2}
    rare |= {"attempts": (attempt(outrun=True, outcome=Outcome.CANCELLED), attempt(2, hedge=True))}
    told = record(cost=Decimal("0.1"), stream=True, caller="alice", queued=0.5, recoveries=broke, cache="miss", **rare)
    line = logline.log_line(told, trace_id="ab", ended=0.0)
    assert tuple(json.loads(line)) == logline.FIELDS
    assert json.loads(line)["recoveries"] == ["Replay: Differs", "NotPossible: inside reasoning"]


def test_a_hedge_tells_who_won_and_each_attempt_which_it_was():
    attempts = (attempt(outcome=Outcome.CANCELLED, outrun=True), attempt(2, target="spare", hedge=True))
    told = json.loads(logline.log_line(record(attempts=attempts)))
    assert told["hedge"] == "won"
    assert [(each.get("hedge"), each.get("outrun")) for each in told["outcomes"]] == [(None, True), (True, None)]


def test_odd_names_from_outside_make_no_odd_line():
    line = logline.log_line(record(requested_model='a\n"\ud800' + "x" * 999, finish_reasons=("y" * 99,) * 99))
    assert "\n" not in line
    assert json.loads(line)["requested_model"] == 'a\n"?' + "x" * 252
    assert json.loads(line)["finish_reasons"] == ["y" * 32] * 16


def test_the_trace_of_the_record_is_told():
    assert json.loads(logline.log_line(record(trace_id="cd")))["trace_id"] == "cd"
    assert json.loads(logline.log_line(record(trace_id="cd"), trace_id="ab"))["trace_id"] == "ab"
