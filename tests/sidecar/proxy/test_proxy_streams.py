"""Streams through the proxy: the commit, what may happen before it, and what must not look like success after it."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.answering import KEEP_ALIVE
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.course import MAX_WHOLE_BYTES
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, a_chunk


def two(**changes: Any) -> Snapshot:
    """The head is held as long as it takes: when it goes out before is the matter of test_proxy_commit."""
    changes = {"streaming": {"head_hold": 600_000}, **changes}
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def started(bench: Bench, **more: Any) -> HeldDownstream:
    client = bench.ask(stream=True, **more)
    bench.upstream.last.head(200, SSE)
    return client


def test_a_stream_is_relayed_byte_by_byte_and_ends_with_its_terminal_event() -> None:
    bench = Bench(two())
    client = started(bench)
    parts = [ROLE, a_chunk("hel"), b": ping\r\n\r\n", a_chunk("lo"), a_chunk(finish="stop"), DONE]
    for part in parts:
        bench.upstream.last.data(part)
    assert client.body == b"".join(parts)
    assert client.end == "finished"
    assert client.headers["content-type"] == "text/event-stream"
    assert "content-length" not in client.headers
    assert bench.records[0].outcome is Outcome.OK


def test_the_end_does_not_wait_for_eof_and_the_connection_is_given_a_moment() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi", finish="stop") + DONE)
    assert client.end == "finished"
    assert not bench.upstream.last.cancelled
    bench.clock.advance(0.1)
    assert bench.upstream.last.cancelled
    assert bench.nothing_is_held()


def test_a_connection_that_ends_in_that_moment_is_kept() -> None:
    bench = Bench(two())
    started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi", finish="stop") + DONE)
    bench.upstream.last.end()
    assert not bench.upstream.last.cancelled
    assert bench.nothing_is_held()


def test_nothing_goes_out_before_the_first_content() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(b": thinking\n\n" + ROLE)
    assert client.status is None
    bench.clock.advance(2)
    bench.upstream.last.data(a_chunk("hi"))
    assert client.status == 200
    bench.upstream.last.data(a_chunk(finish="stop") + DONE)
    assert bench.records[0].first_token == pytest.approx(2)


@pytest.mark.parametrize("fault", ["cut", "error event", "silence", "end", "malformed", "oversized", "empty"])
def test_before_the_first_content_every_fault_is_survived_and_only_the_winner_is_seen(fault: str) -> None:
    bench = Bench(two())
    client = started(bench)
    attempt = bench.upstream.last
    if fault != "empty":
        attempt.data(ROLE)
    match fault:
        case "cut":
            attempt.error("cut")
        case "error event":
            attempt.data(b'data: {"error":{"message":"overloaded"}}\n\n')
        case "silence":
            bench.clock.advance(120)
        case "end" | "empty":
            attempt.end()
        case "malformed":
            attempt.data(b"data: {nonsense\n\n")
        case "oversized":
            attempt.data(b"data: " + b"x" * 1_100_000)
    assert bench.upstream.asked == ["primary", "backup"]
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk(role="assistant", content="from backup") + a_chunk(finish="stop") + DONE)
    assert client.status == 200
    assert client.body.count(b'"role"') == 1
    assert client.headers["x-modelpool-target"] == "backup"


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("cut", Outcome.BROKEN),
        ("end", Outcome.BROKEN),
        ("stall", Outcome.STALLED),
        ("malformed", Outcome.BROKEN),
        ("oversized", Outcome.BROKEN),
    ],
)
def test_after_the_first_content_a_fault_is_an_error_event_and_never_a_clean_end(fault: str, outcome: Outcome) -> None:
    bench = Bench(two())
    client = started(bench)
    attempt = bench.upstream.last
    attempt.data(ROLE + a_chunk("half an ans"))
    match fault:
        case "cut":
            attempt.data(b'data: {"choices":[{"delta":{"con')
            attempt.error("cut")
        case "end":
            attempt.end()
        case "stall":
            bench.clock.advance(120)
        case "malformed":
            attempt.data(b"data: {nonsense\n\n" * 2)
        case "oversized":
            attempt.data(b"data: " + b"x" * 1_100_000)
    assert client.end == "failed"
    assert b"[DONE]" not in client.body
    last = client.body.removeprefix(ROLE + a_chunk("half an ans")).replace(KEEP_ALIVE, b"")
    error = orjson.loads(last.removeprefix(b"data: "))["error"]
    assert error["code"] in ("upstream_error", "upstream_timeout")
    assert bench.upstream.asked == ["primary"]
    assert bench.records[0].outcome is outcome
    assert bench.nothing_is_held()


def test_a_providers_own_error_event_in_the_middle_is_passed_on_and_ends_the_stream() -> None:
    bench = Bench(two())
    client = started(bench)
    event = b'data: {"error":{"message":"overloaded","code":"x"}}\n\n'
    bench.upstream.last.data(ROLE + a_chunk("half") + event)
    assert client.body.endswith(event)
    assert client.body.count(b'"error"') == 1
    assert client.end == "failed"


def test_comments_are_no_tokens_and_do_not_hold_off_the_deadlines() -> None:
    """B16."""
    bench = Bench(two())
    started(bench)
    for _ in range(12):
        bench.clock.advance(10)
        if not bench.upstream.attempts[0].cancelled:
            bench.upstream.attempts[0].data(b": ping\n\n")
    assert bench.upstream.asked == ["primary", "backup"]


def test_after_the_commit_tokens_hold_off_the_idle_deadline_and_comments_do_not() -> None:
    bench = Bench(a_snapshot(None, [a_provider(timeouts={"idle": 5_000})]))
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("a"))
    for _ in range(5):
        bench.clock.advance(4)
        bench.upstream.last.data(a_chunk("b"))
    assert client.end is None
    bench.clock.advance(4)
    bench.upstream.last.data(b": ping\n\n")
    bench.clock.advance(1)
    assert client.end == "failed"


def test_the_total_of_a_stream_ends_at_its_commit() -> None:
    bench = Bench(two(total=10_000))
    client = started(bench)
    bench.clock.advance(9)
    bench.upstream.last.data(ROLE + a_chunk("a"))
    bench.clock.advance(100)
    assert client.end is None


def test_a_finish_without_done_is_completed_after_two_seconds() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop"))
    bench.clock.advance(1.9)
    assert client.end is None
    bench.clock.advance(0.2)
    assert client.end == "finished"
    assert client.body.endswith(DONE)


@pytest.mark.parametrize("how", ["end", "cut"])
def test_a_finish_without_done_is_completed_at_once_by_the_end_of_the_body(how: str) -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop"))
    if how == "end":
        bench.upstream.last.end()
    else:
        bench.upstream.last.error("cut")
    assert client.end == "finished"
    assert client.body.endswith(DONE)
    assert bench.nothing_is_held()


def test_what_comes_while_done_is_awaited_does_not_prolong_the_wait() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop"))
    for _ in range(2):
        bench.clock.advance(0.9)
        bench.upstream.last.data(b": ping\n\n")
    bench.clock.advance(0.3)
    assert client.end == "finished"


def test_a_choice_that_begins_after_the_others_finished_is_waited_for() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("one") + a_chunk(finish="stop"))
    bench.upstream.last.data(b'data: {"choices":[{"index":1,"delta":{"content":"two"},"finish_reason":null}]}\n\n')
    bench.clock.advance(60)
    assert client.end is None
    bench.upstream.last.data(b'data: {"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}\n\n' + DONE)
    assert client.end == "finished"


def test_usage_after_the_finish_still_comes_through() -> None:
    bench = Bench(two())
    body = {"model": "chat", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
    client = bench.ask(body)
    bench.upstream.last.head(200, SSE)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop"))
    bench.upstream.last.data(usage + DONE)
    assert client.body.endswith(usage + DONE)
    assert (bench.records[0].usage.input_tokens, bench.records[0].usage.output_tokens) == (7, 2)


def test_a_complete_answer_without_content_is_an_answer() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk(finish="stop") + DONE)
    assert (client.status, client.end) == (200, "finished")
    assert bench.upstream.asked == ["primary"]


def test_the_requested_model_is_written_into_every_chunk_where_the_pool_says_so() -> None:
    bench = Bench(two(response_model="Requested"))
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop") + DONE)
    models = [orjson.loads(line[6:])["model"] for line in client.body.split(b"\n\n")[:-2]]
    assert models == ["chat", "chat", "chat"]


def test_a_slow_client_stops_the_provider_and_is_not_taken_for_its_silence() -> None:
    bench = Bench(a_snapshot(None, [a_provider(timeouts={"idle": 5_000})]))
    client = started(bench, downstream=HeldDownstream(room=10))
    bench.upstream.last.data(ROLE + a_chunk("a"))
    assert bench.upstream.last.paused
    bench.clock.advance(60)
    assert client.end is None
    assert client.on_writable is not None
    client.on_writable()
    assert not bench.upstream.last.paused
    bench.clock.advance(5)
    assert client.end == "failed"


@pytest.mark.parametrize("phase", ["before the head", "before the first token", "in the middle", "after the end"])
def test_a_client_that_leaves_takes_its_provider_along_in_every_phase(phase: str) -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    if phase != "before the head":
        bench.upstream.last.head(200, SSE)
        bench.upstream.last.data(ROLE)
    if phase in ("in the middle", "after the end"):
        bench.upstream.last.data(a_chunk("hi"))
    if phase == "after the end":
        bench.upstream.last.data(a_chunk(finish="stop") + DONE)
        bench.upstream.last.end()
    client.leave()
    client.leave()
    assert bench.nothing_is_held()
    assert bench.upstream.asked == ["primary"]
    assert len(bench.records) == 1
    assert bench.records[0].outcome is (Outcome.OK if phase == "after the end" else Outcome.CANCELLED)


def test_nobody_is_blamed_for_a_client_that_leaves() -> None:
    bench = Bench(two())
    for _ in range(50):
        client = started(bench)
        client.leave()
    assert bench.upstream.asked == ["primary"] * 50


def test_at_the_end_of_the_grace_period_a_stream_ends_visibly_and_the_rest_is_refused() -> None:
    bench = Bench(two())
    streaming, waiting = started(bench), bench.ask()
    bench.upstream.attempts[0].data(ROLE + a_chunk("half"))
    for client in (streaming, waiting):
        assert client.on_drain_deadline is not None
        client.on_drain_deadline()
    assert streaming.end == "failed"
    assert b'"code":"draining"' in streaming.body.replace(b" ", b"")
    assert (waiting.status, waiting.error_code) == (503, "draining")
    assert bench.nothing_is_held()


def test_a_preamble_without_an_end_is_not_held_for_ever() -> None:
    bench = Bench(two())
    client = started(bench)
    for _ in range(70):
        bench.upstream.last.data(b": " + b"x" * 1000 + b"\n\n")
    assert client.status == 200


def test_a_whole_answer_where_a_stream_was_asked_for_is_none() -> None:
    """An SDK finds no event in it, and hands an empty answer on as a success (B25)."""
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.answer()
    assert bench.upstream.last.provider == "backup"
    bench.upstream.last.answer(b" " * (MAX_WHOLE_BYTES + 1))
    assert (client.status, client.error_code) == (502, "upstream_error")
    assert "no stream came where one was asked for" in client.json["error"]["message"]
    assert bench.nothing_is_held()


def test_a_stream_where_none_was_asked_for_is_no_answer() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.upstream.last.head(200, SSE)
    assert bench.upstream.attempts[0].cancelled
    bench.upstream.last.answer()
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "backup")


def an_event(kind: str, **fields: Any) -> bytes:
    """One event of the Responses API."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def test_a_connection_that_breaks_after_the_answer_is_nobodys_fault() -> None:
    bench = Bench(two())
    started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi", finish="stop") + DONE)
    bench.upstream.last.error("cut")
    assert bench.records[0].outcome is Outcome.OK
    assert bench.nothing_is_held()


