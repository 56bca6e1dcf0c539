"""What an answer costs is counted exactly, and nothing that has no price looks as if it were free (B14)."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_config, a_pool, a_provider
from modelpool_sidecar.core import cost
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.cost import Prices
from modelpool_sidecar.core.record import Usage

PRICES = Prices(Decimal("0.15"), Decimal("0.075"), Decimal("0.6"))
ONE_WAY = Prices(Decimal("0.02"), Decimal("0.02"), None)

_prices = st.decimals(0, 999_999_999, places=9)
_tokens = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("usage", "prices", "told"),
    [
        (Usage(1_000_000, 1_000_000), PRICES, "0.75"),
        (Usage(1_000, 0, cached_tokens=400), PRICES, "0.00012"),
        (Usage(1, 1), PRICES, "0.00000075"),
        (Usage(10, None), ONE_WAY, "0.0000002"),
        (Usage(10, 0), ONE_WAY, "0.0000002"),
        (Usage(0, 0), PRICES, "0"),
        (Usage(10, 5, cached_tokens=99), PRICES, "0.00000375"),
    ],
)
def test_a_cost_is_told_as_people_write_it(usage: Usage, prices: Prices, told: str) -> None:
    found = cost.of(usage, prices)
    assert found is not None
    assert cost.plain(found) == told


@pytest.mark.parametrize(
    ("usage", "prices"),
    [
        (Usage(), PRICES),
        (Usage(None, 5), PRICES),
        (Usage(10, 5), ONE_WAY),
        (Usage(10**13, 5), PRICES),
        (Usage(10, 10**13), PRICES),
    ],
    ids=["no tokens told", "no input told", "output without a price", "nonsense of input", "nonsense of output"],
)
def test_what_cannot_be_told_is_no_cost_of_nothing(usage: Usage, prices: Prices) -> None:
    assert cost.of(usage, prices) is None


@given(_prices, _prices, _prices, _tokens, _tokens, _tokens)
def test_no_digit_of_a_cost_is_lost(
    each: Decimal, cached: Decimal, output: Decimal, tokens_in: int, tokens_cached: int, tokens_out: int
) -> None:
    found = cost.of(Usage(tokens_in, tokens_out, tokens_cached), Prices(each, cached, output))
    of_cache = min(tokens_in, tokens_cached)
    exact = Fraction(each) * (tokens_in - of_cache) + Fraction(cached) * of_cache + Fraction(output) * tokens_out
    assert found is not None
    assert Fraction(found) == exact / 1_000_000
    assert Fraction(Decimal(cost.plain(found))) == exact / 1_000_000


def test_a_snapshot_knows_the_prices_of_models_that_have_some() -> None:
    models = (
        {"name": "known"},
        {
            "name": "in",
            "prices": {"inputPerMillion": "0.02", "cachedInputPerMillion": "0.02", "outputPerMillion": None},
        },
        {"name": "x", "prices": {"inputPerMillion": "1", "cachedInputPerMillion": "0.5", "outputPerMillion": "2.0"}},
    )
    config = a_config([a_pool()], [a_provider(models=models)])
    assert compile_config(config).providers["primary"].prices == {
        "in": ONE_WAY,
        "x": Prices(Decimal(1), Decimal("0.5"), Decimal("2.0")),
    }
