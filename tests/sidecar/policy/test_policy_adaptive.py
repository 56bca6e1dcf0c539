"""How many at once are borne: one step back a round trip, one place more a round, never below one (B39, B48)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core import adaptive as tuning
from modelpool_sidecar.core.adaptive import Adaptive, is_overload
from modelpool_sidecar.core.dispatch import Dispatch, Stop, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

NOW = 1_000.0
OVERLOAD = {
    (Outcome.RATE_LIMITED, 429),
    (Outcome.FAILED, 503),
    (Outcome.FAILED, 504),
    (Outcome.FAILED, 529),
    (Outcome.TIMED_OUT, None),
    (Outcome.TIMED_OUT, 408),
}


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("status", [None, 200, 408, 429, 500, 502, 503, 504, 529])
def test_only_what_says_not_so_many_is_an_overload(outcome: Outcome, status: int | None) -> None:
    whatever = outcome in (Outcome.RATE_LIMITED, Outcome.TIMED_OUT)
    assert is_overload(outcome, status) == (whatever or (outcome, status) in OVERLOAD)


def overloaded(limit: Adaptive, beside: int, ceiling: int = 100) -> int:
    limit.end(limit.begin(beside, ceiling, NOW), Outcome.RATE_LIMITED, 429)
    return limit.allowed(ceiling)


def test_until_somebody_complains_the_ceiling_counts_whatever_it_becomes() -> None:
    limit = Adaptive()
    limit.end(limit.begin(100, 100, NOW), Outcome.OK)
    assert [limit.allowed(ceiling) for ceiling in (100, 7, 400)] == [100, 7, 400]
    assert repr(limit) == "<Adaptive, at its ceiling>"


@pytest.mark.parametrize(("beside", "after"), [(100, 75), (80, 60), (66, 50), (10, 50), (1, 50)])
def test_a_step_back_is_three_quarters_of_what_was_in_flight_and_half_at_most(beside: int, after: int) -> None:
    assert overloaded(Adaptive(), beside) == after


def test_there_is_one_step_back_in_a_round_trip() -> None:
    """What began before the step says nothing about what holds after it."""
    limit = Adaptive()
    trials = [limit.begin(beside, 100, NOW) for beside in range(91, 101)]
    for trial in trials:
        limit.end(trial, Outcome.FAILED, 503)
    assert limit.allowed(100) == 68
    for trial in trials:
        limit.end(trial, Outcome.OK)
        limit.first_token(trial, NOW + 99)
    assert limit.allowed(100) == 68
    assert repr(limit) == "<Adaptive 68.2>"


def test_it_never_falls_below_one() -> None:
    limit = Adaptive()
    assert [overloaded(limit, 1, 8) for _ in range(6)] == [4, 2, 1, 1, 1, 1]


def test_a_round_of_answers_that_used_all_of_it_adds_one_place() -> None:
    limit = Adaptive()
    overloaded(limit, 8, 100)
    for _ in range(20):
        before = limit.allowed(100)
        for _ in range(before):
            limit.end(limit.begin(limit.allowed(100), 100, NOW), Outcome.OK)
        assert limit.allowed(100) - before in (0, 1)
    assert limit.allowed(100) == 69, "by a hair less than one each"


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.OK])
def test_only_a_complete_answer_adds_anything(outcome: Outcome) -> None:
    limit = Adaptive()
    before = overloaded(limit, 10, 10)
    for _ in range(20):
        limit.end(limit.begin(before, 10, NOW), outcome, blameless=True)
    assert limit.allowed(10) == before


def test_what_is_not_used_does_not_grow_and_nothing_grows_above_its_ceiling() -> None:
    limit = Adaptive()
    before = overloaded(limit, 10, 10)
    for _ in range(50):
        limit.end(limit.begin(before - 1, 10, NOW), Outcome.OK)
    assert limit.allowed(10) == before
    for _ in range(200):
        limit.end(limit.begin(limit.allowed(10), 10, NOW), Outcome.OK)
    assert limit.allowed(10) == 10
    assert limit.allowed(400) == 10, "a ceiling that is raised is reached by trying"
    assert limit.allowed(3) == 3


def test_a_fault_that_is_not_theirs_is_no_complaint() -> None:
    """A deadline of the client's own (B15)."""
    limit = Adaptive()
    limit.end(limit.begin(10, 10, NOW), Outcome.TIMED_OUT, blameless=True)
    assert limit.allowed(10) == 10


