"""What a pool may spend on repeating itself, and the sliding count below it."""

from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core.budget import WINDOW, RetryBudget
from modelpool_sidecar.core.window import SLOTS, Window


def test_little_traffic_may_retry_by_the_part_per_second() -> None:
    budget = RetryBudget(percent=20, per_second=3)
    for _ in range(30):
        assert budget.allowed(100.0)
        budget.take(100.0)
    assert not budget.allowed(100.0)
    assert repr(budget) == "<RetryBudget 20 % + 3/s: <Window 10 s: 30> of <Window 10 s: 0>>"


def test_a_fifth_of_the_requests_may_be_repeated() -> None:
    budget = RetryBudget(percent=20, per_second=0)
    for _ in range(50):
        budget.request(100.0)
    assert budget.remaining(100.0) == 10


def test_a_spent_budget_is_whole_again_after_the_window() -> None:
    budget = RetryBudget(percent=0, per_second=1)
    for _ in range(10):
        budget.take(100.0)
    assert not budget.allowed(100.0 + WINDOW * (SLOTS - 1) / SLOTS - 0.1)
    assert budget.allowed(100.0 + WINDOW)


def test_a_cut_budget_is_empty_and_not_negative() -> None:
    budget = RetryBudget(percent=0, per_second=3)
    for _ in range(30):
        budget.take(5.0)
    budget.per_second = 1
    assert budget.remaining(5.0) == 0


@given(
    st.integers(0, 100),
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.integers(0, 3_000)), max_size=80),
)
def test_no_stretch_of_time_sees_more_retries_than_the_budget(
    percent: int, per_second: int, steps: list[tuple[str, int]]
) -> None:
    budget, now = RetryBudget(percent, per_second), 50.0
    requests: list[float] = []
    retries: list[float] = []
    for what, pause in steps:
        now += pause / 1000
        if what == "request":
            budget.request(now)
            requests.append(now)
        elif budget.allowed(now):
            budget.take(now)
            retries.append(now)
            recent = sum(at > now - WINDOW * (SLOTS - 1) / SLOTS for at in retries)
            earned = sum(at > now - WINDOW for at in requests) * percent // 100
            assert recent <= earned + per_second * WINDOW


@given(st.floats(0, 60), st.lists(st.integers(0, 20_000), max_size=60))
def test_an_event_is_forgotten_between_nine_tenths_of_the_window_and_its_end(span: float, pauses: list[int]) -> None:
    window, now = Window(span), 7.0
    events: list[float] = []
    for pause in pauses:
        now += pause / 1000
        window.add(now)
        events.append(now)
        least = sum(at > now - span * (SLOTS - 1) / SLOTS + 1e-6 for at in events)
        most = sum(at >= now - max(span, 0.001) - 1e-6 for at in events)
        assert least <= window.total(now) <= most


@given(st.floats(1, 60), st.floats(1, 60), st.lists(st.integers(0, 5_000), max_size=30))
def test_a_stretched_window_holds_the_same_events_by_their_age(before: float, after: float, pauses: list[int]) -> None:
    window, now = Window(before), 7.0
    for pause in pauses:
        now += pause / 1000
        window.add(now)
    total, stretched = window.total(now), window.stretched(after)
    assert stretched.span == after
    assert stretched.total(now) <= total
    if after >= before * SLOTS / (SLOTS - 1) + 0.001:
        assert stretched.total(now) == total


def test_a_cleared_window_has_seen_nothing() -> None:
    window = Window(10.0)
    window.add(1.0, 3)
    window.clear()
    assert window.total(1.0) == 0


def test_a_clock_that_stands_behind_changes_nothing() -> None:
    window = Window(10.0)
    window.add(50.0)
    assert window.total(20.0) == 1
