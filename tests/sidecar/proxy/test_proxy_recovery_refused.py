"""What is not recovered, and who leaves meanwhile: it is B25, as without a recovery (B26)."""

from typing import Any

import orjson
import pytest

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery
from recovery_bench import begun, breaks, chunk, goes_on, pool_of
from virtual import SSE, Bench


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"n": 2}, "n > 1"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "an answer of a given form"),
        ({"response_format": {"type": "json_object"}}, "an answer of a given form"),
        ({"guided_json": {}, "guided_regex": "a+"}, "an answer of a given form"),
        ({"store": True}, "an answer that is stored"),
        ({"modalities": ["text", "audio"]}, "sound"),
        ({"audio": {"voice": "x"}}, "sound"),
    ],
)
def test_what_a_second_answer_cannot_be_compared_with_is_not_recovered(body: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    whole = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hi"}], **body}
    client = begun(bench, body=whole)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert client.body.count(b'"error"') == 1
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}, "after a tool call"),
        ({"reasoning_content": "hm"}, "inside reasoning"),
        ({"refusal": "no"}, "after output that is no text"),
    ],
)
def test_after_such_output_nothing_is_recovered(delta: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = begun(bench)
    bench.upstream.last.data(chunk("primary", delta))
    breaks(bench, "end")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fallback": {"outcomes": ("Stalled",)}}, "Broken goes on nowhere"),
        ({"fallback": {"max_attempts": 1}}, "no target is left for it"),
        ({"targets": 1}, "no target is left for it"),
    ],
)
def test_what_the_fallback_forbids_is_not_recovered(changes: dict[str, Any], why: str) -> None:
    bench = Bench(pool_of("Replay", **changes))
    client = begun(bench)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", why),)


def test_the_providers_own_error_event_is_told_only_where_nothing_helps() -> None:
    bench = Bench(pool_of("Continue"))
    client = begun(bench)
    breaks(bench, "error event")
    assert client.end == "failed"
    assert client.body.endswith(b'data: {"error":{"message":"overloaded"}}\n\n')


def test_without_recovery_nothing_is_kept_and_nothing_recovered() -> None:
    bench = Bench(pool_of())
    client = begun(bench)
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert bench.records[0].recoveries == ()


def test_a_pinned_target_never_falls_back_so_it_is_not_recovered() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench, headers={"x-modelpool-target": "primary"})
    breaks(bench, "cut")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"


def test_a_client_that_leaves_meanwhile_ends_the_recovery() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    client.leave()
    assert bench.upstream.last.cancelled
    assert bench.records[0].recoveries == (Recovery("Replay", "Cancelled"),)
    assert bench.records[0].outcome is Outcome.CANCELLED
    assert bench.nothing_is_held()


def test_a_client_that_leaves_just_after_a_difference_ends_it_too() -> None:
    bench = Bench(pool_of("Replay", targets=3))
    client = begun(bench)
    breaks(bench, "cut")
    goes_on(bench, "backup", [" 1"], ends=False)
    client.leave()
    bench.clock.advance(1)
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.nothing_is_held()


def test_a_drain_in_the_middle_of_a_recovery_ends_the_stream_by_its_error_event() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    assert client.on_drain_deadline is not None
    client.on_drain_deadline()
    assert client.end == "failed"
    assert b'"code":"draining"' in client.body
    assert bench.nothing_is_held()


def test_an_answer_that_is_no_stream_is_no_rest() -> None:
    bench = Bench(pool_of("Replay"))
    client = begun(bench)
    breaks(bench, "cut")
    bench.upstream.last.answer()
    bench.clock.advance(0)
    assert client.end == "failed"
    assert b"hello" not in client.body
    assert bench.records[0].recoveries == (Recovery("Replay", "Failed"),)
    assert bench.nothing_is_held()


def test_the_responses_api_is_not_recovered() -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = bench.ask({"model": "chat", "input": "hi", "stream": True, "store": False}, path="/v1/responses")
    bench.upstream.last.head(200, SSE)
    event = {"type": "response.output_text.delta", "delta": "one", "sequence_number": 3}
    bench.upstream.last.data(b"event: response.output_text.delta\ndata: " + orjson.dumps(event) + b"\n\n")
    bench.upstream.last.end()
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"


def test_after_the_finish_an_error_event_begins_nothing_anew() -> None:
    bench = Bench(pool_of("Continue", "Replay", prefill=("backup",)))
    client = begun(bench)
    bench.upstream.last.data(chunk("primary", {}, "stop"))
    breaks(bench, "error event")
    assert bench.upstream.asked == ["primary"]
    assert client.end == "failed"
    assert client.body.count(b'"finish_reason":"stop"') == 1
    assert bench.records[0].recoveries == (Recovery(None, "NotPossible", "after its finish"),)