def first_tokens(limit: Adaptive, wait: float, beside: int, now: float = NOW, count: int = tuning.SAMPLES) -> int:
    for _ in range(count):
        limit.first_token(limit.begin(beside, 100, now - wait), now)
    return limit.allowed(100)


def test_first_tokens_that_have_become_slow_halve_it() -> None:
    limit = Adaptive()
    assert first_tokens(limit, 0.5, 20) == 100
    assert first_tokens(limit, 1.0, 90) == 100, "not slow enough"
    assert first_tokens(limit, 1.2, 90, count=9) == 100, "not enough of them"
    assert first_tokens(limit, 1.2, 90, count=1) == 50
    assert first_tokens(limit, 0.6, 50) == 50


def test_what_nobody_notices_is_not_slow() -> None:
    limit = Adaptive()
    first_tokens(limit, 0.001, 20)
    assert first_tokens(limit, 0.1, 90) == 100


def test_slow_first_tokens_that_less_in_flight_does_not_make_faster_are_the_new_measure() -> None:
    """Longer prompts, or other clients: it costs one step, not all of it."""
    limit = Adaptive()
    first_tokens(limit, 0.2, 100)
    assert first_tokens(limit, 2.0, 100) == 50
    for _ in range(5):
        assert first_tokens(limit, 2.0, 50) == 50
    assert first_tokens(limit, 4.2, 50) == 25


def test_slow_first_tokens_with_as_much_in_flight_are_no_answer_to_the_step() -> None:
    limit = Adaptive()
    first_tokens(limit, 0.2, 20)
    assert first_tokens(limit, 2.0, 20) == 50
    assert first_tokens(limit, 2.0, 20) == 25, "the limit was not reached: nothing has changed yet"
    assert first_tokens(limit, 2.0, 10) == 25


def test_fast_first_tokens_are_remembered_for_minutes_and_then_forgotten() -> None:
    limit, later = Adaptive(), NOW + 2 * tuning.MEMORY_SECONDS
    first_tokens(limit, 0.2, 20)
    assert first_tokens(limit, 0.9, 20, NOW + tuning.MEMORY_SECONDS - 1) == 50
    limit = Adaptive()
    first_tokens(limit, 0.2, 20)
    first_tokens(limit, 0.3, 20, NOW + tuning.MEMORY_SECONDS + 1)
    assert first_tokens(limit, 0.9, 20, NOW + tuning.MEMORY_SECONDS + 2) == 50
    limit = Adaptive()
    first_tokens(limit, 0.2, 20)
    assert first_tokens(limit, 0.9, 20, later + 1) == 100


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 50), st.sampled_from(list(Outcome)), st.floats(0, 9))))
def test_whatever_is_said_it_stays_between_one_and_the_ceiling(
    said: list[tuple[int, int, Outcome, float]],
) -> None:
    limit, now = Adaptive(), NOW
    open_trials = []
    for beside, ceiling, outcome, wait in said:
        before = limit.allowed(ceiling)
        open_trials.append(limit.begin(beside, ceiling, now))
        now += wait
        trial = open_trials.pop(beside % len(open_trials))
        limit.first_token(trial, now)
        limit.end(trial, outcome, 503)
        assert 1 <= limit.allowed(ceiling) <= ceiling
        assert limit.allowed(ceiling) <= before + 1


# -- at targets and Providers


def at_most(ceiling: int) -> dict[str, Any]:
    return {"limits": {"concurrency": {"max": ceiling, "mode": "Adaptive"}}}


def two_pools(target: int = 8, other: int = 8) -> Snapshot:
    """Both at one provider's model."""
    pools = [
        a_pool("one", [a_target(**at_most(target)), a_target("backup", priority=1)]),
        a_pool("two", [a_target("primary", **at_most(other))]),
    ]
    return a_snapshot(pools)


def walk(snapshot: Snapshot, state: State, pool: str, now: float = NOW, *, stream: bool = False) -> Dispatch:
    held = the_pool(snapshot, pool)
    return Dispatch(held, state, "chat", now + 600, lambda: 0.0, lambda _target: (), stream=stream)


def begin(
    snapshot: Snapshot, state: State, pool: str, now: float = NOW, *, stream: bool = False
) -> tuple[Dispatch, str]:
    dispatch = walk(snapshot, state, pool, now, stream=stream)
    step = dispatch.next(now)
    assert isinstance(step, Try), step
    return dispatch, step.target.name


def complain(dispatch: Dispatch, now: float = NOW) -> None:
    dispatch.observe(Failure("primary", "primary", Outcome.FAILED, "busy", 503, whole=True), now)


