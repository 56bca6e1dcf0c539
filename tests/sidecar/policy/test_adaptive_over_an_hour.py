"""An adaptive limit over an hour, in front of a capacity that nobody tells it: it finds it, and keeps to it (B39)."""

import re
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from adaptive_simulation import CAPACITY, SERVICE, Simulation, walked
from modelpool_sidecar.core import adaptive

HOUR = 3_600.0
PAGE = Path(__file__).parents[3] / "docs" / "limits.md"


def coming(now: float) -> float:
    """Clients: one more each second."""
    return 1 + now


def steady(capacity: int) -> Callable[[float], int]:
    return lambda _now: capacity


@pytest.mark.parametrize("capacity", [2, 5, 20, 100])
def test_where_the_provider_refuses_it_moves_between_three_quarters_and_one_more(capacity: int) -> None:
    sim = Simulation(steady(capacity), [200], queues=False, demand=coming).run(HOUR)
    limits = sim.of(0, 600, HOUR)
    assert min(limits) >= int(adaptive.BACK * (capacity + 1))
    assert max(limits) <= capacity + 1
    assert mean(limits) >= 0.85 * capacity


@pytest.mark.parametrize("capacity", [5, 20, 100])
def test_where_the_provider_keeps_a_line_it_moves_between_a_half_and_a_third_above(capacity: int) -> None:
    sim = Simulation(steady(capacity), [200], queues=True, demand=coming).run(HOUR)
    limits = sim.of(0, 600, HOUR)
    assert min(limits) >= capacity // 2
    assert max(limits) <= capacity * 4 / 3 + 2
    assert mean(limits) >= 0.75 * capacity


def test_requests_that_are_refused_on_the_way_are_few() -> None:
    sim = Simulation(steady(20), [200], queues=False, demand=coming).run(HOUR)
    [sidecar] = sim.sidecars
    assert sidecar.refused < 0.01 * sidecar.served
    assert sidecar.served > 0.8 * 20 * HOUR / 2


@pytest.mark.parametrize("queues", [False, True])
def test_it_follows_a_capacity_that_doubles_and_halves(queues: bool) -> None:
    sim = Simulation(
        lambda now: 40 if 1_200 <= now < 2_400 else 20, [200], queues=queues, demand=coming
    ).run(HOUR)  # fmt: skip
    assert mean(sim.of(0, 600, 1_200)) < 21
    assert mean(sim.of(0, 1_300, 2_400)) > 0.75 * 40, "a place more each round: found within 100 s"
    assert max(sim.of(0, 2_420, HOUR)) <= 20 * 4 / 3 + 2, "halved: found within 20 s"


@pytest.mark.parametrize("queues", [False, True])
def test_two_sidecars_get_the_same(queues: bool) -> None:
    sim = Simulation(steady(20), [200, 200], queues=queues, demand=coming).run(HOUR)
    one, two = (mean(sim.of(index, 600, HOUR)) for index in (0, 1))
    assert 0.8 < one / two < 1.25
    assert 0.75 * 20 < one + two < 21
    first, second = sim.sidecars
    assert 0.8 < first.served / second.served < 1.25


def test_what_is_never_reached_is_never_lowered() -> None:
    sim = Simulation(steady(20), [50], queues=True, demand=lambda _now: 10).run(HOUR)
    assert set(sim.of(0, 0, HOUR)) == {50}


def test_a_target_that_refuses_and_cools_does_more_of_its_work_where_the_limit_is_found_out() -> None:
    """With the cooldowns of B35: without it each refusal costs seconds in which nothing is sent there."""
    fixed, found = walked("Fixed", 900), walked("Adaptive", 900)
    assert found.answered["primary"] > 8 * fixed.answered["primary"]
    assert found.answered["primary"] > 0.6 * 900 * CAPACITY / SERVICE
    fixed, found = walked("Fixed", 900, retry_after=1.0), walked("Adaptive", 900, retry_after=1.0)
    assert found.answered["primary"] > fixed.answered["primary"]
    assert found.refused < fixed.refused / 10


def test_the_page_says_what_was_simulated() -> None:
    text = re.sub(r"\s+", " ", PAGE.read_text(encoding="utf-8"))
    assert "between three quarters of it and one more" in text
    assert "between a half of it and a third more" in text
    assert f"the median of {adaptive.SAMPLES} of them" in text
    assert f"{adaptive.RISE:g} times" in text
    assert f"to three quarters ({adaptive.BACK:g}) of what was in flight" in text