def test_an_answer_of_the_filter_alone_goes_on_where_the_pool_asks_for_it() -> None:
    bench = Bench(two(fallback={"outcomes": ("ContentPolicy",)}))
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk(finish="content_filter") + DONE)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi", finish="stop") + DONE)
    assert client.headers["x-modelpool-target"] == "backup"


def test_a_last_event_without_its_line_end_counts() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("hi") + a_chunk(finish="stop") + b"data: [DONE]")
    bench.upstream.last.end()
    assert client.end == "finished"
    assert client.body.endswith(DONE)


def test_an_error_event_without_its_line_end_counts() -> None:
    bench = Bench(two())
    client = started(bench)
    bench.upstream.last.data(ROLE + a_chunk("half") + b'data: {"error":{"message":"overloaded"}}')
    bench.upstream.last.end()
    assert client.end == "failed"
    assert b"overloaded" in client.body


def test_things_introduce_themselves() -> None:
    bench = Bench(two())
    started(bench)
    (exchange,) = bench.proxy._exchanges
    assert repr(exchange) == "<Exchange chat: attempt 1, <AttemptRun stream status=200>>"
    assert repr(bench.proxy).endswith("2 pools, 2 providers>, 1 in flight>".replace("2 pools", "1 pools"))


def test_an_error_event_of_the_responses_api_is_in_its_own_terms() -> None:
    bench = Bench(two())
    client = bench.ask({"model": "chat", "input": "hi", "stream": True}, path="/v1/responses")
    attempt = bench.upstream.last
    attempt.head(200, SSE)
    attempt.data(an_event("response.created", response={"id": "r"}))
    assert client.status is None
    attempt.data(an_event("response.output_text.delta", delta="a"))
    assert client.status == 200
    attempt.error("cut")
    assert b"event: error\n" in client.body
    assert b"event: response.failed\n" in client.body
    assert client.end == "failed"


@pytest.mark.parametrize("form", [None, {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}])
def test_a_malformed_event_in_plain_text_costs_nothing_else_and_breaks_an_answer_of_a_form(form: Any) -> None:
    """B28."""
    bench = Bench(two())
    body = {"model": "chat", "messages": [], "stream": True, **({"response_format": form} if form else {})}
    client = bench.ask(body)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("a") + b"data: {nonsense\n\n")
    if form is None:
        bench.upstream.last.data(a_chunk("b") + a_chunk(finish="stop") + DONE)
        assert client.body == ROLE + a_chunk("a") + a_chunk("b") + a_chunk(finish="stop") + DONE
    assert client.end == ("finished" if form is None else "failed")
    assert bench.records[0].dropped == (1 if form is None else 0)
