"""B24 and B33: two commit points. When the head goes out, what is said in silence, and how long fallback is free."""

from typing import Any

import orjson
import pytest

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.answering import KEEP_ALIVE
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.course import MAX_WHOLE_BYTES
from modelpool_sidecar.streambody import MAX_OPENED_BYTES, MAX_PREAMBLE_BYTES
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, a_chunk, a_completion

WHO_IS_BACKUP = b": x-modelpool-target: backup\n: x-modelpool-attempts: 2\n\n"
ENDING = a_chunk(finish="stop") + DONE


def two(**changes: Any) -> Snapshot:
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def complete(**changes: Any) -> Snapshot:
    return two(streaming={"commit": "Complete"}, **changes)


def said_last(client: HeldDownstream) -> Any:
    event = client.body.rsplit(b"data: ", 1)[1]
    return orjson.loads(event)["error"]


def over(bench: Bench) -> bool:
    """After the moment that a connection has for its end."""
    bench.clock.advance(0.2)
    return bench.nothing_is_held()


# -- the head


def test_the_head_is_held_for_the_first_delta_and_tells_then_who_answers() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(14.9)
    assert client.status is None
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi") + ENDING)
    assert (client.status, client.headers["x-modelpool-target"]) == (200, "primary")
    assert KEEP_ALIVE not in client.body
    assert over(bench)


@pytest.mark.parametrize("headed", [False, True])
def test_a_target_that_thinks_for_minutes_keeps_its_client_by_a_head_and_comments(headed: bool) -> None:
    bench = Bench(
        a_snapshot(providers=[a_provider(timeouts={"connect": 5_000, "first_token": 500_000, "idle": 120_000})])
    )
    client = bench.ask(stream=True)
    if headed:
        bench.upstream.last.head(200, SSE)
    bench.clock.advance(15)
    assert client.status == 200
    assert client.headers["content-type"].startswith("text/event-stream")
    assert client.headers["x-modelpool-pool"] == "chat"
    assert not {"x-modelpool-target", "x-modelpool-attempts", "content-length"} & set(client.headers)
    bench.clock.advance(385)
    assert client.body == KEEP_ALIVE * 25
    if not headed:
        bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("hi") + ENDING)
    assert client.body.endswith(b": x-modelpool-attempts: 1\n\n" + ROLE + a_chunk("hi") + ENDING)
    assert bench.records[0].first_token == pytest.approx(400)
    assert over(bench)


@pytest.mark.parametrize(("hold", "goes_out"), [(0, 0.001), (40_000, 40.0)])
def test_the_pool_says_how_long_the_head_is_held(hold: int, goes_out: float) -> None:
    bench = Bench(two(streaming={"head_hold": hold}))
    client = bench.ask(stream=True)
    assert client.status is None
    bench.clock.advance(goes_out)
    assert client.status == 200


def test_the_hold_counts_from_the_request_and_not_from_each_attempt() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(10)
    bench.upstream.last.error("reset")
    bench.clock.advance(5)
    assert (bench.upstream.asked, client.status) == (["primary", "backup"], 200)


def test_after_the_head_fallback_is_still_free_and_only_the_winner_is_seen() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, (*SSE, ("x-request-id", "of-the-loser")))
    bench.upstream.last.data(b": thinking\n\n" + ROLE)
    bench.clock.advance(20)
    assert "x-request-id" not in client.headers
    bench.upstream.last.error("cut")
    bench.upstream.last.head(200, SSE)
    answer = a_chunk(role="assistant", content="from backup") + ENDING
    bench.upstream.last.data(answer)
    assert client.body == WHO_IS_BACKUP + answer
    assert (client.end, bench.records[0].outcome, bench.records[0].target) == ("finished", Outcome.OK, "backup")
    assert over(bench)


def test_a_byte_order_mark_that_opens_a_stream_does_not_hide_its_first_event_behind_our_comments() -> None:
    mark = "\ufeff".encode()
    early, prompt = Bench(two()), Bench(two())
    client = early.ask(stream=True)
    early.clock.advance(16)
    early.upstream.last.head(200, SSE)
    early.upstream.last.data(mark + ROLE + a_chunk("hi") + ENDING)
    assert client.body.endswith(b"\n\n" + ROLE + a_chunk("hi") + ENDING)
    assert mark not in client.body
    client = prompt.ask(stream=True)
    prompt.upstream.last.head(200, SSE)
    prompt.upstream.last.data(mark + ROLE + a_chunk("hi") + ENDING)
    assert client.body == mark + ROLE + a_chunk("hi") + ENDING, "where it comes first it stays (B40)"


