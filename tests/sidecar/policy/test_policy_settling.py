"""What is given back when it is known what was used, however many are open (B10, B11): as if it had always been so.

The law: at every moment a bucket is as full as if each request had taken at its admission what it is known to have used
by now, and what it used beyond its reserve at the moment at which that was known. The reference plays the whole history
again in exact fractions.
"""

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from builders import a_pool, a_snapshot, the_pool
from modelpool_sidecar.core.allowance import NOBODY, Asker, Tokens
from modelpool_sidecar.core.gcra import Gcra, Hold, Shape
from modelpool_sidecar.core.levels import ROWS, Levels
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.state import State

shapes = st.tuples(st.integers(1, 1_000), st.integers(1, 100), st.integers(1, 500))
pauses = st.integers(0, 3_000_000) | st.integers(0, 50)
which = st.integers(0, 30)
takes = st.tuples(st.just("take"), st.integers(0, 300))
ends = st.tuples(st.just("settle"), which, st.integers(0, 300)) | st.tuples(st.just("close"), which)
steps = st.lists(st.tuples(pauses, takes | ends), max_size=60)


class History:
    """What was taken when, as far as it is known by now; shapes change in between. Exact."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.events: list[tuple[Fraction, Any]] = [(Fraction(0), shape)]

    def take(self, at: int, amount: int) -> int:
        self.events.append((Fraction(at, 10**6), amount))
        return len(self.events) - 1

    def resize(self, at: int, shape: tuple[int, int, int]) -> None:
        self.events.append((Fraction(at, 10**6), shape))

    def known(self, event: int, used: int) -> None:
        at, amount = self.events[event]
        self.events[event] = at, min(amount, used)

    def level(self, now: int) -> Fraction:
        """In requests, or tokens."""
        level, last, shape = Fraction(0), Fraction(0), self.events[0][1]
        for at, what in (*self.events, (Fraction(now, 10**6), 0)):
            level = max(Fraction(0), level - (at - last) * Fraction(shape[0], shape[1]))
            last = at
            if isinstance(what, int):
                level += what
            else:
                level, shape = level * Fraction(what[2], shape[2]), what
        return level


def play(shape: tuple[int, int, int], steps: Sequence[tuple[int, Any]], slack: Fraction = Fraction(0)) -> Gcra:
    """Both go through the same; the bucket is never emptier than the history, and never fuller than by `slack`."""
    bucket, history, micros = Gcra(Shape.of(*shape)), History(shape), 10**9
    running: list[tuple[Hold, int]] = []
    for pause, step in steps:
        micros += pause
        now = micros / 1e6
        if step[0] == "take":
            running.append((bucket.take(now, step[1]), history.take(micros, step[1])))
        elif step[0] == "resize":
            bucket.resize(Shape.of(*step[1]), now)
            history.resize(micros, step[1])
        elif running:
            hold, event = running.pop(step[1] % len(running))
            if step[0] == "settle":
                history.known(event, step[2])
                more = hold.settle(step[2], now)
                if more:
                    history.take(micros, more)
                    bucket.take(now, more).close()
            hold.close()
        exact = history.level(micros)
        assert 0 <= Fraction(bucket.level(now), bucket.per) - exact <= slack
    for hold, _ in running:
        hold.close()
    assert bucket.top is None, "what is over leaves nothing behind"
    return bucket


@effort(max_examples=400, deadline=None)
@given(shapes, steps)
def test_however_many_are_open_and_in_whatever_order_they_end_it_is_as_if_only_what_was_used_had_been_taken(
    shape: tuple[int, int, int], steps: list[tuple[int, Any]]
) -> None:
    play(shape, steps)


@effort(max_examples=200, deadline=None)
@given(shapes, st.lists(st.tuples(pauses, takes | ends | st.tuples(st.just("resize"), shapes)), max_size=40))
def test_after_another_shape_what_is_owed_is_worth_what_the_used_share_is(
    shape: tuple[int, int, int], steps: list[tuple[int, Any]]
) -> None:
    """B8: never too much; too little by at most what rounding to the microsecond is worth."""
    play(shape, steps, Fraction(1, 100))


def test_a_long_day_of_overlapping_answers_stays_exact() -> None:
    rng = random.Random(7)
    steps: list[tuple[int, Any]] = []
    for _ in range(700):
        kind = rng.choice(["take", "take", "settle", "close"])
        steps.append((rng.choice([0, rng.randrange(300_000)]), (kind, rng.randrange(40), rng.randrange(40))))
    play((100, 2, 500), steps)


@effort(max_examples=100, deadline=None)
@given(shapes, steps)
def test_what_was_really_used_is_never_more_than_the_bucket_gives(
    shape: tuple[int, int, int], steps: list[tuple[int, Any]]
) -> None:
    """B8: only what is admitted is taken, and nobody uses more than was reserved; any number of them are open."""
    (maximum, per, burst), bucket, micros = shape, Gcra(Shape.of(*shape)), 10**9
    used: list[tuple[int, int]] = []
    running: list[tuple[Hold, int]] = []
    for pause, step in steps:
        micros += pause
        now = micros / 1e6
        if step[0] == "take" and bucket.wait(now, step[1]) == 0:
            running.append((bucket.take(now, step[1]), len(used)))
            used.append((micros, step[1]))
        elif step[0] == "settle" and running:
            hold, index = running.pop(step[1] % len(running))
            spent = min(hold.amount, step[2])
            hold.settle(spent, now)
            hold.close()
            used[index] = (used[index][0], spent)
    for index, (first, _) in enumerate(used):
        total = 0
        for at, amount in used[index:]:
            total += amount
            assert total <= burst + Fraction(at - first, 10**6) * maximum / per


def test_an_answer_that_takes_longer_than_its_reserve_drains_still_gives_back_what_it_did_not_use() -> None:
    """Behind it others came: while they fill the bucket, what drains is theirs as much as its own."""
    bucket = Gcra(Shape.of(100, 1.0, 1_000))
    slow = bucket.take(0.0, 500)
    others = [bucket.take(float(second), 100) for second in range(1, 11)]
    assert bucket.remaining(10.0) == 500
    assert repr(slow) == "<Hold of 500>"
    slow.settle(100, 10.0)
    assert bucket.remaining(10.0) == 900
    assert len(others) == 10


def test_what_had_drained_to_the_bottom_is_given_out_again_already() -> None:
    bucket = Gcra(Shape.of(100, 1.0, 1_000))
    early = bucket.take(0.0, 500)
    late = bucket.take(20.0, 1_000)
    early.settle(0, 20.0)
    assert bucket.remaining(20.0) == 0
    late.settle(400, 20.0)
    assert bucket.remaining(20.0) == 600


def test_several_that_shared_what_is_left_get_it_back_once() -> None:
    bucket = Gcra(Shape.of(100, 1.0, 1_000))
    holds = [bucket.take(0.0, 100) for _ in range(3)]
    bucket.take(2.5, 500)  # 50 of the 300 are left then
    for hold in holds:
        hold.settle(0, 2.5)
    assert bucket.remaining(2.5) == 500


@pytest.mark.parametrize("burst", [500, 2_000])
def test_a_reserve_of_half_the_limit_is_half_of_another_limit(burst: int) -> None:
    bucket = Gcra(Shape.of(1_000, 60.0, 1_000))
    hold = bucket.take(5.0, 500)
    bucket.resize(Shape.of(burst, 60.0, burst), 5.0)
    hold.settle(0, 5.0)
    assert bucket.remaining(5.0) == burst


def test_limits_that_meet_in_new_company_again_and_again_still_count() -> None:
    """What is remembered of those that are met together is bounded."""
    limit = {"name": "minute", "max": 9_000, "per": 60_000, "burst": 9_000, "scope": "Sidecar"}
    [minute] = the_pool(a_snapshot([a_pool(limits={"requests": (limit,)})])).request_limits
    levels = Levels()
    for _ in range(ROWS + 2):
        levels.find([minute], NOBODY, 1.0).take().close()
    assert levels.describe(minute, 1.0)["remaining"] == 9_000 - ROWS - 2


def test_a_permit_that_is_let_go_leaves_no_hold_behind() -> None:
    """B11: settled, given back, or just over."""
    limit = {"name": "minute", "max": 9_000, "per": 60_000, "burst": 9_000, "scope": "Sidecar", "count": "Total"}
    pool = the_pool(a_snapshot([a_pool(limits={"tokens": (limit,)})]))
    state, ends = State(), ("settle", "refund", "release")
    for end in ends * 2:
        permit = state.admit(pool, 1.0, Asker(tokens=Tokens(1_000, 100)))
        assert isinstance(permit, Permit)
        if end == "settle":
            permit.settle(Tokens(50, 50), 1.0)
        if end == "refund":
            permit.refund(1.0)
        permit.release()
    [bucket] = state.levels.buckets.of(pool.request_limits[0].key).values()
    assert bucket.top is None
    assert bucket.remaining(1.0) == 9_000 - 2 * 100 - 2 * 1_100
    assert isinstance(state.admit(pool, 1.0, Asker(tokens=Tokens(8_000))), Limited)
