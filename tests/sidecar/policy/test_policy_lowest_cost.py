"""LowestCost: the cheapest target by its declared prices; what has no price is not free (B1, B2, B14)."""

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_target
from modelpool_sidecar.core import cost
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.cost import Prices
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

NOW = 1000.0


def priced(*prices: tuple[str, str | None] | None, weights: tuple[int, ...] = (), model: str | None = "m") -> Snapshot:
    """Targets t0, t1, ... whose model has these prices of input and output; None: no price at all."""
    targets = [a_target(f"t{at}", model=model, weight=weights[at] if weights else 1) for at in range(len(prices))]
    providers = [
        a_provider(f"t{at}", models=() if each is None else ({"name": "m", "prices": _prices(*each)},))
        for at, each in enumerate(prices)
    ]
    pools = [a_pool(targets=targets, strategy="LowestCost", requires=("strategies", "lowest-cost"))]
    return compile_config(a_config(pools, providers))


def _prices(given: str, taken: str | None) -> dict[str, str | None]:
    return {"inputPerMillion": given, "cachedInputPerMillion": given, "outputPerMillion": taken}


def the_pool(snapshot: Snapshot) -> Pool:
    pool = snapshot.pools["chat"]
    assert isinstance(pool, Pool)
    return pool


def walk(snapshot: Snapshot, state: State, rng: random.Random, **more: Any) -> Dispatch:
    fields: dict[str, Any] = {"operation": "chat", **more}
    return Dispatch(
        pool=the_pool(snapshot), state=state, deadline=NOW + 600, rng=rng.random, missing=lambda _: (), **fields
    )


def chosen(snapshot: Snapshot, count: int = 100, state: State | None = None, **more: Any) -> Counter[str]:
    state, rng, seen = state or State(), random.Random(1), Counter[str]()
    for _ in range(count):
        one = walk(snapshot, state, rng, **more)
        step = one.next(NOW)
        assert isinstance(step, Try)
        seen[step.target.name] += 1
        one.complete(Outcome.OK, NOW)
    return seen


@pytest.mark.parametrize(
    ("prices", "goes"),
    [
        ([("2", "4"), ("1", "4")], {"t1"}),
        ([("1", "9"), ("2", "4")], {"t1"}),  # 3 * 1 + 9 > 3 * 2 + 4
        ([None, ("100", "100")], {"t1"}),
        ([("1", None), ("100", "100")], {"t1"}),
        ([("0", "0"), ("0.01", "0")], {"t0"}),
        ([("1", "1"), ("1", "1")], {"t0", "t1"}),
        ([None, None], {"t0", "t1"}),
    ],
)
def test_the_cheapest_serves_and_unpriced_is_not_free(prices: list[Any], goes: set[str]) -> None:
    assert set(chosen(priced(*prices))) == goes


def test_of_equal_prices_one_is_drawn_by_weight() -> None:
    seen = chosen(priced(("1", "1"), ("1.0", "1.00"), weights=(3, 1)), 4000)
    assert 2800 < seen["t0"] < 3200


def test_embeddings_are_compared_by_their_input_alone() -> None:
    assert set(chosen(priced(("2", None), ("1", None)), operation="embeddings")) == {"t1"}


def test_where_the_clients_name_is_passed_on_its_price_counts() -> None:
    snapshot = priced(("9", "9"), ("1", "1"), model=None)
    assert set(chosen(snapshot, model="m")) == {"t1"}
    assert set(chosen(snapshot, model="other")) == {"t0", "t1"}


def test_a_failure_goes_to_the_next_cheapest_and_drained_ones_come_last() -> None:
    """B2, B4."""
    snapshot = priced(("1", "1"), ("3", "3"), ("2", "2"), ("0", "0"), weights=(1, 1, 1, 0))
    one, asked = walk(snapshot, State(), random.Random(1)), []
    while isinstance(step := one.next(NOW), Try):
        asked.append(step.target.name)
        one.observe(Failure(step.target.name, step.target.provider.name, Outcome.FAILED, "", status=500), NOW)
    assert asked == ["t0", "t2", "t1", "t3"]


def test_one_that_comes_back_takes_a_tenth_at_first() -> None:
    """B36: the cheapest too is not hit at once by everything."""
    snapshot, state, rng = priced(("1", "1"), ("2", "2")), State(), random.Random(3)
    health = state.health(the_pool(snapshot).targets["t0"])
    for at in range(10):
        health.end(health.begin(NOW - 60 + at), Outcome.FAILED, NOW - 60 + at, rng.random)
    for _ in range(2):
        health.end(health.begin(NOW - 0.001), Outcome.OK, NOW - 0.001, rng.random)
    seen = chosen(snapshot, 2000, state)
    assert 100 < seen["t0"] < 320


def test_the_state_tells_the_price_that_is_compared() -> None:
    snapshot, state = priced(("0.15", "0.6"), None), State()
    pool = the_pool(snapshot)
    told = [state.learned.describe(pool, pool.targets[name]) for name in ("t0", "t1")]
    assert told == [{"price": "1.05"}, {"price": None}]


def test_money_stays_decimal() -> None:
    prices = Prices(Decimal("0.1"), Decimal("0.1"), Decimal("0.2"))
    assert cost.expected(prices) == Decimal("0.5")
    assert cost.expected(prices, answers=False) == Decimal("0.3")
    assert cost.expected(Prices(Decimal(1), Decimal(1), None)) is None
    assert cost.expected(None) is None
