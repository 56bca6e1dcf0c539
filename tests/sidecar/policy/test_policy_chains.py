"""Pools behind targets: how one is chosen level by level, and what each level looks at (B1, B2, B4, B7)."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from builders import a_chain, a_config, a_pool, a_pool_target, a_provider, a_snapshot, a_target, the_pool
from modelpool_config import models as contract
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Stop, Try
from modelpool_sidecar.core.nesting import branches, choose
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.strategies import Asking
from modelpool_sidecar.core.verdict import Failure

NOW = 1_000.0


def begin(
    pool: Pool, state: State | None = None, rng: Callable[[], float] = lambda: 0.0, now: float = NOW, **more: Any
) -> tuple[Dispatch, Target]:
    """A request that is sent to its first target."""
    walk = Dispatch(
        pool=pool,
        state=State() if state is None else state,
        operation="chat",
        deadline=now + 600,
        rng=rng,
        missing=lambda _target: (),
        **more,
    )
    step = walk.next(now)
    assert isinstance(step, Try)
    return walk, step.target


def order(pool: Pool, state: State | None = None, rng: Callable[[], float] = lambda: 0.0, **more: Any) -> list[str]:
    """The targets in the order in which they are asked while all fail at once."""
    walk, target = begin(pool, state, rng, **more)
    asked = []
    while True:
        asked.append(target.name)
        walk.observe(Failure(target.name, target.provider.name, Outcome.UNREACHABLE, ""), NOW)
        step = walk.next(NOW)
        if not isinstance(step, Try) or step.target.name in asked:
            return asked
        target = step.target


def asking(state: State, rng: Callable[[], float] = lambda: 0.0, **more: Any) -> Asking:
    return Asking(**{"state": state, "rng": rng, "now": NOW, "stream": False, "keys": {}, **more})


def in_flight(state: State, pool: Pool, name: str, count: int) -> None:
    for _ in range(count):
        state.health(pool.targets[name]).begin(NOW)


def cool(state: State, pool: Pool, name: str) -> None:
    health = state.health(pool.targets[name])
    health.end(health.begin(NOW), Outcome.DENIED, NOW, lambda: 0.0)


def regions(**changes: Any) -> Snapshot:
    """`chat`: three parts to the pool `near` (two equal targets), one to `far`."""
    near = a_pool("near", [a_target("east"), a_target("west")], **changes.pop("near", {}))
    return a_snapshot([near, a_chain("chat", a_pool_target("near", weight=3), a_target("far"), **changes)])


# -- what stands behind


def test_the_targets_of_the_inner_pool_stand_among_the_outer_ones_under_a_longer_name() -> None:
    snapshot = regions()
    chat, near = the_pool(snapshot), the_pool(snapshot, "near")
    assert list(chat.targets) == ["far", "near/east", "near/west"]
    east = chat.targets["near/east"]
    assert east.inner is near.targets["east"]
    assert east.key == near.targets["east"].key, "so their health is one"
    assert (east.passed, east.through) == ((near,), chat.pool_targets[0])
    assert chat.behind == {"near": near}
    assert not near.behind


def test_a_pool_of_closed_pools_alone_is_closed_for_their_reason_and_others_do_without() -> None:
    shut = contract.ClosedPool(name="shut", models=("shut",), code="sidecar_too_old", message="it lacks wings")
    only = a_chain("only", a_pool_target("shut"))
    outer = a_chain("outer", a_pool_target("only"))
    snapshot = a_snapshot([a_chain("chat", a_pool_target("shut"), a_target()), only, outer], closed=[shut])
    chat = the_pool(snapshot)
    assert list(chat.targets) == ["primary"]
    assert [(each.target, each.reason, each.message) for each in chat.unresolved] == [
        ("shut", "sidecar_too_old", "pool shut: it lacks wings")
    ]
    for name, message in (("only", "pool shut: it lacks wings"), ("outer", "pool only: pool shut: it lacks wings")):
        closed = snapshot.pools[name]
        assert isinstance(closed, ClosedPool)
        assert (closed.code, closed.message) == ("sidecar_too_old", message)


def test_pools_are_compiled_from_the_inside_to_the_outside_whatever_their_names() -> None:
    chain = [
        a_chain("a", a_pool_target("b"), a_pool_target("c")),
        a_chain("b", a_pool_target("c")),
        a_pool("c", [a_target("x")]),
    ]
    for pools in itertools.permutations(chain):
        snapshot = a_snapshot(pools)
        assert list(snapshot.pools) == [pool.name for pool in pools]
        assert sorted(the_pool(snapshot, "a").targets) == ["b/c/x", "c/x"], "a way may be there twice"


def test_what_each_level_changes_in_the_request_is_done_from_the_outside_to_the_inside() -> None:
    """As if the outer pool were a client of the inner one."""

    def changed(name: str, action: str, value: str | None = None) -> dict[str, Any]:
        return {"name": name, "action": action, "value": value}

    inner = a_pool(
        "inner",
        [a_target("x", parameters=(changed("seed", "Set", "3"),))],
        parameters=(changed("max_tokens", "Max", "500"), changed("user", "Remove"), changed("top_p", "Default", "1")),
    )
    entry = a_pool_target("inner", parameters=(changed("max_tokens", "Max", "100"), changed("user", "Set", '"outer"')))
    outer = a_chain("chat", entry, parameters=(changed("max_tokens", "Max", "900"), changed("top_p", "Default", "0.5")))
    told = the_pool(a_snapshot([inner, outer])).targets["inner/x"].parameters
    assert [(each.name, each.action.value, each.value.decode()) for each in told] == [
        ("user", "Set", '"outer"'),
        ("top_p", "Default", "0.5"),
        ("max_tokens", "Max", "100"),
        ("user", "Remove", ""),
        ("seed", "Set", "3"),
        ("top_p", "Default", "1"),
        ("max_tokens", "Max", "500"),
    ]


# -- weights


def shares(pool: Pool, grid: int) -> dict[str, Fraction]:
    """How often each target is drawn first: every pair of draws on a grid that falls on no border."""
    state = State()
    seen: Counter[str] = Counter()
    for first, second in itertools.product(range(grid), repeat=2):
        draws = iter(((first + 0.5) / grid, (second + 0.5) / grid))
        chosen, _ = choose(asking(state, lambda draws=draws: next(draws)), pool, pool.tiers[0])  # type: ignore[misc]
        assert chosen is not None
        seen[chosen.name] += 1
    return {name: Fraction(count, grid**2) for name, count in seen.items()}


@effort(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=2), st.lists(st.integers(1, 3), min_size=1, max_size=2))
def test_weights_of_nested_pools_multiply(outer: list[int], inner: list[int]) -> None:
    """B7, exactly: the grid of draws is a multiple of the sum of the weights of either pool."""
    pools = [
        a_pool("in", [a_target(f"t{index}", weight=weight) for index, weight in enumerate(inner)]),
        a_chain("chat", a_target("own", weight=outer[0]), a_pool_target("in", weight=outer[1])),
    ]
    whole = sum(outer)
    assert shares(the_pool(a_snapshot(pools)), math.lcm(whole, sum(inner))) == {
        "own": Fraction(outer[0], whole),
        **{
            f"in/t{index}": Fraction(outer[1], whole) * Fraction(weight, sum(inner))
            for index, weight in enumerate(inner)
        },
    }


def test_ten_thousand_requests_are_split_over_three_levels_by_the_products_of_their_weights() -> None:
    pools = [
        a_pool("c", [a_target("x", weight=3), a_target("y", weight=1)]),
        a_chain("b", a_pool_target("c", weight=2), a_target("z", weight=3)),
        a_chain("chat", a_pool_target("b", weight=7), a_pool_target("c", weight=2), a_target("own", weight=1)),
    ]
    pool, state, rng = the_pool(a_snapshot(pools)), State(), random.Random(7)
    total = 10_000
    seen: Counter[str] = Counter()
    for _ in range(total):
        walk, target = begin(pool, state, rng.random)
        walk.abandon(NOW)
        seen[target.name] += 1
    parts = {"b/c/x": 0.7 * 0.4 * 0.75, "b/c/y": 0.7 * 0.4 * 0.25, "b/z": 0.7 * 0.6}
    parts |= {"c/x": 0.2 * 0.75, "c/y": 0.2 * 0.25, "own": 0.1}
    assert set(seen) == set(parts)
    for name, part in parts.items():
        assert abs(seen[name] - total * part) < 3 * math.sqrt(total * part * (1 - part)), name


def test_targets_are_asked_without_replacement_and_the_inner_tiers_are_tiers() -> None:
    """B4, B5: the pool behind a target is left when all behind it were asked."""
    near = a_pool("near", [a_target("second", priority=1), a_target("first"), a_target("third", priority=1)])
    pool = the_pool(a_snapshot([near, a_chain("chat", a_pool_target("near"), a_target("far", priority=1))]))
    assert order(pool) == ["near/first", "near/second", "near/third", "far"]


def test_one_count_of_attempts_and_the_inner_fallback_is_none() -> None:
    """B7: `maxAttempts`, `outcomes` and `sameTarget` are the outer pool's."""
    rules = {"max_attempts": 9, "same_target": {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 5}}
    near = a_pool("near", [a_target("a"), a_target("b"), a_target("c")], fallback={**rules, "outcomes": ()})
    pool = the_pool(a_snapshot([near, a_chain("chat", a_pool_target("near"), fallback={"max_attempts": 2})]))
    assert order(pool) == ["near/a", "near/b"]


