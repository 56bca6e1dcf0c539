"""Buckets against an exact model in fractions, and permits that are let go of exactly once."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core.allowance import Asker, RequestLimit, who
from modelpool_sidecar.core.gcra import Gcra, Shape
from modelpool_sidecar.core.grip import Books, Grip
from modelpool_sidecar.core.limits import InFlight, Limited, Permit, duration

REQUESTS = RequestLimit(("pool", "chat", "minute"), "minute", 1, 60.0, 2, False)
shapes = st.tuples(st.integers(1, 1_000), st.integers(1, 100), st.integers(1, 200))
pauses = st.integers(0, 3_000_000)


class Reference:
    """The same bucket as a tank: `level` requests in it, which drain at the limit's rate. Exact."""

    def __init__(self, maximum: int, per: int, burst: int) -> None:
        self.rate, self.burst = Fraction(maximum, per), burst
        self.level, self.at = Fraction(0), Fraction(0)

    def wait(self, now: Fraction) -> Fraction:
        self.level, self.at = max(Fraction(0), self.level - (now - self.at) * self.rate), now
        return max(Fraction(0), (self.level + 1 - self.burst) / self.rate)

    def resize(self, maximum: int, per: int, burst: int, now: Fraction) -> None:
        self.wait(now)
        self.level = self.level * burst / self.burst
        self.rate, self.burst = Fraction(maximum, per), burst


@given(shapes, st.lists(pauses, max_size=100))
def test_it_admits_exactly_what_the_exact_model_admits(shape: tuple[int, int, int], steps: list[int]) -> None:
    bucket, reference, micros = Gcra(Shape.of(*shape)), Reference(*shape), 10**12
    for pause in steps:
        micros += pause
        now = micros / 1_000_000
        exact = reference.wait(Fraction(micros, 1_000_000))
        assert (bucket.wait(now) == 0) == (exact == 0)
        assert 0 <= bucket.wait(now) - exact <= Fraction(1, 900_000), "rounded up to the microsecond"
        if exact == 0:
            bucket.take(now)
            reference.level += 1


@given(shapes, st.lists(st.tuples(pauses, st.booleans()), max_size=100))
def test_no_stretch_of_time_admits_more_than_burst_plus_rate(
    shape: tuple[int, int, int], steps: list[tuple[int, bool]]
) -> None:
    (maximum, per, burst), bucket, micros = shape, Gcra(Shape.of(*shape)), 10**9
    admitted: list[int] = []
    returned: list[int] = []
    for pause, give_back in steps:
        micros += pause
        if bucket.wait(micros / 1e6) == 0:
            held = bucket.take(micros / 1e6)
            admitted.append(micros)
            if give_back:
                held.settle(0, micros / 1e6)
                returned.append(micros)
    for index, first in enumerate(admitted):
        for number, last in enumerate(admitted[index:], start=1):
            free = sum(first <= at <= last for at in returned)
            assert number <= burst + Fraction(last - first, 10**6) * maximum / per + free


@given(shapes, st.integers(1, 60))
def test_whoever_waits_as_told_is_admitted_and_a_moment_earlier_nobody_is(
    shape: tuple[int, int, int], spent: int
) -> None:
    bucket, now = Gcra(Shape.of(*shape)), 5_000_000.25
    for _ in range(shape[2]):
        bucket.take(now)
    wait = bucket.wait(now)
    assert wait > 0
    assert bucket.wait(now + wait) == 0
    assert bucket.wait(now + wait - 0.000_002) > 0 or wait <= 0.000_002


@given(shapes, st.lists(st.tuples(pauses, st.none() | shapes), max_size=60))
def test_another_shape_scales_the_used_share_and_refills_nothing(
    shape: tuple[int, int, int], steps: list[tuple[int, tuple[int, int, int] | None]]
) -> None:
    bucket, reference, micros, changes = Gcra(Shape.of(*shape)), Reference(*shape), 10**12, 0
    for pause, other in steps:
        micros += pause
        now, exactly = micros / 1e6, Fraction(micros, 10**6)
        if other is not None:
            bucket.resize(Shape.of(*other), now)
            reference.resize(*other, exactly)
            changes += 1
        wait, exact = bucket.wait(now), reference.wait(exactly)
        assert wait >= exact - Fraction(1, 10**9), "never earlier than the exact model"
        if wait == 0:
            bucket.take(now)
            reference.level += 1


def test_half_a_limit_of_which_two_fifths_were_used_has_two_fifths_used() -> None:
    bucket = Gcra(Shape.of(100, 60.0, 100))
    for _ in range(40):
        bucket.take(10.0)
    bucket.resize(Shape.of(50, 60.0, 50), 10.0)
    assert bucket.remaining(10.0) == 30
    bucket.resize(Shape.of(100, 60.0, 100), 10.0)
    assert bucket.remaining(10.0) == 60
    assert repr(bucket) == "<Gcra 100 per 60 s, burst 100>"


def test_the_same_shape_again_changes_nothing() -> None:
    bucket = Gcra(Shape.of(7, 60.0, 3))
    bucket.take(10.0)
    before = bucket.wait(11.3), bucket.reset(11.3)
    for _ in range(100):
        bucket.resize(Shape.of(7, 60.0, 3), 11.3)
    assert (bucket.wait(11.3), bucket.reset(11.3)) == before


def test_a_limit_that_is_not_divided_has_one_bucket_for_all() -> None:
    assert who(REQUESTS, Asker((("x-tenant", "a"),), "default", "search")) == ""


def test_looking_never_consumes() -> None:
    bucket = Gcra(Shape.of(1, 1.0, 1))
    assert [bucket.wait(1.0) for _ in range(5)] == [0.0] * 5
    assert (bucket.remaining(1.0), bucket.reset(1.0)) == (1, 0.0)


def test_what_is_given_back_to_a_full_bucket_is_no_credit() -> None:
    bucket = Gcra(Shape.of(10, 1.0, 2))
    hold = bucket.take(1.0)
    for _ in range(3):
        hold.settle(0, 1.0)
    bucket.take(1.0)
    bucket.take(1.0)
    assert bucket.wait(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "1ms"),
        (0.12, "120ms"),
        (0.9995, "1s"),
        (1, "1s"),
        (59.2, "1m0s"),
        (12.1, "13s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3725.5, "1h2m6s"),
    ],
)
def test_times_are_written_as_the_openai_api_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_permit_lets_go_once_however_often_it_is_asked() -> None:
    in_flight, bucket = InFlight(), Gcra(Shape.of(1, 60.0, 2))
    permit = Permit(in_flight, Grip(Books(), [(REQUESTS, "", bucket, 0, True)], [bucket.take(1.0)]))
    assert repr(permit) == "<Permit: held>"
    assert repr(in_flight) == "<InFlight 1>"
    permit.refund(1.0)
    permit.refund(1.0)
    permit.release()
    assert (in_flight.count, bucket.remaining(1.0)) == (0, 2)
    assert repr(permit) == "<Permit: released>"


def test_books_say_how_many_buckets_there_are_and_how_many_sidecars_share() -> None:
    assert repr(Books(3)) == "<Books: <Buckets: 0 of 0 limits>>"
    assert repr(Books(3).shares) == "<Shares of 3 sidecars>"


def test_without_a_limit_on_requests_there_are_no_rate_limit_headers() -> None:
    assert Permit(InFlight(), Grip(Books(), [], [])).headers == ()
    assert Limited("concurrency", 1.0, 1, "concurrency").headers == ()
