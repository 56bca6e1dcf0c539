"""Two targets at once, with every port in memory: who answers, what the loser leaves, what the client sees (B23)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_chain, a_pool, a_pool_target, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, ScriptedAttempt, a_chunk, a_completion

ALWAYS = {"percentile": None, "delay": 100, "max_percent": 100}
FINISH = a_chunk(finish="stop") + DONE


def two(
    *, hedging: Any = ALWAYS, providers: Any = None, names: tuple[str, ...] = ("first", "second"), **changes: Any
) -> Snapshot:
    """Targets in this order."""
    targets = [a_target(name, priority=index) for index, name in enumerate(names)]
    return a_snapshot([a_pool(targets=targets, hedging=hedging, **changes)], providers)


def raced(bench: Bench, *, stream: bool = True, **more: Any) -> tuple[HeldDownstream, ScriptedAttempt, ScriptedAttempt]:
    """A request that two targets work at."""
    client = bench.ask(stream=stream, **more)
    bench.clock.advance(0.1)
    first, second = bench.upstream.attempts[-2:]
    assert (first.provider, second.provider) == ("first", "second")
    return client, first, second


def speak(run: ScriptedAttempt, word: str = "hello") -> None:
    run.head(headers=SSE)
    run.data(ROLE + a_chunk(word))


def finish(run: ScriptedAttempt) -> None:
    run.data(FINISH)
    run.end()


def outcomes(bench: Bench) -> list[tuple[str, Outcome, bool, bool]]:
    return [(each.target, each.outcome, each.hedge, each.outrun) for each in bench.records[-1].attempts]


# -- when


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


# -- what is given back


@pytest.mark.parametrize("how", ["the client leaves", "the sidecar stops"])
def test_whoever_ends_the_request_ends_both(how: str) -> None:
    bench = Bench(two())
    client, first, second = raced(bench)
    if how == "the client leaves":
        client.leave()
    else:
        assert client.on_drain_deadline is not None
        client.on_drain_deadline()
        assert client.status == 503
    assert first.cancelled
    assert second.cancelled
    assert [outcome for _, outcome, _, _ in outcomes(bench)] == [Outcome.CANCELLED] * 2
    assert [result for _, result in bench.records[0].hedges] == ["left"]
    assert bench.nothing_is_held()


def test_a_fault_of_ours_while_the_second_starts_is_told_and_everything_given_back() -> None:
    bench = Bench(two())
    client = bench.ask()

    def broken(_provider: str, _idle: float) -> ScriptedAttempt:
        raise RuntimeError("no")

    bench.upstream.attempt = broken  # type: ignore[method-assign]
    bench.clock.advance(1)
    assert (client.status, client.error_code) == (500, "internal_error")
    assert bench.nothing_is_held()


def test_the_loser_counts_with_what_it_used() -> None:
    """B15a: its provider has read the question, and nobody knows what else it did."""
    limit = {"name": "t", "max": 10_000, "per": 60_000, "burst": 10_000, "scope": "Sidecar", "count": "Input"}
    bench = Bench(two(limits={"tokens": [limit]}))
    question = {"model": "chat", "messages": [{"role": "user", "content": "x" * 4000}]}
    client, first, second = raced(bench, stream=False, body=question)
    second.answer(a_completion(usage={"prompt_tokens": 1000, "completion_tokens": 5}))
    left = bench.state.describe(bench.snapshot, bench.clock.time)["pools"][0]["limits"][0]["remaining"]  # type: ignore[arg-type]
    assert 7_900 < left < 8_100, "a thousand of each"
    assert first.cancelled
    assert client.status == 200


def test_each_of_the_two_takes_its_targets_limit_and_its_place_once() -> None:
    limits = {"requests": [{"name": "m", "max": 10, "per": 60_000, "burst": 10, "scope": "Sidecar"}]}
    targets = [a_target("first", limits=limits), a_target("second", priority=1, limits=limits)]
    snapshot = a_snapshot([a_pool(targets=targets, hedging=ALWAYS)])
    bench = Bench(snapshot)
    client, _, second = raced(bench)
    speak(second)
    finish(second)
    assert client.end == "finished"
    told = bench.state.describe(snapshot, bench.clock.time)["pools"][0]["targets"]
    assert [target["limits"][0]["remaining"] for target in told] == [9, 9]
    assert bench.nothing_is_held()


def test_the_losers_health_is_neither_blamed_nor_praised() -> None:
    providers = [a_provider(name, health={"failures": 1, "min_requests": 1}) for name in ("first", "second")]
    bench = Bench(two(providers=providers))
    for _ in range(5):
        _, _, second = raced(bench)
        speak(second)
        finish(second)
    target = the_pool(bench.snapshot).targets["first"]  # type: ignore[arg-type]
    assert bench.state.health(target).stance(bench.clock.time) is Stance.SERVING


def test_a_stream_that_breaks_after_the_race_ends_as_any_other() -> None:
    bench = Bench(two())
    client, _, second = raced(bench)
    speak(second)
    second.error("cut")
    assert client.end == "failed"
    assert b'"error"' in client.body
    assert [result for _, result in bench.records[0].hedges] == ["won"]
    assert bench.nothing_is_held()


def test_a_slow_client_slows_the_winner() -> None:
    bench = Bench(two())
    client, _, second = raced(bench, downstream=HeldDownstream(room=10))
    speak(second)
    assert second.paused
    assert client.on_writable is not None
    client.on_writable()
    assert not second.paused
    finish(second)
    assert client.end == "finished"


def test_a_request_in_another_pool_is_hedged_there_as_that_pool_says() -> None:
    pools = [
        a_pool(
            targets=[a_target("down")], fallback={"pools": [{"when": "General", "pools": ["other"]}], "max_attempts": 1}
        ),
        a_pool("other", targets=[a_target("first"), a_target("second", priority=1)], hedging=ALWAYS),
    ]
    bench = Bench(a_snapshot(pools))
    client = bench.ask(stream=True)
    bench.upstream.last.error("connect")
    bench.clock.advance(0.1)
    assert bench.upstream.asked == ["down", "first", "second"]
    speak(bench.upstream.last)
    finish(bench.upstream.last)
    assert (client.headers["x-modelpool-target"], client.end) == ("other/second", "finished")
    assert bench.nothing_is_held()


def test_in_another_pool_the_second_may_be_the_fallback_too() -> None:
    pools = [
        a_pool(targets=[a_target("down")], fallback={"pools": [{"when": "General", "pools": ["other"]}]}),
        a_pool("other", targets=[a_target("first"), a_target("second", priority=1)], hedging=ALWAYS),
    ]
    bench = Bench(a_snapshot(pools))
    client = bench.ask(stream=True)
    bench.upstream.last.answer(b"{}", status=404)
    bench.clock.advance(0.1)
    first, second = bench.upstream.attempts[-2:]
    first.answer(b"{}", status=503)
    speak(second)
    finish(second)
    assert (client.headers["x-modelpool-target"], client.end) == ("other/second", "finished")
    assert bench.nothing_is_held()


def test_behind_a_target_that_is_a_pool_both_hold_a_place_there_and_give_it_back() -> None:
    inner = {"limits": {"requests": (), "concurrency": {"max": 2}}}
    near = a_pool("near", [a_target("first"), a_target("second", priority=1), a_target("third", priority=2)], **inner)
    bench = Bench(a_snapshot([near, a_chain("chat", a_pool_target("near"), hedging=ALWAYS)]))
    client, first, second = raced(bench)
    in_flight = {pool["name"]: pool["inFlight"] for pool in bench.state.describe(bench.snapshot, 0.0)["pools"]}  # type: ignore[arg-type]
    assert in_flight == {"chat": 1, "near": 2}
    speak(second)
    in_flight = {pool["name"]: pool["inFlight"] for pool in bench.state.describe(bench.snapshot, 0.0)["pools"]}  # type: ignore[arg-type]
    assert in_flight == {"chat": 1, "near": 1}
    finish(second)
    assert first.cancelled
    assert client.headers["x-modelpool-target"] == "near/second"
    assert bench.nothing_is_held()


# -- beside what else a stream goes through


def test_a_client_that_waits_gets_its_head_and_then_the_words_of_the_winner_alone() -> None:
    bench = Bench(two(hedging={**ALWAYS, "delay": 20_000}))
    client = bench.ask(stream=True)
    bench.upstream.last.head(headers=SSE)
    bench.upstream.last.data(ROLE)
    bench.clock.advance(15)
    assert client.status == 200, "the head (B24)"
    bench.clock.advance(5)
    first, second = bench.upstream.attempts
    speak(second)
    finish(second)
    assert first.cancelled
    assert client.end == "finished"
    assert client.body.count(ROLE) == 1
    assert b": x-modelpool-target: second\n" in client.body
    assert bench.nothing_is_held()


def test_where_a_stream_is_held_to_its_end_the_first_that_is_whole_wins() -> None:
    bench = Bench(two(streaming={"commit": "Complete"}))
    client, first, second = raced(bench)
    speak(first, "early")
    speak(second, "whole")
    assert client.body == b""
    finish(second)
    assert first.cancelled
    assert b"whole" in client.body
    assert b"early" not in client.body
    assert bench.nothing_is_held()


def test_a_winner_that_breaks_is_gone_on_with_by_a_third() -> None:
    bench = Bench(two(names=("first", "second", "third"), recovery=("Replay",)))
    client, _, second = raced(bench)
    speak(second, "one ")
    second.error("cut")
    third = bench.upstream.last
    bench.clock.advance(1)
    assert bench.upstream.asked == ["first", "second", "third"], "and nobody is asked beside it"
    third.head(headers=SSE)
    third.data(ROLE + a_chunk("one ") + a_chunk("two"))
    finish(third)
    assert client.end == "finished"
    assert b"two" in client.body
    assert [result for _, result in bench.records[0].hedges] == ["won"]
    assert bench.nothing_is_held()


def test_the_limits_that_are_told_are_those_of_who_answers() -> None:
    def limited(most: int) -> dict[str, Any]:
        return {"requests": [{"name": "m", "max": most, "per": 60_000, "burst": most, "scope": "Sidecar"}]}

    targets = [a_target("first", limits=limited(7)), a_target("second", priority=1, limits=limited(5))]
    bench = Bench(a_snapshot([a_pool(targets=targets, hedging=ALWAYS)]))
    client, first, _ = raced(bench)
    speak(first)
    finish(first)
    assert client.headers["x-ratelimit-limit-requests"] == "7"


@pytest.mark.parametrize("how", ["outrun", "failed"])
def test_who_waits_for_the_losers_place_gets_it_at_once(how: str) -> None:
    one = {"concurrency": {"max": 1}}
    targets = [a_target("first", limits=one), a_target("second", priority=1, limits=one)]
    queue = {"concurrency": {"max": 9, "queue": {"max": 5, "timeout": 10_000}}}
    bench = Bench(a_snapshot([a_pool(targets=targets, hedging=ALWAYS, limits=queue)]))
    client, first, second = raced(bench)
    waits = bench.ask()
    assert bench.proxy.waiting == 1
    if how == "outrun":
        speak(second)
    else:
        first.error("reset")
    assert bench.upstream.asked == ["first", "second", "first"]
    bench.upstream.last.answer()
    assert waits.status == 200
    if how == "failed":
        speak(second)
    finish(second)
    assert client.end == "finished"
    assert bench.nothing_is_held()


def test_a_fault_of_ours_at_one_of_the_two_ends_both() -> None:
    bench = Bench(two())
    client, first, second = raced(bench)

    def broken(_status: int, _headers: Any) -> None:
        raise RuntimeError("no")

    client.head = broken  # type: ignore[method-assign]
    speak(second)
    assert first.cancelled
    assert second.cancelled
    assert client.end == "failed"
    assert bench.nothing_is_held()


# -- the law


def begin(run: ScriptedAttempt, what: str) -> bool:
    """What a provider may do before its head; whether the head came."""
    if what == "refused":
        run.error("connect")
    elif what in ("503", "400"):
        run.answer(b"{}", status=int(what))
    elif what == "head":
        run.head(headers=SSE)
    return what == "head"


def go_on(run: ScriptedAttempt, what: str, word: str) -> None:
    """What it may do after it."""
    if what == "cut":
        run.error("cut")
    elif what in ("role", "word", "finish"):
        run.data({"role": ROLE, "word": a_chunk(word), "finish": FINISH}[what])


STEPS = st.sampled_from(["head", "role", "word", "finish", "cut", "503", "400", "refused", "wait"])


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2]), STEPS), max_size=20), st.booleans())
def test_in_any_order_of_events_the_client_gets_one_answer_and_all_is_given_back(
    events: list[tuple[int, str]], leaves: bool
) -> None:
    bench = Bench(two(names=("first", "second", "third"), total=30_000))
    client = bench.ask(stream=True)
    headed: set[int] = set()
    for index, what in [(0, "wait"), *events]:
        if what == "wait":
            bench.clock.advance(0.1)
            continue
        if index >= len(bench.upstream.attempts) or not bench.upstream.attempts[index].open:
            continue
        if index in headed:
            go_on(bench.upstream.attempts[index], what, f"from {index}")
        elif begin(bench.upstream.attempts[index], what):
            headed.add(index)
        assert sum(run.open for run in bench.upstream.attempts) <= 2
    if leaves:
        client.leave()
    bench.clock.advance(400)
    words = {b"from %d" % index for index in range(3) if b"from %d" % index in client.body}
    assert len(words) <= 1, "never words of two targets"
    assert leaves or client.end is not None
    assert len(bench.records) == 1
    assert bench.nothing_is_held()
    assert not any(bench.state.health(each).in_flight for each in the_pool(bench.snapshot).targets.values())  # type: ignore[arg-type]
