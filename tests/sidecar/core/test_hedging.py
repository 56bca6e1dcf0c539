"""When a second target is asked, and how often (B23)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core.hedging import BURST, SAMPLES, Answers, Hedges, HedgesByPool, Hedging, least

P95 = Hedging(95, None, 5)
FIXED = Hedging(None, 0.25, 5)


def told(hedges: Hedges, *seconds: float, operation: str = "chat", stream: bool = True) -> Hedges:
    for each in seconds:
        hedges.answered(operation, each, stream=stream)
    return hedges


# -- when


@pytest.mark.parametrize(
    ("percent", "after"),
    [(50, 50.0), (75, 75.0), (90, 90.0), (95, 95.0), (99, 99.0)],
)
def test_a_percentile_is_what_so_many_in_a_hundred_took_at_most(percent: int, after: float) -> None:
    seconds = [float(each) for each in range(1, 101)]
    random.Random(1).shuffle(seconds)
    assert told(Hedges(), *seconds).delay(Hedging(percent, None, 5), "chat", stream=True) == after


@pytest.mark.parametrize(("percent", "needed"), [(50, 20), (90, 20), (95, 20), (96, 25), (98, 50), (99, 100)])
def test_a_percentile_of_too_few_answers_is_none(percent: int, needed: int) -> None:
    answers = Answers()
    for _ in range(needed - 1):
        answers.add(1.0)
    assert answers.percentile(percent) is None
    answers.add(1.0)
    assert answers.percentile(percent) == 1.0
    assert least(percent) == needed


def test_a_fixed_delay_needs_no_answers() -> None:
    assert Hedges().delay(FIXED, "chat", stream=True) == 0.25


def test_each_operation_and_streams_are_measured_for_themselves() -> None:
    hedges = told(Hedges(), *[1.0] * 20)
    told(hedges, *[9.0] * 20, stream=False)
    assert hedges.delay(P95, "chat", stream=True) == 1.0
    assert hedges.delay(P95, "chat", stream=False) == 9.0
    assert hedges.delay(P95, "embeddings", stream=False) is None


def test_what_is_long_past_counts_no_more() -> None:
    hedges = told(Hedges(), *[60.0] * SAMPLES, *[1.0] * SAMPLES)
    assert hedges.delay(Hedging(99, None, 5), "chat", stream=True) == 1.0


@given(st.lists(st.floats(0, 600), min_size=20, max_size=3 * SAMPLES), st.integers(50, 95))
def test_a_percentile_is_that_of_the_last_answers_and_memory_is_bounded(seconds: list[float], percent: int) -> None:
    answers = Answers()
    for each in seconds:
        answers.add(each)
    last = sorted(seconds[-SAMPLES:])
    found = answers.percentile(percent)
    assert found is not None
    assert len(answers) == len(last)
    no_longer = sum(each <= found for each in last)
    shorter = sum(each < found for each in last)
    assert no_longer * 100 >= percent * len(last) > shorter * 100


# -- how often


def test_every_request_earns_its_hundredths() -> None:
    hedges = Hedges()
    for _ in range(19):
        hedges.request(P95)
    assert hedges.left == 0
    hedges.request(P95)
    assert hedges.left == 1
    hedges.take()
    assert hedges.left == 0


def test_a_calm_hour_saves_up_no_more_than_a_few() -> None:
    hedges = Hedges()
    for _ in range(100_000):
        hedges.request(P95)
    assert hedges.left == BURST


@given(st.integers(1, 100), st.lists(st.booleans(), max_size=400))
def test_at_no_time_are_there_more_hedges_than_the_share_of_the_requests_that_came(
    percent: int, slow: list[bool]
) -> None:
    hedges, hedging, taken = Hedges(), Hedging(None, 0.1, percent), 0
    for came, each in enumerate(slow, 1):
        hedges.request(hedging)
        if each and hedges.left:
            hedges.take()
            taken += 1
        assert taken * 100 <= came * percent


# -- by pool


def test_what_no_pool_hedges_any_more_is_forgotten_and_the_rest_outlives_a_reload() -> None:
    pools = HedgesByPool()
    told(pools.of("chat"), *[1.0] * 20)
    told(pools.of("gone"), *[1.0] * 20)
    pools.retain({"chat"})
    assert repr(pools) == "<HedgesByPool 1>"
    assert pools.of("chat").delay(P95, "chat", stream=True) == 1.0
    assert pools.of("gone").delay(P95, "chat", stream=True) is None


def test_looking_makes_nothing() -> None:
    pools = HedgesByPool()
    assert pools.describe("chat", P95) == {
        "percentile": 95,
        "delayMs": None,
        "maxPercent": 5,
        "left": 0,
        "waits": [],
    }
    assert repr(pools) == "<HedgesByPool 0>"


def test_the_state_tells_when_a_second_target_would_be_asked() -> None:
    hedges = told(Hedges(), *[0.25] * 20)
    told(hedges, 1.0, operation="embeddings", stream=False)
    assert hedges.describe(P95)["waits"] == [
        {"operation": "chat", "stream": True, "samples": 20, "afterMs": 250.0},
        {"operation": "embeddings", "stream": False, "samples": 1, "afterMs": None},
    ]
    assert hedges.describe(FIXED)["delayMs"] == 250.0
    assert hedges.describe(FIXED)["waits"] == []
    assert repr(hedges) == "<Hedges: 0 earned>"
    assert repr(Answers()) == "<Answers 0>"
