"""The script that measures the policy walks what a request walks, for every strategy and every kind of limit."""

import pytest

import walk


@pytest.mark.parametrize("case", walk.CASES)
def test_a_walk_of_each_case_is_measured(case: str) -> None:
    [(name, cost)] = walk.measure([case], 50).items()
    assert name == case
    assert 0 < cost < 100_000


def test_the_table_names_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert walk.main(["10", "RoundRobin"]) == 0
    assert capsys.readouterr().out.split()[0] == "RoundRobin"
