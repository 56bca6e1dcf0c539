"""The walk over targets: how often one is asked, after which wait, with which key (B17 to B19)."""

import pytest

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from dispatch_walk import NEVER_REPEATED, Walk, two
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.verdict import Failure


def test_every_place_is_given_back_whatever_the_end() -> None:
    walk = Walk(two())
    walk.run(Outcome.FAILED, 500)
    served = Walk(walk.snapshot, walk.state)
    assert isinstance(served.next(), Try)
    served.dispatch.complete(Outcome.OK, served.now)
    left = Walk(walk.snapshot, walk.state)
    assert isinstance(left.next(), Try)
    left.dispatch.abandon(left.now)
    left.dispatch.abandon(left.now)
    assert [walk.state.open_count(name) for name in ("primary", "backup")] == [0, 0]


def test_one_target_alone_is_asked_once_more_after_a_backoff() -> None:
    walk = Walk(a_snapshot(), rng=lambda: 0.5)
    assert walk.run(Outcome.FAILED, 500) == ["primary", "primary"]
    assert walk.waited == pytest.approx(0.125)


def test_an_explicit_zero_never_asks_the_same_target_again() -> None:
    snapshot = a_snapshot([a_pool(fallback={"same_target": NEVER_REPEATED, "max_attempts": 4})])
    assert Walk(snapshot).run(Outcome.FAILED, 500) == ["primary"]


def test_explicit_retries_come_before_the_other_target() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 2}
    walk = Walk(two(fallback={"same_target": same, "max_attempts": 4}), rng=lambda: 0.5)
    assert walk.run(Outcome.FAILED, 500) == ["primary", "primary", "primary", "backup"]


def test_with_more_attempts_than_targets_the_cascade_starts_again_after_a_sleep() -> None:
    walk = Walk(two(fallback={"max_attempts": 4}), rng=lambda: 0.5)
    assert walk.run(Outcome.FAILED, 500) == ["primary", "backup", "primary", "backup"]
    assert walk.waited > 0


def test_a_second_cascade_leaves_out_what_repeating_cannot_mend() -> None:
    walk = Walk(two(fallback={"max_attempts": 4}), rng=lambda: 0.5)
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.fail(Outcome.DENIED, 401)
    assert walk.run(Outcome.FAILED, 500) == ["backup", "backup"]


@pytest.mark.parametrize("outcome", [Outcome.DENIED, Outcome.QUOTA_EXHAUSTED, Outcome.TIMED_OUT, Outcome.EMPTY])
def test_what_repeating_cannot_mend_is_never_asked_of_the_same_target(outcome: Outcome) -> None:
    assert Walk(a_snapshot()).run(outcome) == ["primary"]


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.CONTEXT_LENGTH, Outcome.CONTENT_POLICY])
def test_the_clients_own_fault_ends_the_walk_and_is_relayed(outcome: Outcome) -> None:
    walk = Walk(two())
    assert walk.run(outcome, 400, body=b"{}") == ["primary"]
    assert isinstance(walk.end.answer, Failure)


def test_content_policy_goes_on_where_the_pool_asks_for_it_and_is_relayed_at_the_end() -> None:
    walk = Walk(two(fallback={"outcomes": ("ContentPolicy",)}))
    assert walk.run(Outcome.CONTENT_POLICY, 400) == ["primary", "backup"]
    assert isinstance(walk.end.answer, Failure)


def test_an_outcome_that_the_pool_left_out_ends_the_walk() -> None:
    assert Walk(two(fallback={"outcomes": ("RateLimited",)})).run(Outcome.FAILED, 500) == ["primary"]


@pytest.mark.parametrize(("pattern", "status", "goes"), [("422", 422, True), ("42x", 422, True), ("50x", 422, False)])
def test_statuses_add_to_the_outcomes(pattern: str, status: int, goes: bool) -> None:
    walk = Walk(two(fallback={"statuses": (pattern,)}))
    assert walk.run(Outcome.REJECTED, status) == (["primary", "backup"] if goes else ["primary"])


def test_a_client_that_repeats_by_itself_gets_no_repetition_of_ours() -> None:
    assert Walk(a_snapshot(), repeated=True).run(Outcome.FAILED, 500) == ["primary"]
    assert Walk(two(), repeated=True).run(Outcome.FAILED, 500) == ["primary", "backup"]


def test_a_spent_retry_budget_refuses_repetitions_and_never_the_first_fallback() -> None:
    none = {"retry_budget": {"percent": 0, "min_per_second": 0}}
    assert Walk(a_snapshot([a_pool(fallback=none)])).run(Outcome.FAILED, 500) == ["primary"]
    assert Walk(two(fallback=none)).run(Outcome.FAILED, 500) == ["primary", "backup"]
    three = [a_target(), a_target("backup", priority=1), a_target("last", priority=2)]
    assert Walk(a_snapshot([a_pool(targets=three, fallback=none)])).run(Outcome.FAILED, 500) == ["primary", "backup"]


def test_a_budget_that_refuses_the_repetition_still_lets_the_first_fallback_go() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 2}
    fallback = {"same_target": same, "max_attempts": 4, "retry_budget": {"percent": 0, "min_per_second": 0}}
    assert Walk(two(fallback=fallback)).run(Outcome.FAILED, 500) == ["primary", "backup"]


# -- waiting


