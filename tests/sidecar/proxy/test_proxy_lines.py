"""Who waits in a pool's queue for a place anywhere on the way: in a pool behind it, or at the one target that is full
while the others are at their limits; and what lets it go (B5, B7, B8, B11)."""

from typing import Any

import pytest

from builders import a_chain, a_pool, a_pool_target, a_provider, a_snapshot, a_target
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import Bench

LINE = {"concurrency": {"max": 100, "queue": {"max": 4, "timeout": 10_000}}}
ONE = {"concurrency": {"max": 1}}


def few(most: int, per: int = 3_600_000, **more: Any) -> dict[str, Any]:
    limit = {"name": "few", "max": most, "per": per, "burst": most, "scope": "Sidecar", **more}
    return {"limits": {"requests": (limit,)}}


def chained(inner: dict[str, Any], *others: dict[str, Any], near: tuple[dict[str, Any], ...] = ()) -> Snapshot:
    """`chat` has a queue; behind it stands `near`."""
    pools = [a_pool("near", [*near] or [a_target("east")], limits=inner)]
    return a_snapshot([*pools, a_chain("chat", a_pool_target("near"), *others, limits=LINE)])


def near(bench: Bench) -> Any:
    return bench.ask({"model": "near", "messages": []})


def test_without_it_a_request_is_refused_though_its_pool_has_a_queue_because_the_pool_behind_is_full() -> None:
    bench = Bench(chained(ONE))
    first, second, third = (bench.ask() for _ in range(3))
    assert bench.upstream.asked == ["east"]
    assert bench.proxy.waiting == 2
    bench.clock.advance(2)
    bench.upstream.last.answer()
    assert first.status == 200
    assert bench.proxy.waiting == 1
    bench.upstream.last.answer()
    bench.upstream.last.answer()
    assert [second.status, third.status] == [200, 200]
    assert [record.queued for record in bench.records] == [None, 2.0, 2.0]
    assert bench.nothing_is_held()


def test_the_end_of_a_request_to_the_pool_behind_lets_the_one_before_go() -> None:
    bench = Bench(chained(ONE))
    near(bench)
    outer = bench.ask()
    assert bench.proxy.waiting == 1
    bench.upstream.last.answer()
    assert bench.proxy.waiting == 0
    bench.upstream.last.answer()
    assert outer.headers["x-modelpool-target"] == "near/east"
    assert bench.nothing_is_held()


def test_who_waits_in_the_pool_behind_has_come_before() -> None:
    bench = Bench(chained(ONE | {"concurrency": {"max": 1, "queue": {"max": 4, "timeout": 10_000}}}))
    near(bench)
    outer, inner = bench.ask(), near(bench)
    bench.upstream.last.answer()
    assert (outer.status, bench.proxy.waiting) == (None, 1)
    bench.upstream.last.answer()
    assert inner.status == 200
    bench.upstream.last.answer()
    assert outer.status == 200
    assert bench.nothing_is_held()


def test_a_client_that_leaves_the_pool_behind_lets_the_one_before_go() -> None:
    bench = Bench(chained(ONE))
    running = near(bench)
    bench.ask()
    running.leave()
    assert bench.proxy.waiting == 0
    bench.upstream.last.answer()
    assert bench.nothing_is_held()


def test_beside_a_full_pool_another_target_lets_nobody_wait() -> None:
    bench = Bench(chained(ONE, a_target("far", priority=1)))
    for _ in range(3):
        bench.ask()
    assert bench.upstream.asked == ["east", "far", "far"]


def test_more_places_in_the_pool_behind_after_a_reload_let_who_waits_go() -> None:
    bench = Bench(chained(ONE))
    bench.ask()
    bench.ask()
    bench.snapshot = bench.proxy.snapshot = chained({"concurrency": {"max": 2}})
    bench.state.retain(bench.snapshot)
    bench.proxy.reloaded()
    assert bench.upstream.asked == ["east", "east"]