def test_what_is_found_out_belongs_to_the_providers_model_and_counts_for_all_pools() -> None:
    snapshot, state = two_pools(), State()
    running = [begin(snapshot, state, pool)[0] for pool in ("one", "two") * 4]
    complain(running[-1])
    told = [pool["targets"][0]["limits"][0] for pool in state.describe(snapshot, NOW)["pools"]]
    assert [(each["max"], each["adaptive"], each["inFlight"], each["remaining"]) for each in told] == [
        (8, 6, 4, 0),
        (8, 6, 3, 0),
    ]
    assert begin(snapshot, state, "one")[1] == "backup"
    step = walk(snapshot, state, "two").next(NOW)
    assert isinstance(step, Stop)
    assert isinstance(step.answer, Refusal)
    assert "primary is at its adaptive limit of 6 at once for 1.0 s" in step.answer.message
    for dispatch in running[:2]:
        dispatch.complete(Outcome.OK, NOW)
    assert begin(snapshot, state, "one")[1] == "primary"


def test_a_pool_with_a_lower_ceiling_keeps_to_it() -> None:
    snapshot, state = two_pools(8, 2), State()
    for _ in range(2):
        begin(snapshot, state, "two")
    assert isinstance(walk(snapshot, state, "two").next(NOW), Stop)
    assert begin(snapshot, state, "one")[1] == "primary"


def test_what_is_found_out_of_a_provider_counts_for_all_its_models_and_divides_its_ceiling() -> None:
    """B13."""
    pools = [a_pool("one", [a_target(model="a")]), a_pool("two", [a_target(model="b")])]
    snapshot, state = a_snapshot(pools, [a_provider(**at_most(16))]), State(sidecars=2)
    running = [begin(snapshot, state, pool)[0] for pool in ("one", "two") * 4]
    assert isinstance(walk(snapshot, state, "one").next(NOW), Stop)
    complain(running[-1])
    [limit] = state.describe(snapshot, NOW)["providers"][0]["limits"]
    assert (limit["max"], limit["adaptive"], limit["inFlight"], limit["remaining"]) == (8, 6, 7, 0)
    step = walk(snapshot, state, "one").next(NOW)
    assert isinstance(step, Stop)
    assert isinstance(step.answer, Refusal)
    assert "its provider's adaptive limit of 6 at once" in step.answer.message


def test_it_survives_a_reload_and_is_forgotten_with_its_config() -> None:
    """B48."""
    snapshot, state = two_pools(), State()
    running = [begin(snapshot, state, "one")[0] for _ in range(8)]
    complain(running.pop())
    for dispatch in running:
        dispatch.complete(Outcome.OK, NOW)

    def found_out(held: Snapshot) -> int:
        return int(state.describe(held, NOW)["pools"][0]["targets"][0]["limits"][0]["adaptive"])

    state.retain(two_pools(12))
    assert found_out(two_pools(12)) == 6
    state.retain(a_snapshot([a_pool("one")]))
    assert found_out(two_pools()) == 8


def test_first_tokens_of_streams_are_heard_and_whole_answers_are_not() -> None:
    snapshot, state = two_pools(), State()

    def answers(wait: float, *, stream: bool, begun: float | None = None) -> int:
        for _ in range(tuning.SAMPLES):
            dispatch, _ = begin(snapshot, state, "two", stream=stream)
            dispatch.commit(NOW + wait, None if begun is None else NOW + begun)
            dispatch.commit(NOW + wait + 50)
            dispatch.complete(Outcome.OK, NOW + wait)
        return int(state.describe(snapshot, NOW)["pools"][1]["targets"][0]["limits"][0]["adaptive"])

    assert answers(0.2, stream=True) == 8
    assert answers(9.0, stream=False) == 8
    assert answers(0.2, stream=True) == 8
    assert answers(9.0, stream=True, begun=0.2) == 8, "held to its end, it came early (B24)"
    assert answers(9.0, stream=True) == 4


def test_the_lowest_usage_looks_at_what_was_found_out() -> None:
    targets = [a_target(**at_most(8)), a_target("backup", limits={"concurrency": {"max": 8}})]
    snapshot, state = a_snapshot([a_pool("one", targets, strategy="LowestUsage")]), State()
    running = [begin(snapshot, state, "one")[0] for _ in range(16)]
    complain(running[-2])
    for dispatch in running:
        dispatch.abandon(NOW)
    places = [begin(snapshot, state, "one")[1] for _ in range(10)]
    assert places.count("primary") < places.count("backup")
