"""The walk over targets: which, when, how often, and what is said at the end. No clock, no socket, no real chance."""

from collections.abc import Callable
from typing import Any

import pytest

from builders import a_pool, a_provider, a_snapshot, a_target, an_api_key, the_pool
from modelpool_sidecar.core.dispatch import Dispatch, Sleep, Stop, Try
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Secret, Snapshot, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

MISSING = (
    Secret("authorization", "Bearer ", "openai.api-key", "Secret openai, key api-key"),
    Secret("x-team", "", "team.name", "Secret team, key name"),
)
NEVER_REPEATED = {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 0}


class Walk:
    """A dispatch with a virtual clock; `fail` answers the running attempt."""

    def __init__(
        self,
        snapshot: Snapshot,
        state: State | None = None,
        *,
        rng: Callable[[], float] = lambda: 0.0,
        ready: Callable[[Target], bool] = lambda _target: True,
        total: float = 600.0,
        now: float = 1000.0,
        **more: Any,
    ) -> None:
        self.now = now
        self.state = State() if state is None else state
        self.snapshot = snapshot
        self.dispatch = Dispatch(
            pool=the_pool(snapshot),
            state=self.state,
            operation="chat",
            deadline=now + total,
            rng=rng,
            missing=lambda target: () if ready(target) else MISSING,
            **more,
        )
        self.waited = 0.0

    def next(self) -> Try | Stop:
        """The next attempt or the end; sleeps are slept on the virtual clock."""
        step = self.dispatch.next(self.now)
        if isinstance(step, Sleep):
            assert step.until > self.now
            self.waited += step.until - self.now
            self.now = step.until
            step = self.dispatch.next(self.now)
        assert not isinstance(step, Sleep), "one sleep is enough"
        return step

    def fail(self, outcome: Outcome, status: int | None = None, **fields: Any) -> None:
        step = self.tried
        failure = Failure(
            target=step.target.name,
            provider=step.target.provider.name,
            outcome=outcome,
            detail="it failed",
            status=status,
            whole=fields.pop("whole", status is not None),
            **fields,
        )
        self.dispatch.observe(failure, self.now)

    def run(self, outcome: Outcome, status: int | None = None, **fields: Any) -> list[str]:
        """Every attempt fails alike; the targets in the order in which they were asked."""
        asked = []
        while isinstance(step := self.next(), Try):
            self.tried = step
            asked.append(step.target.name)
            self.fail(outcome, status, **fields)
        self.end = step
        return asked

    def answer(self) -> Failure | Refusal:
        """What the client is told."""
        step = self.next()
        assert isinstance(step, Stop)
        return step.answer

    def refusal(self) -> Refusal:
        answer = self.answer()
        assert isinstance(answer, Refusal)
        return answer


def two(**changes: Any) -> Snapshot:
    """A pool with a primary and a backup behind it."""
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def cool(walk: Walk, target: str, outcome: Outcome, retry_after: float | None = None, times: int = 1) -> None:
    """Let other requests have failed at that target."""
    health = walk.state.health(the_pool(walk.snapshot).targets[target])
    for _ in range(times):
        health.end(health.begin(walk.now), outcome, walk.now, lambda: 0.0, retry_after=retry_after)


# -- where to


def test_the_first_tier_with_an_available_target_serves() -> None:
    """B5."""
    step = Walk(two()).next()
    assert isinstance(step, Try)
    assert (step.target.name, step.number, step.same_target, step.probe) == ("primary", 1, False, False)


def test_a_failed_target_is_left_for_the_next_tier_at_once_and_without_a_sleep() -> None:
    walk = Walk(two())
    assert walk.run(Outcome.FAILED, 500) == ["primary", "backup"]
    assert walk.waited == 0


def test_a_target_of_weight_zero_is_asked_only_when_nothing_else_is_available() -> None:
    targets = [a_target(weight=0), a_target("backup", priority=1)]
    walk = Walk(a_snapshot([a_pool(targets=targets)]))
    assert walk.run(Outcome.UNREACHABLE) == ["backup", "primary"]


def test_a_drained_provider_is_passed_over() -> None:
    """B5, B38: the hand on the switch."""
    providers = [a_provider(traffic="Drained"), a_provider("backup")]
    pool = a_pool(targets=[a_target(), a_target("backup", priority=1)])
    assert Walk(a_snapshot([pool], providers)).run(Outcome.FAILED, 500) == ["backup", "backup"]


