"""A call that clients of different speed share: who is slow slows nobody, in one room for all (B30, B53)."""

from cached_bench import STREAM, Late, Slow, bench, kept, said, stream
from modelpool_sidecar import sharing
from virtual import DONE, ROLE, SSE, a_chunk


def test_a_slow_client_slows_nobody_until_the_answer_is_too_large_to_keep() -> None:
    """B30."""
    it, slow = bench(cache={"max_bytes": 4_000}), Slow()
    it.ask(STREAM, downstream=slow)
    quick = it.ask(STREAM)
    stream(it, ROLE + a_chunk("x"), a_chunk("x" * 1_000))
    assert (slow.body, quick.body) == (ROLE + a_chunk("x"), ROLE + a_chunk("x") + a_chunk("x" * 1_000))
    assert not it.upstream.last.paused
    it.upstream.last.data(a_chunk("x" * 3_000))
    assert it.upstream.last.paused
    slow.ready()
    assert it.upstream.last.paused, "there is more that it has not got"
    slow.ready()
    slow.ready()
    assert not it.upstream.last.paused
    assert slow.body == quick.body
    it.upstream.last.data(a_chunk("y"))
    assert it.upstream.last.paused
    slow.leave()
    assert not it.upstream.last.paused, "the slow one is gone"
    it.upstream.last.data(a_chunk(finish="stop") + DONE)
    it.upstream.last.end()
    assert quick.end == "finished"
    assert it.nothing_is_held()
    assert it.room.taken_bytes == 0


def test_a_slow_client_gets_all_of_it_after_the_others_have_theirs() -> None:
    it, slow = bench(), Slow()
    quick = it.ask(STREAM)
    it.ask(STREAM, downstream=slow)
    stream(it, ROLE, a_chunk("hel"), a_chunk("lo"), a_chunk(finish="stop") + DONE)
    it.upstream.last.end()
    assert (quick.end, slow.end) == ("finished", None)
    assert said(it.ask(STREAM)) == ["hit"], "it is kept already"
    assert it.proxy.in_flight == 1, "its place is held to the end"
    while slow.end is None:
        assert it.room.taken_bytes > 0
        slow.ready()
    assert (slow.body, slow.end) == (quick.body, "finished")
    slow.ready()
    assert it.room.taken_bytes == 0
    assert it.nothing_is_held()


def test_a_slow_client_hears_what_came_before_it_hears_that_it_broke() -> None:
    """B25: whatever is pushed then is no more than what was held anyway."""

    it, slow = bench(), Late()
    quick = it.ask(STREAM)
    it.ask(STREAM, downstream=slow)
    stream(it, ROLE, a_chunk("hel"), a_chunk("lo"))
    it.upstream.last.error("cut")
    assert (quick.end, slow.end) == ("failed", "failed")
    assert slow.body == quick.body
    assert it.nothing_is_held()


def test_answers_that_are_recorded_share_one_room() -> None:
    """B30."""
    it = bench()
    it.room.max_bytes = sharing.SPARE_BYTES + 2_000
    first, second = it.ask(STREAM), it.ask({**STREAM, "seed": 1})
    for attempt in it.upstream.attempts:
        attempt.head(200, SSE)
        attempt.data(ROLE + a_chunk("x" * 1_000))
    assert len(it.proxy._caching._calls) == 1, "for the second there was no room"
    for attempt in it.upstream.attempts:
        attempt.data(a_chunk(finish="stop") + DONE)
        attempt.end()
    assert (first.end, second.end, kept(it)["entries"]) == ("finished", "finished", 1)
    assert it.room.taken_bytes == 0
