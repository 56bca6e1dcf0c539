"""What clients see of a queue: its order, its end; nothing is held by who has gone (B9, B15, B31, B51)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, an_api_key
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.exchange import Exchange
from virtual import Bench, HeldDownstream, MemoryCredentials


def queued(places: int = 1, waiting: int = 2, **changes: Any) -> Snapshot:
    concurrency = {"max": places, "queue": {"max": waiting, "timeout": 10_000}}
    limit = {"name": "all", "max": 9, "per": 3_600_000, "burst": 9, "scope": "Sidecar"}
    return a_snapshot([a_pool(limits={"requests": (limit,), "concurrency": concurrency}, **changes)])


def described(bench: Bench) -> dict[str, Any]:
    assert bench.snapshot is not None
    [pool] = bench.state.describe(bench.snapshot, bench.clock.now())["pools"]
    return dict(pool)


def left(bench: Bench) -> int:
    return int(described(bench)["limits"][0]["remaining"])


def reload(bench: Bench, snapshot: Snapshot) -> None:
    bench.snapshot = bench.proxy.snapshot = snapshot
    bench.state.retain(snapshot)
    bench.proxy.reloaded()


def test_who_waits_is_served_when_a_place_is_free_and_its_wait_is_told() -> None:
    bench = Bench(queued())
    first, second = bench.ask(), bench.ask()
    assert len(bench.upstream.attempts) == 1
    assert described(bench)["queue"] == {"waiting": 1, "max": 2, "timeout": 10.0}
    assert repr(bench.proxy._queueing) == "<Queueing: 1 wait>"
    bench.clock.advance(3)
    bench.upstream.last.answer()
    assert first.status == 200
    assert bench.proxy.waiting == 0
    bench.upstream.last.answer()
    assert second.status == 200
    assert [record.queued for record in bench.records] == [None, 3.0]
    assert bench.records[1].duration == 3.0
    assert bench.nothing_is_held()


def test_a_full_queue_refuses_and_says_when_a_place_is_expected() -> None:
    bench = Bench(queued())
    bench.ask()
    bench.clock.advance(20)
    bench.upstream.last.answer()
    waiting = [bench.ask() for _ in range(3)]
    refused = bench.ask()
    assert (refused.status, refused.error_code) == (429, "concurrency_exceeded")
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["x-ratelimit-remaining-requests"] == "5"
    assert "1 requests are in flight, which is its limit, and 2 wait" in refused.json["error"]["message"]
    assert left(bench) == 5
    assert [each.status for each in waiting] == [None] * 3


def test_who_waits_too_long_is_refused_and_used_nothing() -> None:
    bench = Bench(queued())
    bench.ask()
    late = bench.ask()
    bench.clock.advance(9.9)
    assert late.status is None
    bench.clock.advance(0.2)
    assert (late.status, late.error_code) == (429, "queue_timeout")
    assert late.headers["retry-after"] == "1"
    assert "no place was free for 10.0 s" in late.json["error"]["message"]
    assert late.headers["x-ratelimit-remaining-requests"] == "8"
    assert (bench.records[0].refusal, bench.records[0].queued) == ("queue_timeout", 10.0)
    assert left(bench) == 8


def test_the_wait_counts_against_the_deadline() -> None:
    """B15."""
    bench = Bench(queued(total=12_000))
    bench.ask()
    second = bench.ask()
    bench.clock.advance(9)
    bench.upstream.last.answer()
    [running] = bench.proxy.running
    assert running.deadline == bench.clock.now() + 3
    hurried = bench.ask(headers={"x-stainless-read-timeout": "2"})
    bench.clock.advance(2.1)
    assert hurried.error_code == "queue_timeout"
    assert second.status is None


def test_a_client_that_leaves_the_queue_frees_its_room_and_used_nothing() -> None:
    """B31."""
    bench = Bench(queued(waiting=1))
    bench.ask()
    gone = bench.ask()
    assert bench.ask().status == 429
    bench.clock.advance(1)
    gone.leave()
    record = bench.records[-1]
    assert (record.status, record.outcome, record.refusal, record.queued) == (499, Outcome.CANCELLED, None, 1.0)
    assert left(bench) == 8
    next_one = bench.ask()
    bench.upstream.last.answer()
    bench.upstream.last.answer()
    assert next_one.status == 200
    assert gone.status is None
    assert bench.nothing_is_held()


@pytest.mark.parametrize("drain", [lambda bench, _: bench.proxy.drain(), lambda _, client: client.on_drain_deadline()])
def test_a_drain_refuses_who_waits(drain: Callable[[Bench, HeldDownstream], None]) -> None:
    """B51."""
    bench = Bench(queued())
    running, waiting = bench.ask(), bench.ask()
    drain(bench, waiting)
    assert (waiting.status, waiting.error_code) == (503, "draining")
    bench.upstream.last.answer()
    assert running.status == 200
    assert left(bench) == 8
    assert bench.nothing_is_held()


def test_nobody_begins_to_wait_in_a_drain() -> None:
    bench = Bench(queued())
    bench.ask()
    bench.proxy.drain()
    assert bench.ask().error_code == "draining"
    assert left(bench) == 8


def test_a_reload_with_more_places_wakes_as_many_as_fit() -> None:
    bench = Bench(queued(waiting=5))
    for _ in range(5):
        bench.ask()
    reload(bench, queued(places=3, waiting=5))
    assert (len(bench.upstream.attempts), bench.proxy.waiting) == (3, 2)


def test_a_reload_without_the_pool_refuses_who_waits_for_it() -> None:
    bench = Bench(queued())
    bench.ask()
    waiting = [bench.ask(), bench.ask()]
    reload(bench, a_snapshot([a_pool("other")]))
    assert [(each.status, each.error_code) for each in waiting] == [(404, "model_not_found")] * 2
    bench.upstream.last.answer()
    assert bench.nothing_is_held()


def test_who_waits_for_a_pool_that_gave_its_name_away_goes_there() -> None:
    for other in (a_pool("other", models=("chat", "other")), a_pool("other", models=("chat",))):
        bench = Bench(queued(places=1))
        bench.ask()
        waiting = bench.ask()
        reload(bench, a_snapshot([other]))
        bench.upstream.last.answer()
        assert waiting.headers["x-modelpool-pool"] == "other"


def test_a_turn_follows_the_config_of_its_moment() -> None:
    """B46: what was taken away while it waited is not used any more."""
    bench = Bench(queued())
    bench.ask()
    gone, moved = bench.ask(), bench.ask()
    concurrency = {"max": 1, "queue": {"max": 2, "timeout": 10_000}}
    away = a_pool(models=("else",), limits={"requests": (), "concurrency": concurrency})
    reload(bench, a_snapshot([away]))
    bench.upstream.last.answer()
    assert (gone.error_code, moved.error_code) == ("model_not_found", "model_not_found")
    assert bench.nothing_is_held()


def test_a_turn_goes_to_the_pool_that_has_the_name_now() -> None:
    bench = Bench(queued())
    bench.ask()
    moved = bench.ask()
    concurrency = {"max": 1, "queue": {"max": 2, "timeout": 10_000}}
    away = a_pool(models=("else",), limits={"requests": (), "concurrency": concurrency})
    reload(bench, a_snapshot([away, a_pool("newer", models=("chat",))]))
    bench.upstream.attempts[0].answer()
    bench.upstream.last.answer()
    assert moved.headers["x-modelpool-pool"] == "newer"
    assert bench.nothing_is_held()


def test_a_fault_of_ours_at_ones_turn_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(queued())
    bench.ask()
    broken, fine = bench.ask(), bench.ask()
    whole, calls = Exchange.__init__, []

    def once(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("a fault")
        whole(*args, **kwargs)

    monkeypatch.setattr(Exchange, "__init__", once)
    bench.upstream.last.answer()
    assert (broken.status, broken.error_code) == (500, "internal_error")
    bench.upstream.last.answer()
    assert fine.status == 200
    assert bench.nothing_is_held()


def test_a_long_queue_of_requests_that_end_at_once_is_no_deep_stack() -> None:
    concurrency = {"max": 1, "queue": {"max": 3000, "timeout": 10_000}}
    pools = [a_pool(limits={"requests": (), "concurrency": concurrency})]
    bench = Bench(a_snapshot(pools, [a_provider(auth=an_api_key())]), MemoryCredentials(**{"openai.api-key": "k"}))
    bench.ask()
    waiting = [bench.ask() for _ in range(3000)]
    bench.credentials.keys.clear()
    bench.upstream.last.answer()
    assert {each.error_code for each in waiting} == {"credential_pending"}
    assert bench.nothing_is_held()


@pytest.mark.parametrize("first", ["the place", "the client"])
def test_who_leaves_just_as_a_place_is_free_passes_it_on(first: str) -> None:
    """B11, B31: whichever of the two comes first in the same moment."""
    bench = Bench(queued(waiting=3))
    bench.ask()
    gone, stays = bench.ask(), bench.ask()
    running = bench.upstream.last
    if first == "the place":
        running.answer()
        gone.leave()
    else:
        gone.leave()
        running.answer()
    assert (bench.proxy.waiting, bench.proxy.in_flight) == (0, 1)
    bench.upstream.last.answer()
    assert (gone.status, stays.status) == (None, 200)
    assert bench.nothing_is_held()


@pytest.mark.parametrize("traffic", ["Drained", None])
def test_a_thousand_who_wait_for_targets_that_are_gone_are_all_told(traffic: str | None) -> None:
    limits = {"concurrency": {"max": 1, "queue": {"max": 1_000, "timeout": 10_000}}}
    bench = Bench(a_snapshot([a_pool(limits=limits)]))
    bench.ask()
    waiting = [bench.ask() for _ in range(1_000)]
    assert bench.proxy.waiting == 1_000
    pools = [a_pool(limits=limits)] if traffic else [a_pool("other")]
    reload(bench, a_snapshot(pools, [a_provider(traffic=traffic)] if traffic else None))
    bench.upstream.last.answer()
    assert {each.status for each in waiting} == {503 if traffic else 404}
    assert bench.proxy.waiting == 0
    assert bench.nothing_is_held()


@given(
    st.lists(
        st.tuples(st.integers(0, 4_000), st.sampled_from(["ask", "ask", "hurried", "answer", "leave"])), max_size=40
    )
)
def test_nobody_waits_beyond_a_deadline_whatever_comes_and_goes(steps: list[tuple[int, str]]) -> None:
    """B15: who waits is asked for, told, or gone within the queue's 10 s and the client's own time."""
    bench = Bench(a_snapshot([a_pool(limits={"concurrency": {"max": 2, "queue": {"max": 9, "timeout": 10_000}}})]))
    waiting: list[tuple[float, HeldDownstream]] = []
    for pause, step in steps:
        bench.clock.advance(pause / 1000)
        now = bench.clock.now()
        if step == "ask":
            waiting.append((now + 10, bench.ask()))
        elif step == "hurried":
            waiting.append((now + 3, bench.ask(headers={"x-stainless-read-timeout": "3"})))
        elif step == "leave" and waiting:
            waiting.pop(0)[1].leave()
        running = [attempt for attempt in bench.upstream.attempts if attempt.open]
        if step == "answer" and running:
            running[0].answer()
        late = sum(until + 0.001 < now and each.status is None for until, each in waiting)
        assert late <= bench.proxy.in_flight, "who is late has its place, and its answer goes on"
    bench.clock.advance(10.001)
    assert bench.proxy.waiting == 0
    assert all(record.queued <= 10.001 for record in bench.records if record.queued is not None)


def test_who_waited_in_a_pool_that_went_gets_no_second_deadline_in_another() -> None:
    """B15: the wait was forgotten, and with it how late it is."""
    bench = Bench(queued(total=12_000))
    bench.ask()
    served, waiting = bench.ask(), bench.ask(headers={"x-stainless-read-timeout": "11"})
    bench.clock.advance(9)
    reload(bench, queued(name="other", models=("chat",), total=12_000))
    assert bench.upstream.asked == ["primary", "primary"]
    assert bench.proxy.waiting == 1
    bench.clock.advance(1.9)
    assert (served.status, waiting.status) == (None, None)
    bench.clock.advance(0.2)
    assert (waiting.status, waiting.error_code) == (429, "queue_timeout")
    assert "no place was free for 11.0 s" in waiting.json["error"]["message"]
    bench.clock.advance(1)
    assert (served.status, served.error_code) == (504, "deadline_exceeded")
    assert [(each.queued, each.duration) for each in bench.records] == [(11.0, 11.0), (None, 12.0), (9.0, 12.0)]


def test_who_waited_in_a_pool_that_went_and_is_refused_by_another_has_waited() -> None:
    bench = Bench(queued())
    bench.ask()
    clients = [bench.ask(), bench.ask()]
    bench.clock.advance(9)
    reload(bench, a_snapshot([a_pool("other", models=("chat",), limits={"concurrency": {"max": 1}})]))
    assert (clients[0].status, clients[1].error_code) == (None, "concurrency_exceeded")
    assert [record.queued for record in bench.records] == [9.0]