def test_looking_tells_who_is_asked_first_and_why_others_are_not_and_takes_nothing() -> None:
    targets = [a_target(), a_target("spare", weight=0), a_target("backup", priority=1)]
    providers = [a_provider(), a_provider("spare"), a_provider("backup")]
    walk = Walk(a_snapshot([a_pool(targets=targets)], providers))
    seen = walk.dispatch.outlook(walk.now)
    assert (seen.priority, set(seen.blocks.values())) == (0, {None})
    cool(walk, "primary", Outcome.QUOTA_EXHAUSTED)
    seen = walk.dispatch.outlook(walk.now)
    assert seen.priority == 1, "a weight of 0 serves only where nothing else does"
    assert seen.blocks["primary"] is not None
    assert seen.blocks["primary"].reason is Outcome.QUOTA_EXHAUSTED
    cool(walk, "backup", Outcome.QUOTA_EXHAUSTED)
    assert walk.dispatch.outlook(walk.now).priority == 0
    cool(walk, "spare", Outcome.QUOTA_EXHAUSTED)
    assert walk.dispatch.outlook(walk.now).priority is None
    assert walk.dispatch.attempts == 0


def test_a_target_without_its_key_is_passed_over() -> None:
    walk = Walk(two(), ready=lambda target: target.name != "primary")
    step = walk.next()
    assert isinstance(step, Try)
    assert step.target.name == "backup"


def test_a_target_that_cools_is_passed_over_until_it_may_be_probed() -> None:
    walk = Walk(two())
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    step = walk.next()
    assert isinstance(step, Try)
    assert step.target.name == "backup"
    walk.dispatch.complete(Outcome.OK, walk.now)
    later = Walk(walk.snapshot, walk.state, now=walk.now + 5.0)
    step = later.next()
    assert isinstance(step, Try)
    assert (step.target.name, step.probe) == ("primary", True)


def test_a_target_at_its_connections_is_passed_over_and_that_is_no_attempt() -> None:
    providers = [a_provider(connections={"max_open": 1, "idle_timeout": 0}), a_provider("backup")]
    snapshot = a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)])], providers)
    first = Walk(snapshot)
    assert isinstance(first.next(), Try)
    second = Walk(snapshot, first.state)
    step = second.next()
    assert isinstance(step, Try)
    assert (step.target.name, step.number) == ("backup", 1)


def test_without_local_limit_among_the_outcomes_a_full_target_does_not_spill_over() -> None:
    providers = [a_provider(connections={"max_open": 1, "idle_timeout": 0}), a_provider("backup")]
    outcomes = tuple(outcome for outcome in BY_DEFAULT if outcome is not Outcome.LOCAL_LIMIT)
    pool = a_pool(targets=[a_target(), a_target("backup", priority=1)], fallback={"outcomes": outcomes})
    snapshot = a_snapshot([pool], providers)
    first = Walk(snapshot)
    assert isinstance(first.next(), Try)
    refusal = Walk(snapshot, first.state).refusal()
    assert (refusal.code, refusal.retry_after) == ("all_limited", 1.0)


def test_an_operation_that_a_target_does_not_know_is_not_asked_of_it_again() -> None:
    walk = Walk(two())
    assert walk.run(Outcome.UNSUPPORTED, 404) == ["primary", "backup"]
    again = Walk(walk.snapshot, walk.state).refusal()
    assert again.code == "upstream_unsupported"
    assert again.status == 502


# -- how often


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


# -- everything cools (B37)


def test_when_everything_cools_one_request_tries_the_soonest_and_the_others_wait() -> None:
    walk = Walk(two())
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    walk.now += 1
    cool(walk, "backup", Outcome.UNREACHABLE, times=3)
    first = walk.next()
    assert isinstance(first, Try)
    assert first.target.name == "primary"
    refusal = Walk(walk.snapshot, walk.state, now=walk.now).refusal()
    assert (refusal.code, refusal.status, refusal.should_retry) == ("all_cooling", 503, None)
    assert refusal.retry_after == pytest.approx(4.0)
    walk.dispatch.abandon(walk.now)
    assert isinstance(Walk(walk.snapshot, walk.state, now=walk.now).next(), Try)


def test_last_resort_refuse_never_tries() -> None:
    walk = Walk(a_snapshot([a_pool(last_resort="Refuse")]))
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    assert walk.refusal().code == "all_cooling"


def test_known_waits_are_answered_at_once_with_the_smallest() -> None:
    walk = Walk(two())
    cool(walk, "primary", Outcome.RATE_LIMITED, retry_after=20.0)
    cool(walk, "backup", Outcome.QUOTA_EXHAUSTED)
    refusal = walk.refusal()
    assert (refusal.code, refusal.status) == ("all_limited", 429)
    assert refusal.retry_after == pytest.approx(20.0)


