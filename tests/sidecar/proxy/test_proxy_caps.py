"""Who waits in a pool's queue for a place at its targets, and what lets it go (B8, B11, B12, B17, B31)."""

from typing import Any

from builders import a_pool, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import Bench, HeldDownstream


def at_once(most: int) -> dict[str, Any]:
    return {"limits": {"concurrency": {"max": most}}}


def line(waiting: int = 2) -> dict[str, Any]:
    return {"concurrency": {"max": 100, "queue": {"max": waiting, "timeout": 10_000}}}


def two(waiting: int = 2, backup: int = 1) -> Snapshot:
    targets = [a_target(**at_once(1)), a_target("backup", priority=1, **at_once(backup))]
    return a_snapshot([a_pool(targets=targets, limits=line(waiting))])


def where(clients: list[HeldDownstream]) -> list[str | None]:
    return [each.headers.get("x-modelpool-target") if each.status == 200 else None for each in clients]


def test_where_every_target_is_at_its_cap_the_request_waits_and_goes_where_a_place_is_free() -> None:
    bench = Bench(two())
    clients = [bench.ask() for _ in range(4)]
    assert bench.upstream.asked == ["primary", "backup"]
    assert bench.proxy.waiting == 2
    bench.clock.advance(3)
    bench.upstream.attempts[1].answer()
    assert bench.upstream.asked == ["primary", "backup", "backup"]
    bench.upstream.attempts[0].answer()
    assert bench.upstream.asked == ["primary", "backup", "backup", "primary"]
    for attempt in bench.upstream.attempts[2:]:
        attempt.answer()
    assert where(clients) == ["primary", "backup", "backup", "primary"]
    assert [record.queued for record in bench.records] == [None, None, 3.0, 3.0]
    assert bench.nothing_is_held()


def test_a_full_queue_says_that_the_targets_are_full() -> None:
    bench = Bench(two(waiting=1))
    clients = [bench.ask() for _ in range(4)]
    assert (clients[3].status, clients[3].error_code) == (429, "concurrency_exceeded")
    assert clients[3].json["error"]["message"] == (
        "pool chat: every target has as many in flight as it may, and 1 wait; try again in 1.0 s"
    )
    assert clients[2].status is None


def test_who_waits_too_long_is_told_so_and_nothing_is_held() -> None:
    bench = Bench(two())
    clients = [bench.ask() for _ in range(3)]
    bench.clock.advance(11)
    assert (clients[2].status, clients[2].error_code) == (429, "queue_timeout")
    for attempt in list(bench.upstream.attempts):
        attempt.answer()
    assert bench.nothing_is_held()


def test_the_end_of_an_attempt_in_another_pool_lets_who_waits_go() -> None:
    """The Provider's cap counts all pools."""
    pools = [a_pool("chat", limits=line()), a_pool("other", [a_target("primary")])]
    bench = Bench(a_snapshot(pools, [a_provider(**at_once(1))]))
    bench.ask({"model": "other", "messages": []})
    waiting = bench.ask()
    assert bench.proxy.waiting == 1
    bench.upstream.last.answer()
    assert bench.proxy.waiting == 0
    bench.upstream.last.answer()
    assert where([waiting]) == ["primary"]
    assert bench.nothing_is_held()


def test_a_request_that_sleeps_before_a_repetition_lets_who_waits_go() -> None:
    """B11: its attempt is over, and so is its place."""
    bench = Bench(a_snapshot([a_pool(targets=[a_target(**at_once(1))], limits=line())]), rng=lambda: 0.5)
    first, second = bench.ask(), bench.ask()
    bench.upstream.last.answer({}, 500)
    assert bench.proxy.waiting == 0
    assert len(bench.upstream.attempts) == 2
    bench.upstream.last.answer()
    assert where([second]) == ["primary"]
    bench.clock.advance(5)
    bench.upstream.last.answer()
    assert where([first]) == ["primary"]
    assert bench.nothing_is_held()


def test_a_client_that_leaves_the_provider_or_the_line_frees_its_place() -> None:
    bench = Bench(two(waiting=1))
    clients = [bench.ask() for _ in range(3)]
    clients[2].leave()
    assert bench.proxy.waiting == 0
    clients.append(bench.ask())
    clients[0].leave()
    assert bench.proxy.waiting == 0
    bench.upstream.last.answer()
    assert where(clients[3:]) == ["primary"]
    bench.upstream.attempts[1].answer()
    assert bench.nothing_is_held()


def test_a_target_that_has_no_cap_or_does_not_serve_is_none_to_wait_for() -> None:
    targets = [a_target(**at_once(1)), a_target("backup", priority=1)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=line())]))
    for _ in range(4):
        bench.ask()
    assert bench.upstream.asked == ["primary", "backup", "backup", "backup"]
    drained = a_snapshot(
        [a_pool(targets=targets, limits=line())], [a_provider(), a_provider("backup", traffic="Drained")]
    )
    bench = Bench(drained)
    for _ in range(2):
        bench.ask()
    assert bench.proxy.waiting == 1
    nobody = [a_target("backup", **at_once(1))]
    bench = Bench(a_snapshot([a_pool(targets=nobody, limits=line())], [a_provider("backup", traffic="Drained")]))
    assert bench.ask().error_code == "drained"


def test_without_a_queue_the_answer_comes_at_once() -> None:
    bench = Bench(a_snapshot([a_pool(targets=[a_target(**at_once(1))], limits={"concurrency": {"max": 9}})]))
    bench.ask()
    assert bench.ask().error_code == "all_limited"


def test_more_places_after_a_reload_let_who_waits_go() -> None:
    bench = Bench(two())
    for _ in range(3):
        bench.ask()
    bench.snapshot = bench.proxy.snapshot = two(backup=2)
    bench.state.retain(two(backup=2))
    bench.proxy.reloaded()
    assert bench.upstream.asked == ["primary", "backup", "backup"]