def test_a_drained_entry_is_asked_only_where_no_other_is_left_on_any_level() -> None:
    """B2."""
    pools = [
        a_pool("idle", [a_target("a", weight=3), a_target("b", weight=1)]),
        a_pool("half", [a_target("c", weight=0), a_target("d")]),
        a_chain("chat", a_pool_target("idle", weight=0), a_pool_target("half"), a_target("own", priority=1)),
    ]
    pool = the_pool(a_snapshot(pools))
    assert order(pool) == ["half/d", "own", "half/c", "idle/a"]
    rng = random.Random(1)
    firsts = Counter(next(n for n in order(pool, rng=rng.random) if n.startswith("idle/")) for _ in range(2_000))
    assert abs(firsts["idle/a"] - 1_500) < 100, "drained for the outer pool, its own weights still hold inside"


def test_a_pool_whose_targets_are_all_away_is_passed_over_like_a_target_that_is() -> None:
    snapshot, state = regions(), State()
    pool = the_pool(snapshot)
    cool(state, pool, "near/east")
    assert {begin(pool, state, lambda u=u: u)[1].name for u in (0.0, 0.5, 0.99)} == {"near/west", "far"}  # type: ignore[misc]
    cool(state, pool, "near/west")
    assert {begin(pool, state, lambda u=u: u)[1].name for u in (0.0, 0.5, 0.99)} == {"far"}  # type: ignore[misc]


