"""When a second target is asked, who of the two answers, and what it means that one fails (B23)."""

from typing import Any

import pytest

from builders import the_pool
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import Outcome
from race_bench import ALWAYS, FINISH, finish, outcomes, raced, speak, two
from virtual import ROLE, SSE, Bench, a_chunk, a_completion


def test_a_fast_answer_is_never_hedged() -> None:
    bench = Bench(two())
    client = bench.ask(stream=True)
    bench.clock.advance(0.099)
    speak(bench.upstream.last)
    bench.clock.advance(10)
    finish(bench.upstream.last)
    assert (client.end, bench.upstream.asked) == ("finished", ["first"])
    assert client.headers["x-modelpool-attempts"] == "1"
    assert bench.nothing_is_held()


def test_after_the_delay_a_second_target_is_asked_and_the_first_token_wins() -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    first.head(headers=SSE)
    first.data(ROLE)
    speak(second)
    assert first.cancelled, "the loser's connection is closed at once"
    finish(second)
    assert (client.status, client.end) == (200, "finished")
    assert client.body == ROLE + a_chunk("hello") + FINISH
    assert client.headers["x-modelpool-target"] == "second"
    assert client.headers["x-modelpool-attempts"] == "2"
    assert outcomes(bench) == [("first", Outcome.CANCELLED, False, True), ("second", Outcome.OK, True, False)]
    assert (bench.records[0].target, bench.records[0].outcome) == ("second", Outcome.OK)
    assert bench.nothing_is_held()


def test_the_first_may_still_win_and_then_the_second_is_dropped() -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    speak(first)
    assert second.cancelled
    finish(first)
    assert client.headers["x-modelpool-target"] == "first"
    assert bench.records[0].target == "first"
    assert [result for _, result in bench.records[0].hedges] == ["lost"]
    assert bench.nothing_is_held()


def test_an_answer_that_is_no_stream_wins_when_it_is_whole() -> None:
    bench = Bench(two())
    client, first, second = raced(bench, stream=False)
    second.head()
    second.data(b'{"choices":[')
    first.answer(a_completion("mine"))
    assert second.cancelled
    assert client.json["choices"][0]["message"]["content"] == "mine"
    assert (client.headers["x-modelpool-target"], client.end) == ("first", "finished")
    assert bench.nothing_is_held()


def test_a_percentile_is_learned_from_what_the_pool_answers() -> None:
    bench = Bench(two(hedging={"percentile": 90, "delay": None, "max_percent": 100}))
    for index in range(1, 21):
        bench.ask(stream=True)
        bench.clock.advance(index / 10)
        speak(bench.upstream.last)
        finish(bench.upstream.last)
    assert bench.upstream.asked == ["first"] * 20, "nothing is known of streams yet"
    bench.ask(stream=False)
    bench.clock.advance(60)
    assert len(bench.upstream.attempts) == 21, "nothing is known of whole answers yet"
    bench.upstream.last.answer()
    bench.ask(stream=True)
    bench.clock.advance(1.79)
    assert len(bench.upstream.attempts) == 22
    bench.clock.advance(0.02)
    assert bench.upstream.asked[-2:] == ["first", "second"]


def test_of_1000_requests_that_are_all_slow_5_in_100_are_hedged_at_most() -> None:
    bench = Bench(two(hedging={**ALWAYS, "max_percent": 5}))
    for number in range(1, 1001):
        before = len(bench.upstream.attempts)
        bench.ask()
        bench.clock.advance(2)
        mine = bench.upstream.attempts[before:]
        mine[0].answer()
        hedged = sum(bool(record.hedges) for record in bench.records)
        assert hedged * 100 <= number * 5
    assert hedged == 50
    assert bench.nothing_is_held()


KEPT = {"model": "chat", "input": "hi", "stream": True}
NEVER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a pinned target": ({}, {"headers": {"x-modelpool-target": "first"}}),
    "a response that is made in the background": (
        {"stateful": {"target": "first"}},
        {"path": "/v1/responses", "body": {"model": "chat", "input": "hi", "background": True}},
    ),
    "a response in a conversation": (
        {"stateful": {"target": "first"}},
        {"path": "/v1/responses", "body": {"model": "chat", "input": "hi", "conversation": "conv_1"}},
    ),
    "what goes on with a kept response": (
        {"stateful": {"target": "first"}},
        {"path": "/v1/responses", "body": {"model": "chat", "input": "hi", "previous_response_id": "resp_1"}},
    ),
    "a response that is kept where its pool keeps them": (
        {"stateful": {"target": "first"}},
        {"path": "/v1/responses", "body": KEPT},
    ),
    "a batch": (
        {"stateful": {"target": "first"}},
        {"path": "/v1/batches", "body": {"input_file_id": "f", "endpoint": "/v1/responses"}},
    ),
}