def test_a_rate_limit_without_patience_is_answered_at_once_with_its_wait() -> None:
    walk = Walk(a_snapshot())
    assert walk.run(Outcome.RATE_LIMITED, 429, retry_after=2.0) == ["primary"]
    assert isinstance(walk.end.answer, Refusal)
    assert (walk.end.answer.code, walk.end.answer.retry_after) == ("all_limited", 2.0)
    assert walk.end.answer.should_retry is False


def test_a_rate_limit_within_the_patience_is_waited_for_and_the_same_target_asked() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 3_000, "retries": None}
    walk = Walk(a_snapshot([a_pool(fallback={"same_target": same})]), rng=lambda: 0.5)
    assert walk.run(Outcome.RATE_LIMITED, 429, retry_after=2.0) == ["primary", "primary"]
    assert walk.waited == pytest.approx(2.2)


def test_retries_that_a_pool_sets_come_before_another_target_after_a_rate_limit_too() -> None:
    """B17, B18: with two targets `maxRetryAfter` was read and never waited for."""
    same = {"initial": 250, "max": 2_000, "max_retry_after": 3_000, "retries": 1}
    walk = Walk(two(fallback={"same_target": same, "max_attempts": 3}), rng=lambda: 0.5)
    assert walk.run(Outcome.RATE_LIMITED, 429, retry_after=2.0) == ["primary", "primary", "backup"]
    walk = Walk(two(fallback={"same_target": same, "max_attempts": 3}), rng=lambda: 0.5)
    assert walk.run(Outcome.RATE_LIMITED, 429, retry_after=4.0) == ["primary", "backup"]
    walk = Walk(two(fallback={"same_target": {**same, "retries": None}}), rng=lambda: 0.5)
    assert walk.run(Outcome.RATE_LIMITED, 429, retry_after=2.0)[:2] == ["primary", "backup"]


def test_a_rate_limit_that_names_no_wait_is_repeated_with_backoff() -> None:
    assert Walk(a_snapshot(), rng=lambda: 0.5).run(Outcome.RATE_LIMITED, 429) == ["primary", "primary"]


def test_retry_after_of_a_failure_is_the_floor_under_the_backoff() -> None:
    same = {"initial": 250, "max": 2_000, "max_retry_after": 2_000, "retries": None}
    walk = Walk(a_snapshot([a_pool(fallback={"same_target": same})]))
    assert walk.run(Outcome.FAILED, 503, retry_after=1.5) == ["primary", "primary"]
    assert walk.waited == pytest.approx(1.5)


def test_a_sleep_that_cannot_end_before_the_deadline_does_not_start() -> None:
    """B15."""
    walk = Walk(a_snapshot(), total=0.2)
    assert walk.run(Outcome.FAILED, 500) == ["primary"]
    assert walk.waited == 0


def test_after_the_deadline_nothing_is_tried() -> None:
    walk = Walk(two(), total=10.0)
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.now += 10.0
    walk.fail(Outcome.TIMED_OUT)
    refusal = walk.refusal()
    assert (refusal.code, refusal.status) == ("deadline_exceeded", 504)


def test_after_the_deadline_a_providers_answer_still_says_more() -> None:
    walk = Walk(two(), total=10.0)
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.now += 10.0
    walk.fail(Outcome.FAILED, 503, body=b"{}")
    assert isinstance(walk.answer(), Failure)


def test_a_deadline_that_passes_in_silence_is_504() -> None:
    walk = Walk(two(), total=0.0)
    assert walk.refusal().code == "deadline_exceeded"


def test_unreachable_until_the_deadline_is_504_with_what_was_tried() -> None:
    walk = Walk(two(), total=10.0)
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.now += 10.0
    walk.fail(Outcome.UNREACHABLE)
    refusal = walk.refusal()
    assert refusal.code == "deadline_exceeded"
    assert "primary Unreachable" in refusal.message


def test_a_repetition_that_has_become_impossible_while_it_slept_is_given_up() -> None:
    keys = iter([True, True, False])
    walk = Walk(a_snapshot(), rng=lambda: 0.5, ready=lambda _target: next(keys, False))
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.fail(Outcome.FAILED, 500, body=b"{}")
    assert isinstance(walk.answer(), Failure)


def test_a_fallback_that_is_full_and_may_not_be_passed_over_ends_with_what_is_known() -> None:
    providers = [a_provider(), a_provider("backup", connections={"max_open": 1, "idle_timeout": 0})]
    outcomes = tuple(outcome for outcome in BY_DEFAULT if outcome is not Outcome.LOCAL_LIMIT)
    pool = a_pool(targets=[a_target(), a_target("backup", priority=1)], fallback={"outcomes": outcomes})
    walk = Walk(a_snapshot([pool], providers))
    walk.state.caps.begin(the_pool(walk.snapshot).targets["backup"], walk.now)
    assert walk.run(Outcome.FAILED, 500, body=b"{}") == ["primary"]
    assert isinstance(walk.end.answer, Failure)


def test_a_failure_introduces_itself_without_its_body() -> None:
    failure = Failure("primary", "openai", Outcome.FAILED, "x", status=500, body=b"the answer")
    assert repr(failure) == "<Failure primary: Failed 500>"


# -- another key


def test_a_401_with_another_key_at_hand_asks_the_same_target_at_once() -> None:
    walk = Walk(two())
    walk.tried = walk.next()  # type: ignore[assignment]  # it is the first attempt
    walk.fail(Outcome.DENIED, 401, other_credential=True)
    step = walk.next()
    assert isinstance(step, Try)
    assert (step.target.name, step.same_target, walk.waited) == ("primary", True, 0)