def test_a_refusal_that_comes_at_once_is_a_status() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.answer({"error": {"message": "no", "code": "bad"}}, 400)
    assert client.status == 400
    assert over(bench)


def test_a_failed_answer_after_the_head_is_an_error_event_with_the_providers_words() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    bench.upstream.last.answer({"error": {"message": "the prompt is too long", "code": "too_long"}}, 400)
    assert (client.status, client.end) == (200, "failed")
    assert (said_last(client)["code"], said_last(client)["message"]) == ("too_long", "the prompt is too long")
    assert DONE not in client.body
    assert over(bench)


def test_a_failed_answer_without_words_is_an_error_event_in_ours() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    for _ in range(2):
        bench.upstream.last.answer(b"<html>", 503)
    assert client.end == "failed"
    assert said_last(client)["code"] == "upstream_error"
    assert said_last(client)["message"].startswith("pool chat: the provider answered 503")


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/chat/completions", b'"code":"deadline_exceeded"'),
        ("/v1/completions", b'"code":"deadline_exceeded"'),
        ("/v1/responses", b"event: response.failed\n"),
    ],
)
def test_no_time_left_after_the_head_is_the_operations_own_error_event(path: str, last: bytes) -> None:
    bench = Bench(two(total=30_000))
    client = bench.ask({"model": "chat", "prompt": "hi", "input": "hi", "stream": True}, path=path)
    bench.clock.advance(31)
    assert (client.status, client.end) == (200, "failed")
    assert last in client.body
    assert b"[DONE]" not in client.body
    assert bench.records[0].outcome is Outcome.TIMED_OUT
    assert over(bench)


def test_a_whole_answer_in_place_of_the_stream_is_none_after_the_head_either() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    bench.upstream.last.answer(a_completion())
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk("hi") + ENDING)
    assert client.body == KEEP_ALIVE * 0 + WHO_IS_BACKUP + a_chunk("hi") + ENDING


def test_a_client_that_leaves_after_the_early_head_ends_the_attempt() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    client.leave()
    assert bench.upstream.last.cancelled
    assert bench.records[0].outcome is Outcome.CANCELLED
    assert over(bench)


def test_the_end_of_the_process_after_the_early_head_is_an_error_event() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    assert client.on_drain_deadline is not None
    client.on_drain_deadline()
    assert (client.end, said_last(client)["code"]) == ("failed", "draining")
    assert over(bench)


def test_a_fault_of_ours_after_the_early_head_is_an_error_event() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(16)
    (exchange,) = bench.proxy.running
    exchange.crashed(RuntimeError("ours"))
    assert (client.end, said_last(client)["code"]) == ("failed", "internal_error")
    assert over(bench)


def test_what_is_no_stream_has_no_early_head() -> None:
    bench = Bench(two())
    client = bench.ask()
    bench.clock.advance(60)
    assert client.status is None
    bench.upstream.last.answer()
    assert client.headers["x-modelpool-target"] == "primary"
    assert over(bench)


# -- a long preamble


def test_64_kib_without_content_open_the_head_and_commit_nothing() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    preamble = b": x\n\n" * (MAX_PREAMBLE_BYTES // 5 + 2)
    bench.upstream.last.data(preamble)
    bench.upstream.last.data(preamble)
    assert (client.status, client.body) == (200, b"")
    bench.upstream.last.error("cut")
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(preamble)
    assert client.body == b""  # where the head is out already, no content is committed by it either
    bench.upstream.last.data(a_chunk("hi") + ENDING)
    assert client.body == WHO_IS_BACKUP + preamble + a_chunk("hi") + ENDING


def test_a_preamble_without_end_is_committed_at_its_bound() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(b": x\n\n" * (MAX_OPENED_BYTES // 5 + 2))
    assert len(client.body) > MAX_OPENED_BYTES
    bench.upstream.last.error("cut")
    assert (client.end, bench.upstream.asked) == ("failed", ["primary"])


# -- silence


def test_a_long_silence_after_the_content_brings_comments_between_whole_events() -> None:
    bench = Bench(two(streaming={"keep_alive": 2_000}))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("a"))
    bench.clock.advance(1)
    bench.upstream.last.data(a_chunk("b") + b'data: {"choices":[{"delta"')
    bench.clock.advance(1.9)
    assert client.body == ROLE + a_chunk("a") + a_chunk("b")
    bench.clock.advance(2.2)
    assert client.body == ROLE + a_chunk("a") + a_chunk("b") + KEEP_ALIVE * 2
    bench.upstream.last.data(b':{"content":"c"}}]}\n\n' + ENDING)
    bench.clock.advance(60)
    assert client.body.count(KEEP_ALIVE) == 2
    assert client.body.endswith(b'data: {"choices":[{"delta":{"content":"c"}}]}\n\n' + ENDING)
    assert over(bench)


def test_a_client_that_does_not_read_gets_no_comments_on_top() -> None:
    bench = Bench(two(streaming={"keep_alive": 2_000}))
    client = bench.ask(stream=True, downstream=HeldDownstream(room=10))
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk("a"))
    assert bench.upstream.last.paused
    bench.clock.advance(30)
    assert KEEP_ALIVE not in client.body
    assert client.on_writable is not None
    client.on_writable()
    bench.clock.advance(2)
    assert client.body.count(KEEP_ALIVE) == 1


def test_comments_are_no_tokens_and_do_not_prolong_the_patience_with_a_target() -> None:
    bench = Bench(two(streaming={"keep_alive": 1_000}))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk("a"))
    bench.clock.advance(120)
    assert client.end == "failed"
    assert bench.records[0].outcome is Outcome.STALLED