def test_a_refused_credential_is_answered_at_once_and_names_where_it_is_kept() -> None:
    snapshot = a_snapshot(None, [a_provider(auth=an_api_key(), base_url="https://api.example/v1")])
    walk = Walk(snapshot)
    cool(walk, "primary", Outcome.DENIED)
    refusal = walk.refusal()
    assert (refusal.code, refusal.status) == ("upstream_auth_error", 502)
    assert "provider primary" in refusal.message
    assert "Secret openai, key api-key" in refusal.message


def test_a_last_resort_at_a_full_provider_gives_its_place_back() -> None:
    snapshot = a_snapshot(None, [a_provider(connections={"max_open": 1, "idle_timeout": 0})])
    walk = Walk(snapshot)
    held = walk.state.caps.begin(the_pool(snapshot).targets["primary"], walk.now)
    cool(walk, "primary", Outcome.UNREACHABLE, times=3)
    assert walk.refusal().code == "all_limited"
    held.release(walk.now)
    assert isinstance(Walk(snapshot, walk.state, now=walk.now).next(), Try)


def test_a_key_that_is_not_there_yet_is_named_as_people_know_it() -> None:
    refusal = Walk(two(), ready=lambda _target: False).refusal()
    assert refusal.code == "credential_pending"
    keys = "(Secret openai, key api-key and Secret team, key name)"
    assert f"a key is on its way: primary has no key yet {keys}; backup has no key yet {keys}" in refusal.message


@pytest.mark.parametrize(
    ("providers", "ready", "code"),
    [
        ([a_provider(traffic="Drained")], True, "drained"),
        ([a_provider(auth=an_api_key())], False, "credential_pending"),
    ],
)
def test_a_pool_that_cannot_start_says_why(providers: list[Any], ready: bool, code: str) -> None:
    walk = Walk(a_snapshot(None, providers), ready=lambda _target: ready)
    assert walk.refusal().code == code


# -- pinned


def test_a_pinned_target_never_falls_back() -> None:
    """B20."""
    snapshot = two()
    walk = Walk(snapshot, tiers=((the_pool(snapshot).targets["backup"],),))
    assert walk.run(Outcome.TIMED_OUT) == ["backup"]


# -- what is said at the end (B21)


def mixed(*failures: tuple[Outcome, int | None]) -> Failure | Refusal:
    names = ["primary", "backup", "third"][: len(failures)]
    targets = [a_target(name, priority=index) for index, name in enumerate(names)]
    walk = Walk(a_snapshot([a_pool(targets=targets, fallback={"same_target": NEVER_REPEATED})]))
    for outcome, status in failures:
        walk.tried = walk.next()  # type: ignore[assignment]  # there is one attempt for each failure
        walk.fail(outcome, status, body=b"{}" if status else b"", retry_after=7.0 if status == 429 else None)
    return walk.answer()


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([(Outcome.FAILED, 500), (Outcome.FAILED, 503)], 503),
        ([(Outcome.FAILED, 500), (Outcome.UNREACHABLE, None)], 500),
        ([(Outcome.FAILED, 409), (Outcome.UNREACHABLE, None)], 409),
        ([(Outcome.RATE_LIMITED, 429), (Outcome.FAILED, 500)], 500),
        ([(Outcome.RATE_LIMITED, 429), (Outcome.RATE_LIMITED, 429)], "all_limited"),
        ([(Outcome.QUOTA_EXHAUSTED, 402), (Outcome.RATE_LIMITED, 429)], "all_limited"),
        ([(Outcome.DENIED, 401), (Outcome.UNREACHABLE, None)], "upstream_auth_error"),
        ([(Outcome.DENIED, 401), (Outcome.FAILED, 500)], 500),
        ([(Outcome.TIMED_OUT, None), (Outcome.TIMED_OUT, None)], "deadline_exceeded"),
        ([(Outcome.UNSUPPORTED, 404), (Outcome.UNSUPPORTED, 404)], "upstream_unsupported"),
        ([(Outcome.UNREACHABLE, None), (Outcome.UNREACHABLE, None)], "upstream_unreachable"),
        ([(Outcome.UNREACHABLE, None), (Outcome.BROKEN, None)], "upstream_error"),
        ([(Outcome.FAILED, 500), (Outcome.REJECTED, 400)], 400),
        ([(Outcome.UNREACHABLE, None), (Outcome.EMPTY, 200)], "upstream_error"),
    ],
)
def test_the_answer_after_all_attempts_says_the_most_that_is_known(
    failures: list[tuple[Outcome, int | None]], told: int | str
) -> None:
    answer = mixed(*failures)
    assert (answer.code if isinstance(answer, Refusal) else answer.status) == told
