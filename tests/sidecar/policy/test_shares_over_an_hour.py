"""Law of issue 5: ramp, cooldown and shaping never oscillate, simulated over an hour of virtual time (B36, B39).

"Oscillate" is said in numbers: the share turns round by the stated amplitude no more often than the stated count. What
makes it turn at all is named in each test: the demand, the provider's own window, a fault.
"""

import pytest

from account_simulation import PER, Account, Told, hour, turns


def demand(now: float) -> float:
    """20 requests a second, 40 in the second third of the hour; half of them are meant for the small account."""
    return 40.0 if 1200 <= now < 2400 else 20.0


SETTLED = ((300, 1200), (1500, 2400), (2700, 3600))
"""Seconds, five minutes after each change of demand."""


def spreads(told: Told) -> list[float]:
    return [max(told.shares[begin:end]) - min(told.shares[begin:end]) for begin, end in SETTLED]


@pytest.mark.parametrize("latency", [(0.2, 2.0), (1.0, 8.0)])
@pytest.mark.parametrize("limit", [300.0, 600.0])
def test_before_an_account_that_fills_evenly_the_share_settles(limit: float, latency: tuple[float, float]) -> None:
    shaped = hour(Account(limit), demand, latency=latency)
    plain = hour(Account(limit), demand, latency=latency, shaped=False)
    assert plain.refused > 3_000
    assert shaped.refused < plain.refused / 100, "the 429s are spared, not moved"
    assert shaped.served_small > 0.97 * plain.served_small, "and the account is used as much as before"
    assert max(spreads(shaped)) < 0.4, "it settles"
    assert shaped.swings(0.4, 0, 3600) <= 2, "and turns round by more for the two changes of demand alone"


@pytest.mark.parametrize("limit", [300.0, 600.0])
def test_before_a_window_that_fills_at_once_the_share_swings_once_a_window(limit: float) -> None:
    """The account itself goes from full to empty in each window: one way down and one up is what there is to do."""
    shaped = hour(Account(limit, window=True), demand)
    plain = hour(Account(limit, window=True), demand, shaped=False)
    assert shaped.refused < plain.refused / 10
    assert shaped.served_small > 0.9 * plain.served_small
    assert shaped.swings(0.2, 0, 3600) <= 2 * 3600 / PER


def test_an_account_that_is_large_enough_is_never_shaped() -> None:
    told = hour(Account(5_000.0), demand)
    assert (set(told.shares), told.refused) == ({1.0}, 0)


def test_outages_are_ramped_out_of_once_each() -> None:
    """Cooldown, probe and ramp in the same hour as a large account: down and up for each of two outages, no more."""
    told = hour(Account(5_000.0), demand, fault=lambda now: 600 <= now < 700 or 2600 <= now < 2660)
    assert told.swings(0.2, 0, 3600) <= 4
    assert set(told.shares[1000:2500]) == {1.0}


def test_a_shaped_account_that_fails_comes_back_to_the_share_that_it_had() -> None:
    """Ramp times shape, after an outage in which the account filled up: it settles where it was."""
    told = hour(Account(300.0), lambda _now: 20.0, fault=lambda now: 1200 <= now < 1300)
    before, after = told.shares[600:1200], told.shares[1800:3600]
    assert abs(sum(before) / len(before) - sum(after) / len(after)) < 0.05
    assert max(after) - min(after) < 0.4
    assert told.swings(0.4, 0, 3600) <= 4


def test_turning_points_are_counted_by_their_amplitude() -> None:
    assert list(turns([0.0, 1.0, 0.9, 1.0, 0.0, 0.1, 0.0], 0.5)) == [1.0]
    assert list(turns([0.5, 0.4, 0.5, 0.4], 0.3)) == []
    assert list(turns([1.0, 0.0, 1.0], 0.5)) == [0.0]