# -- strategies


def test_turns_are_taken_on_each_level_and_the_inner_ones_are_those_of_the_inner_pool() -> None:
    near = a_pool("near", [a_target("a", weight=2), a_target("b")], strategy="RoundRobin")
    snapshot = a_snapshot(
        [near, a_chain("chat", a_pool_target("near", weight=3), a_target("c"), strategy="RoundRobin")]
    )
    pool, state = the_pool(snapshot), State()
    seen = Counter(begin(pool, state)[1].name for _ in range(12))
    assert seen == {"near/a": 6, "near/b": 3, "c": 3}
    assert state.learned.rotation(pool, 0).current == {"near": 0, "c": 0}
    assert begin(the_pool(snapshot, "near"), state)[1].name == "a"
    assert begin(the_pool(snapshot, "near"), state)[1].name == "b", "who asks the inner pool takes the next turn"
    told = state.describe(snapshot, NOW)["pools"][1]["targets"]
    assert {each["name"]: each["currentWeight"] for each in told} == {"near/a": 0.0, "near/b": 0.0, "c": 0.0}
    state.retain(snapshot)
    assert state.learned.rotation(pool, 0).current, "a reload that changes nothing forgets no turn"


def test_a_turn_that_was_only_looked_at_shifts_nobody_on_any_level() -> None:
    """B3."""
    near = a_pool("near", [a_target("a"), a_target("b")], strategy="RoundRobin")
    pool = the_pool(a_snapshot([near, a_chain("chat", a_pool_target("near"), a_target("c"), strategy="RoundRobin")]))
    state = State()
    walk = Dispatch(pool, state, "chat", NOW + 9, lambda: 0.0, lambda _target: ())
    walk.outlook(NOW)
    choose(asking(state), pool, pool.tiers[0])
    assert state.learned.rotation(pool, 0).current == {}


def test_least_requests_counts_all_that_runs_behind_an_entry() -> None:
    pool, state = the_pool(regions(strategy="LeastRequests")), State()
    in_flight(state, pool, "near/east", 4)
    in_flight(state, pool, "near/west", 4)
    in_flight(state, pool, "far", 3)
    assert begin(pool, state, lambda: 0.5)[1].name.startswith("near/"), (
        "8 for a weight of 3 is less than 3 for one of 1"
    )
    in_flight(state, pool, "near/east", 2)
    assert begin(pool, state, lambda: 0.5)[1].name == "far"