def test_a_target_at_its_limit_is_none_that_could_take_the_request() -> None:
    """Refused with all_limited, it had a queue and a target whose place was free in a moment."""
    targets = [a_target("west", **few(1)), a_target("cloud", priority=1, limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]))
    clients = [bench.ask() for _ in range(3)]
    assert bench.upstream.asked == ["west", "cloud"]
    assert bench.proxy.waiting == 1
    bench.upstream.last.answer()
    assert bench.upstream.asked == ["west", "cloud", "cloud"]
    for attempt in (bench.upstream.attempts[0], bench.upstream.last):
        attempt.answer()
    assert [each.status for each in clients] == [200, 200, 200]
    assert bench.nothing_is_held()


def test_a_drained_target_at_its_cap_is_nothing_to_wait_for() -> None:
    targets = [a_target(limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]))
    bench.ask()
    bench.snapshot = bench.proxy.snapshot = a_snapshot(
        [a_pool(targets=targets, limits=LINE)], [a_provider(traffic="Drained")]
    )
    bench.state.retain(bench.snapshot)
    assert bench.ask().error_code == "drained"


@pytest.mark.parametrize("wait", [1.0, 4.0])
def test_who_waits_for_a_place_goes_to_another_target_as_soon_as_its_limit_opens(wait: float) -> None:
    """Else it would wait for the long answer at the full one, or be refused for having waited too long."""
    targets = [a_target("west", **few(1, per=int(wait * 1000))), a_target("cloud", priority=1, limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]))
    for _ in range(4):
        bench.ask()
    assert bench.proxy.waiting == 2
    bench.clock.advance(wait + 0.01)
    assert bench.upstream.asked == ["west", "cloud", "west"]
    bench.clock.advance(wait + 0.01)
    assert bench.upstream.asked == ["west", "cloud", "west", "west"]
    assert not bench.proxy._queueing._wakes


def test_who_waits_for_a_place_goes_to_another_target_as_soon_as_that_one_has_cooled() -> None:
    targets = [a_target("west"), a_target("cloud", priority=1, limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]), rng=lambda: 0.0)
    bench.ask()
    bench.upstream.last.answer({"error": {}}, 429, (("retry-after", "3"),))
    assert bench.upstream.asked == ["west", "cloud"]
    bench.ask()
    assert bench.proxy.waiting == 1
    bench.clock.advance(3.01)
    assert bench.upstream.asked == ["west", "cloud", "west"]
    assert bench.proxy.waiting == 0


def test_one_who_comes_later_does_not_stand_behind_one_whose_way_is_open_already() -> None:
    """A credential that arrives, a probe that ends: nothing tells the line, so whoever joins it has it looked at."""
    targets = [a_target("west"), a_target("cloud", priority=1, limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]), rng=lambda: 0.0)
    assert bench.snapshot is not None
    bench.ask()
    bench.upstream.last.answer({"error": {}}, 429, (("retry-after", "3"),))
    bench.ask()
    bench.proxy._queueing._wakes.popitem()[1].cancel()
    bench.clock.advance(3.01)
    bench.ask()
    assert bench.upstream.asked == ["west", "cloud", "west", "west"]


def test_a_pool_that_goes_takes_what_wakes_its_line_with_it() -> None:
    targets = [a_target("west", **few(1, per=5000)), a_target("cloud", priority=1, limits=ONE)]
    bench = Bench(a_snapshot([a_pool(targets=targets, limits=LINE)]))
    clients = [bench.ask() for _ in range(3)]
    bench.snapshot = bench.proxy.snapshot = a_snapshot([a_pool("other")])
    bench.state.retain(bench.snapshot)
    bench.proxy.reloaded()
    assert clients[2].error_code == "model_not_found"
    assert not bench.proxy._queueing._wakes


def test_a_refusal_because_of_limits_at_targets_says_what_is_left_of_the_one_that_opens_first() -> None:
    """B12: without a limit of the pool the 429 had a Retry-After and no x-ratelimit at all."""
    near = [a_target("east", **few(1)), a_target("west", priority=1, **few(2, per=60_000))]
    bench = Bench(chained({}, near=tuple(near)))
    for _ in range(3):
        assert bench.ask().status is None
        bench.upstream.last.answer()
    refused = bench.ask()
    assert (refused.status, refused.error_code, refused.headers["retry-after"]) == (429, "all_limited", "30")
    told = {name: value for name, value in refused.headers.items() if name.startswith("x-ratelimit")}
    assert told == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
