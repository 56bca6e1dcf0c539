"""How many sidecars a namespace is said to have."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelpool_operator.sidecarcount import SHRINK_SECONDS, Count, counted, due


def _told(count: Count, *looks: tuple[float, int]) -> list[int]:
    """What is told after each look: at a second, with so many pods."""
    told = []
    for now, pods in looks:
        count = counted(count, pods, now)
        told.append(count.told)
    return told


def test_more_are_told_at_once() -> None:
    assert _told(Count(1), (0, 3), (0.1, 5)) == [3, 5]


def test_none_counts_as_one_because_a_limit_is_divided_by_it() -> None:
    assert _told(Count(1), (0, 0)) == [1]
    assert _told(Count(3), (0, 0), (SHRINK_SECONDS, 0)) == [3, 1]


def test_fewer_are_told_only_after_a_minute_below() -> None:
    assert _told(Count(5), (0, 3), (59.9, 3), (60, 3)) == [5, 5, 3]


def test_the_minute_begins_anew_when_the_number_was_reached_again() -> None:
    assert _told(Count(5), (0, 3), (50, 5), (60, 3), (119, 3), (120, 3)) == [5, 5, 5, 5, 3]


def test_the_largest_number_of_the_minute_is_told_and_not_the_last() -> None:
    assert _told(Count(9), (0, 2), (30, 7), (60, 2), (119, 2), (120, 2)) == [9, 9, 7, 7, 2]


def test_the_time_to_look_again_is_told_while_a_smaller_number_waits() -> None:
    count = counted(Count(5), 3, 10.0)
    assert due(count) == 10.0 + SHRINK_SECONDS
    assert due(counted(count, 3, 70.0)) is None
    assert due(Count(5)) is None


@pytest.mark.parametrize(("surge", "unavailable"), [(3, 0), (0, 3), (3, 2), (10, 0), (0, 10)])
def test_a_rollout_changes_the_number_twice_at_most(surge: int, unavailable: int) -> None:
    """New pods come together, then old ones go and new ones come one by one, each step within a minute."""
    pods = 10
    looks = [(0.0, pods), (1.0, pods + surge)]
    for step in range(pods):
        looks.append((2.0 + 20 * step, pods + surge - max(1, unavailable)))
        looks.append((12.0 + 20 * step, pods + surge))
    end = looks[-1][0]
    looks += [(end + 1, pods), (end + 61, pods), (end + 200, pods)]
    told = _told(Count(pods), *looks)
    assert sum(before != after for before, after in pairwise([pods, *told])) <= 2
    assert told[-1] == pods


_looks = st.lists(st.tuples(st.floats(0.0, 90.0, width=32), st.integers(0, 12)), min_size=1, max_size=40)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), _looks)
def test_never_fewer_are_told_than_there_were_in_the_last_minute(first: int, steps: list[tuple[float, int]]) -> None:
    count, now = Count(first), 0.0
    seen: list[tuple[float, int]] = [(0.0, first)]
    for wait, pods in steps:
        now += wait
        # What was there last was there until now.
        seen += [(now, seen[-1][1]), (now, pods)]
        count = counted(counted(count, seen[-2][1], now), pods, now)
        assert count.told >= max(number for at, number in seen if at + SHRINK_SECONDS > now)
        assert count.told >= 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 12), _looks, st.integers(0, 12))
def test_a_number_that_stays_is_told_after_two_minutes_at_most(
    first: int, steps: list[tuple[float, int]], last: int
) -> None:
    count, now = Count(first), 0.0
    for wait, pods in steps:
        now += wait
        count = counted(count, pods, now)
    count = counted(count, last, now)
    looks = 0
    while (again := due(count)) is not None:
        assert again > now
        now, looks = again, looks + 1
        count = counted(count, last, now)
    assert count.told == max(1, last)
    assert looks <= 2
