"""20,000 requests of which some are slow, on virtual time: what hedging does to the waits, and what it costs (B23)."""

import re
from pathlib import Path

import pytest

import slow_answers

TEXT = (Path(__file__).parents[3] / "docs" / "fallback.md").read_text(encoding="utf-8")
RUNS = {rule: slow_answers.Run(hedging) for rule, hedging in slow_answers.RULES.items()}


@pytest.mark.parametrize("rule", RUNS)
def test_the_page_shows_these_figures(rule: str) -> None:
    assert f"\n{slow_answers.row(rule, RUNS[rule])}\n" in TEXT


def test_the_page_has_no_other_rows() -> None:
    section = TEXT.split("\n## Hedging\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE) == ["hedging", *RUNS]


def test_the_slowest_hundredth_waits_a_third_of_the_time() -> None:
    assert RUNS["percentile: 95"].percentile(99) < RUNS["none"].percentile(99) / 3


@pytest.mark.parametrize("rule", [rule for rule, hedging in slow_answers.RULES.items() if hedging is not None])
def test_second_requests_are_no_more_than_their_share(rule: str) -> None:
    hedging = slow_answers.RULES[rule]
    assert hedging is not None
    assert 0 < RUNS[rule].asked <= slow_answers.REQUESTS * hedging.max_percent / 100


def test_nothing_is_left_in_flight() -> None:
    for run in RUNS.values():
        assert not any(run.state.health(target).in_flight for target in run.pool.targets.values())