def test_lowest_latency_takes_a_pool_for_its_best_measured_target() -> None:
    snapshot = regions(strategy="LowestLatency", near={"strategy": "LowestLatency"})
    pool, state = the_pool(snapshot), State()

    def measured(name: str, seconds: float) -> None:
        state.learned.wait(pool.targets[name].key, stream=False).sample(seconds, NOW)

    measured("far", 1.0)
    measured("near/east", 3.0)
    assert begin(pool, state)[1].name == "far"
    measured("near/west", 0.5)
    assert begin(pool, state)[1].name == "near/west"
    fresh = State()
    fresh.learned.wait(pool.targets["far"].key, stream=False).sample(1.0, NOW)
    firsts = {begin(pool, fresh, lambda u=u: u)[1].name.split("/")[0] for u in (0.0, 0.99)}  # type: ignore[misc]
    assert firsts == {"near", "far"}, "where nothing behind it is measured it counts as average"


def test_an_attempt_is_measured_where_any_pool_on_its_way_asks_for_it() -> None:
    for outer, inner in (("LowestLatency", "Weighted"), ("Weighted", "LowestLatency")):
        pool, state = the_pool(regions(strategy=outer, near={"strategy": inner})), State()
        walk, target = begin(pool, state)
        if target.name == "far":
            walk, target = begin(pool, state, lambda: 0.9)
        walk.commit(NOW + 2)
        walk.complete(Outcome.OK, NOW + 3)
        assert state.learned.wait(target.key, stream=False).seconds == 2
    pool, state = the_pool(regions()), State()
    walk, target = begin(pool, state, lambda: 0.9)
    walk.commit(NOW + 2)
    assert state.learned.wait(target.key, stream=False).seconds is None


@pytest.mark.parametrize(
    ("inner", "prices", "chosen"),
    [
        ("LowestCost", {"east": "9", "west": "1", "far": "2"}, "near/west"),
        ("Weighted", {"east": "9", "west": "1", "far": "2"}, "far"),
        ("Weighted", {"east": "2", "west": "1", "far": "2"}, "near/east"),
        ("LowestCost", {"west": "1", "far": "2"}, "near/west"),
        ("Weighted", {"west": "1", "far": "2"}, "far"),
        ("LowestCost", {"far": "2"}, "far"),
    ],
)
def test_lowest_cost_takes_a_pool_for_what_it_asks_on_average_or_at_best(
    inner: str, prices: dict[str, str], chosen: str
) -> None:
    def declared(name: str) -> contract.Provider:
        price = prices.get(name)
        told = price and {"input_per_million": price, "cached_input_per_million": price, "output_per_million": price}
        return a_provider(name, models=({"name": f"{name}-model", "prices": told},) if told else ())

    near = a_pool("near", [a_target("east"), a_target("west")], strategy=inner)
    chat = a_chain("chat", a_pool_target("near"), a_target("far"), strategy="LowestCost")
    providers = [declared(name) for name in ("east", "far", "west")]
    assert begin(the_pool(a_snapshot([chat, near], providers)))[1].name == chosen


def test_lowest_usage_takes_a_pool_for_the_one_that_has_most_left_its_own_limits_counted() -> None:
    def limits(size: int) -> dict[str, Any]:
        return {"requests": ({"name": "m", "max": size, "per": 3_600_000, "burst": size, "scope": "Sidecar"},)}

    near = a_pool("near", [a_target("east", limits=limits(2)), a_target("west", limits=limits(10))], limits=limits(8))
    chat = a_chain("chat", a_pool_target("near"), a_target("far", limits=limits(4)), strategy="LowestUsage")
    pool, state, rng = the_pool(a_snapshot([chat, near])), State(), random.Random(1)
    seen = Counter(begin(pool, state, rng.random)[1].name.split("/")[0] for _ in range(9))
    assert seen == {"near": 6, "far": 3}, "eight in the pool near to four at far"


def test_equal_keys_go_the_same_way_and_inside_as_they_go_when_the_inner_pool_is_asked() -> None:
    hashed = {"strategy": "ConsistentHash", "consistent_hash": {"by": "Header", "header": "x-session"}}
    near = a_pool("near", [a_target(f"t{index}") for index in range(3)], **hashed)
    snapshot = a_snapshot([near, a_chain("chat", a_pool_target("near", weight=3), a_target("far"), **hashed)])
    pool, inner, rng = the_pool(snapshot), the_pool(snapshot, "near"), random.Random(3)
    seen: Counter[str] = Counter()
    for _ in range(2_000):
        key = rng.getrandbits(64)
        names = {begin(pool, State(), rng.random, key=key, inner_keys={"near": key})[1].name for _ in range(2)}
        assert len(names) == 1
        [name] = names
        seen[name] += 1
        if name != "far":
            assert name == f"near/{begin(inner, State(), rng.random, key=key)[1].name}"
    assert abs(seen["far"] - 500) < 3 * math.sqrt(2_000 * 0.25 * 0.75)
    for index in range(3):
        assert abs(seen[f"near/t{index}"] - 500) < 3 * math.sqrt(2_000 * 0.25 * 0.75)


