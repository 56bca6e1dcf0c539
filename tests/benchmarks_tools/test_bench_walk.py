"""The script that measures the policy walks what a request walks, for every strategy."""

import pytest

import walk
from modelpool_config.models import StrategyName


@pytest.mark.parametrize("strategy", walk.STRATEGIES)
def test_a_walk_of_each_strategy_is_measured(strategy: StrategyName) -> None:
    assert 0 < walk.measure(strategy, 50) < 100_000


def test_the_table_names_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert walk.main(["10", "RoundRobin"]) == 0
    assert capsys.readouterr().out.split()[0] == "RoundRobin"