@pytest.mark.parametrize("what", NEVER)
def test_what_makes_something_is_pinned_or_kept_is_never_hedged(what: str) -> None:
    changes, asked = NEVER[what]
    bench = Bench(two(**changes))
    bench.ask(**asked)
    bench.clock.advance(60)
    assert bench.upstream.asked == ["first"]


def test_a_response_that_nobody_keeps_is_hedged() -> None:
    bench = Bench(two(stateful={"target": "first"}))
    bench.ask({**KEPT, "store": False}, path="/v1/responses")
    bench.clock.advance(1)
    assert bench.upstream.asked == ["first", "second"]


def test_a_probe_runs_alone() -> None:
    bench = Bench(two())
    health = bench.state.health(the_pool(bench.snapshot).targets["first"])  # type: ignore[arg-type]
    health.end(health.begin(bench.clock.time), Outcome.DENIED, bench.clock.time, lambda: 0.0)
    bench.clock.advance(400)
    assert health.stance(bench.clock.time) is Stance.PROBING
    client = bench.ask()
    bench.clock.advance(60)
    assert bench.upstream.asked == ["first"]
    bench.upstream.last.answer()
    assert client.status == 200


# -- where one fails


def test_if_the_first_fails_the_second_is_the_fallback_and_nobody_else_is_asked() -> None:
    bench = Bench(two(names=("first", "second", "third")))
    client, first, second = raced(bench)
    first.answer(b"{}", status=503)
    assert len(bench.upstream.attempts) == 2
    speak(second)
    finish(second)
    assert (client.headers["x-modelpool-target"], client.end) == ("second", "finished")
    assert outcomes(bench) == [("first", Outcome.FAILED, False, False), ("second", Outcome.OK, True, False)]
    assert bench.nothing_is_held()


def test_if_the_second_fails_the_first_goes_on() -> None:
    bench = Bench(two(names=("first", "second", "third")))
    client, first, second = raced(bench)
    second.error("connect")
    assert len(bench.upstream.attempts) == 2
    speak(first)
    finish(first)
    assert (client.headers["x-modelpool-target"], client.end) == ("first", "finished")
    assert bench.nothing_is_held()


def test_if_both_fail_the_walk_goes_on_to_a_third() -> None:
    bench = Bench(two(names=("first", "second", "third")))
    client, first, second = raced(bench)
    second.answer(b"{}", status=503)
    first.answer(b"{}", status=503)
    third = bench.upstream.last
    assert third.provider == "third"
    bench.clock.advance(10)
    assert len(bench.upstream.attempts) == 3
    speak(third)
    finish(third)
    assert (client.headers["x-modelpool-target"], client.headers["x-modelpool-attempts"]) == ("third", "3")
    assert bench.nothing_is_held()


def test_a_request_that_the_first_calls_wrong_is_answered_at_once() -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    first.answer(b'{"error":{"message":"no"}}', status=400)
    assert second.cancelled
    assert (client.status, client.headers["x-modelpool-target"], client.end) == (400, "first", "finished")
    assert (bench.records[0].outcome, bench.records[0].target) == (Outcome.REJECTED, "first")
    assert bench.nothing_is_held()


def test_where_only_the_second_calls_it_wrong_the_first_decides() -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    second.answer(b'{"error":{"message":"no"}}', status=400)
    assert client.status is None
    speak(first)
    finish(first)
    assert client.status == 200
    assert bench.nothing_is_held()


def test_the_deadline_is_one_for_both() -> None:
    bench = Bench(two(total=5_000))
    client, first, second = raced(bench)
    bench.clock.advance(4.9)
    assert (client.status, client.error_code) == (504, "deadline_exceeded")
    assert first.cancelled
    assert second.cancelled
    assert bench.nothing_is_held()
