"""A race beside what else a stream goes through, and the law of races in any order of events (B23)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, a_target, the_pool
from race_bench import ALWAYS, FINISH, finish, raced, speak, two
from virtual import ROLE, SSE, Bench, ScriptedAttempt, a_chunk


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