# -- Complete


def test_a_stream_that_is_held_to_its_end_falls_back_after_its_content_too() -> None:
    bench = Bench(complete())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("half an ans"))
    assert client.status is None
    bench.upstream.last.error("cut")
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("whole"))
    bench.upstream.last.data(ENDING)
    assert client.body == ROLE + a_chunk("whole") + ENDING
    assert (client.headers["x-modelpool-target"], client.headers["x-modelpool-attempts"]) == ("backup", "2")
    assert [attempt.outcome for attempt in bench.records[0].attempts] == [Outcome.BROKEN, Outcome.OK]
    assert over(bench)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("stall", Outcome.STALLED),
        ("error event", Outcome.BROKEN),
        ("end", Outcome.BROKEN),
        ("total", Outcome.TIMED_OUT),
    ],
)
def test_every_fault_before_the_end_is_a_fault_before_the_commit(fault: str, outcome: Outcome) -> None:
    bench = Bench(complete(total=100_000 if fault == "total" else 600_000))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(ROLE + a_chunk("half an ans"))
    match fault:
        case "stall":
            bench.clock.advance(120)
        case "error event":
            bench.upstream.last.data(b'data: {"error":{"message":"overloaded"}}\n\n')
        case "end":
            bench.upstream.last.end()
        case "total":
            bench.clock.advance(100)
    if fault != "total":
        bench.upstream.last.head(200, SSE)
        bench.upstream.last.data(a_chunk("whole") + ENDING)
        assert client.end == "finished"
    assert b"half" not in client.body
    assert bench.records[0].attempts[0].outcome is outcome


def test_the_client_of_a_held_stream_hears_signs_of_life() -> None:
    bench = Bench(complete())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    for _ in range(4):
        bench.clock.advance(10)
        bench.upstream.last.data(a_chunk("x"))
    assert (client.status, client.body) == (200, KEEP_ALIVE)
    bench.upstream.last.data(ENDING)
    assert client.body.endswith(a_chunk("x") * 4 + ENDING)


def test_a_first_token_is_measured_when_it_comes_and_not_when_it_goes_out() -> None:
    bench = Bench(complete(strategy="LowestLatency"))
    bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.clock.advance(2)
    bench.upstream.last.data(a_chunk("x"))
    bench.clock.advance(50)
    bench.upstream.last.data(ENDING)
    assert bench.records[0].first_token == pytest.approx(2)
    snapshot = bench.snapshot
    assert snapshot is not None
    told = bench.state.describe(snapshot, bench.clock.now())
    assert "52" not in str(told["pools"][0]["targets"][0].get("firstToken", told["pools"][0]["targets"][0]))


def test_beyond_the_bound_a_held_stream_goes_out_as_it_comes() -> None:
    bench = Bench(complete())
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    part = a_chunk("x" * 500_000)
    for _ in range(MAX_WHOLE_BYTES // 500_000 + 1):
        bench.upstream.last.data(part)
    assert len(client.body) > MAX_WHOLE_BYTES
    bench.upstream.last.error("cut")
    assert (client.end, bench.upstream.asked) == ("failed", ["primary"])


def test_an_answer_that_a_filter_cut_is_not_shown_where_the_pool_goes_on_then() -> None:
    bench = Bench(complete(fallback={"outcomes": ("ContentPolicy",)}))
    client = bench.ask(stream=True)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk("half") + a_chunk(finish="content_filter") + DONE)
    bench.upstream.last.head(200, SSE)
    bench.upstream.last.data(a_chunk("whole") + ENDING)
    assert client.body == a_chunk("whole") + ENDING