def test_a_pool_takes_the_share_of_the_one_behind_it_that_takes_most() -> None:
    pool, state = the_pool(regions()), State()

    class Ramping(Asking):
        __slots__ = ()

        def share(self, each: Target) -> float:
            return {"near/east": 0.1, "near/west": 0.4, "east": 0.1, "west": 0.4}.get(each.name, 1.0)

    seen = Counter()  # type: Counter[str]
    rng = random.Random(5)
    for _ in range(10_000):
        chosen, _ = choose(Ramping(state, rng.random, NOW, False, {}), pool, pool.tiers[0])
        assert chosen is not None
        seen[chosen.name] += 1
    expected = 3 * 0.4 / (3 * 0.4 + 1)
    assert abs(seen["near/east"] + seen["near/west"] - 10_000 * expected) < 3 * math.sqrt(
        10_000 * expected * (1 - expected)
    )


def test_the_entries_of_a_pool_introduce_themselves() -> None:
    pool = the_pool(regions())
    told = [(each.name, each.weight, each.priority, len(each.targets)) for each in branches(pool.tiers[0])]
    assert told == [("far", 1, 0, 1), ("near", 3, 0, 2)]
    assert choose(asking(State()), pool, ()) == (None, None)


# -- reload


def test_what_is_known_of_a_target_behind_a_pool_is_what_that_pool_knows_and_survives_a_reload() -> None:
    """B48."""
    pools = [
        a_pool("near", [a_target("x")], limits={"requests": (_limit(9),)}),
        a_chain("chat", a_pool_target("near", limits={"requests": (_limit(5),)})),
    ]
    snapshot, state = a_snapshot(pools), State()
    walk, _ = begin(the_pool(snapshot), state)
    assert state.retain(snapshot) == []
    [near, chat] = state.describe(snapshot, NOW)["pools"]
    assert near["limits"][0]["remaining"] == 8
    assert [limit["remaining"] for limit in chat["targets"][0]["limits"]] == [4, 8]
    assert near["inFlight"] == 1
    walk.abandon(NOW)
    assert state.describe(snapshot, NOW)["pools"][0]["inFlight"] == 0
    gone = a_snapshot([pools[0]])
    assert ("target", "chat/near", "few") in state.retain(gone)


def _limit(size: int) -> dict[str, Any]:
    return {"name": "few", "max": size, "per": 3_600_000, "burst": size, "scope": "Sidecar"}


def test_a_change_of_the_inner_pool_changes_the_digest_of_the_outer_one_and_of_no_other() -> None:
    def digests(weight: int) -> dict[str, str]:
        pools = [
            a_pool("a", [a_target("x", weight=weight)]),
            a_chain("b", a_pool_target("a")),
            a_chain("c", a_pool_target("b")),
            a_pool("d", [a_target("x")]),
        ]
        snapshot = compile_config(a_config(pools))
        return {name: pool.digest for name, pool in snapshot.pools.items()}

    before, after = digests(1), digests(2)
    assert {name for name in before if before[name] != after[name]} == {"a", "b", "c"}


def test_a_price_is_a_mean_by_weight() -> None:
    def declared(name: str, price: str) -> contract.Provider:
        told = {"input_per_million": price, "cached_input_per_million": price, "output_per_million": price}
        return a_provider(name, models=({"name": f"{name}-model", "prices": told},))

    near = a_pool("near", [a_target("east", weight=3), a_target("west")])
    chat = a_chain("chat", a_pool_target("near"), a_target("far"), strategy="LowestCost")
    for price, first in (("2.1", "near/east"), ("1.9", "far")):
        providers = [declared("east", "1"), declared("far", price), declared("west", "5")]
        pool = the_pool(a_snapshot([chat, near], providers))
        assert begin(pool)[1].name == first, "3 parts of 1 and one of 5 are 2"


def test_the_walk_ends_where_no_way_is_open() -> None:
    pool, state = the_pool(regions(last_resort="Refuse")), State()
    for name in pool.targets:
        cool(state, pool, name)
    walk = Dispatch(pool, state, "chat", NOW + 9, lambda: 0.0, lambda _target: ())
    assert isinstance(walk.next(NOW), Stop)
