"""A walk of which two attempts run at once: where the second one goes, what both hold, and what follows (B23)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.dispatch import Dispatch, Stop, Try
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

NOW = 1000.0
ALWAYS = {"percentile": None, "delay": 100, "max_percent": 100}
NAMES = ("first", "second", "third")


def several(*, hedging: Any = ALWAYS, targets: Any = None, providers: Any = None, **changes: Any) -> Snapshot:
    """Three targets, tried in this order."""
    targets = targets or [a_target(name, priority=index) for index, name in enumerate(NAMES)]
    return a_snapshot([a_pool(targets=targets, hedging=hedging, **changes)], providers)


def walk(snapshot: Snapshot, state: State | None = None, **more: Any) -> Dispatch:
    fields: dict[str, Any] = {"hedged": True, "deadline": NOW + 600.0, **more}
    return Dispatch(
        pool=the_pool(snapshot),
        state=state or State(),
        operation="chat",
        rng=lambda: 0.0,
        missing=lambda _target: (),
        **fields,
    )


def begun(dispatch: Dispatch, now: float = NOW) -> Try:
    step = dispatch.next(now)
    assert isinstance(step, Try)
    return step


def hedged(dispatch: Dispatch, now: float = NOW + 1) -> Try:
    step = dispatch.hedge(now)
    assert step is not None
    return step


def a_failure(step: Try, outcome: Outcome = Outcome.FAILED, status: int | None = 503, **more: Any) -> Failure:
    fields: dict[str, Any] = {"detail": "it failed", "status": status, "whole": True, **more}
    return Failure(target=step.name, provider=step.target.provider.name, outcome=outcome, **fields)


def in_flight(dispatch: Dispatch) -> dict[str, int]:
    targets = dispatch.pool.targets.values()
    return {each.name: n for each in targets if (n := dispatch.state.health(each).in_flight)}


# -- when


def test_a_second_target_is_due_after_the_delay() -> None:
    dispatch = walk(several())
    assert dispatch.hedge_at() is None
    begun(dispatch)
    assert dispatch.hedge_at() == NOW + 0.1


def test_a_second_target_is_due_after_what_the_last_answers_took() -> None:
    state = State()
    snapshot = several(hedging={"percentile": 90, "delay": None, "max_percent": 5})
    for seconds in range(1, 21):
        dispatch = walk(snapshot, state)
        begun(dispatch)
        assert dispatch.hedge_at() is None
        dispatch.commit(NOW + seconds)
        dispatch.complete(Outcome.OK, NOW + seconds)
    dispatch = walk(snapshot, state)
    begun(dispatch)
    assert dispatch.hedge_at() == NOW + 18
    assert state.describe(snapshot, NOW)["pools"][0]["hedging"]["waits"][0]["afterMs"] == 18_000.0


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"hedging": None}, {}),
        ({}, {"hedged": False}),
        ({"fallback": {"max_attempts": 1}}, {}),
        ({}, {"deadline": NOW + 0.1}),
    ],
    ids=["not asked for", "not this request", "no attempt left", "past the deadline"],
)
def test_there_is_never_a_second_one(changes: Any, more: Any) -> None:
    dispatch = walk(several(**changes), **more)
    begun(dispatch)
    assert dispatch.hedge_at() is None


def test_a_probe_is_not_disturbed() -> None:
    snapshot = several()
    state = State()
    health = state.health(the_pool(snapshot).targets["first"])
    health.end(health.begin(NOW), Outcome.DENIED, NOW, lambda: 0.0)
    dispatch = walk(snapshot, state, deadline=NOW + 10_000)
    step = begun(dispatch, NOW + 400)
    assert (step.target.name, step.probe) == ("first", True)
    assert dispatch.hedge_at() is None


# -- where to


def test_it_goes_to_another_target_and_counts_as_an_attempt() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    assert (first.target.name, first.hedge) == ("first", False)
    assert (second.target.name, second.hedge, second.same_target, second.number) == ("second", True, False, 2)
    assert dispatch.attempts == 2
    assert in_flight(dispatch) == {"first": 1, "second": 1}


def test_it_passes_over_what_cools_probes_is_full_or_limited() -> None:
    limits = {"requests": [{"name": "m", "max": 1, "per": 60_000, "burst": 1, "scope": "Sidecar"}]}
    names = ("first", "cools", "probes", "full", "limited", "well")
    targets = [
        a_target(name, priority=index, **({"limits": limits} if name == "limited" else {}))
        for index, name in enumerate(names)
    ]
    providers = [
        a_provider(name, **({"connections": {"max_open": 1, "idle_timeout": 1000}} if name == "full" else {}))
        for name in names
    ]
    snapshot = several(targets=targets, providers=providers, fallback={"max_attempts": 4})
    state, pool = State(), the_pool(snapshot)
    for name, before in (("cools", 1.0), ("probes", 400.0)):
        health = state.health(pool.targets[name])
        health.end(health.begin(NOW - before), Outcome.DENIED, NOW - before, lambda: 0.0)
    assert state.health(pool.targets["probes"]).stance(NOW) is Stance.PROBING
    state.caps.begin(pool.targets["full"], NOW)
    state.levels.find(pool.targets["limited"].limits, Asker(), NOW).take()
    dispatch = walk(snapshot, state)
    begun(dispatch)
    assert hedged(dispatch).target.name == "well"


def test_what_is_drained_by_its_weight_is_no_second_target() -> None:
    targets = [a_target("first"), a_target("second", priority=1, weight=0)]
    dispatch = walk(several(targets=targets))
    begun(dispatch)
    assert dispatch.hedge(NOW + 1) is None
    assert in_flight(dispatch) == {"first": 1}


def test_where_nobody_else_serves_there_is_none_and_nothing_is_paid() -> None:
    state = State()
    snapshot = several(targets=[a_target("first"), a_target("second", priority=1)])
    health = state.health(the_pool(snapshot).targets["second"])
    health.end(health.begin(NOW), Outcome.DENIED, NOW, lambda: 0.0)
    dispatch = walk(snapshot, state)
    begun(dispatch)
    left = state.hedges.of("chat").left
    assert dispatch.hedge(NOW + 1) is None
    assert state.hedges.of("chat").left == left == 1


def test_what_is_chosen_and_is_limited_after_all_takes_nothing() -> None:
    """A pool that lets LocalLimit not go on chooses a target at its limit, and finds that out when it takes."""
    limits = {"requests": [{"name": "m", "max": 1, "per": 60_000, "burst": 1, "scope": "Sidecar"}]}
    targets = [a_target("first"), a_target("second", priority=1, limits=limits)]
    snapshot = several(targets=targets, fallback={"outcomes": ("Failed",)})
    state = State()
    state.levels.find(the_pool(snapshot).targets["second"].limits, Asker(), NOW).take()
    dispatch = walk(snapshot, state)
    begun(dispatch)
    assert dispatch.hedge(NOW + 1) is None
    assert in_flight(dispatch) == {"first": 1}
    assert state.hedges.of("chat").left == 1


# -- how often


def test_hedges_are_at_most_their_share_of_the_requests() -> None:
    state = State()
    snapshot = several(
        hedging={**ALWAYS, "max_percent": 5}, fallback={"retry_budget": {"percent": 100, "min_per_second": 9}}
    )
    started = 0
    for index in range(1000):
        now = NOW + index
        dispatch = walk(snapshot, state, deadline=now + 600)
        begun(dispatch, now)
        started += dispatch.hedge(now + 1) is not None
        dispatch.abandon(now + 1)
        assert started * 100 <= (index + 1) * 5
    assert started == 50


def test_a_hedge_is_paid_from_the_retry_budget_too() -> None:
    state = State()
    snapshot = several(fallback={"retry_budget": {"percent": 0, "min_per_second": 1}})
    started = 0
    for _ in range(20):
        dispatch = walk(snapshot, state)
        begun(dispatch)
        started += dispatch.hedge(NOW + 1) is not None
        dispatch.abandon(NOW + 1)
    assert started == 10
    assert state.budget(the_pool(snapshot)).remaining(NOW + 1) == 0


# -- the end


def test_the_loser_is_given_back_without_praise_or_blame() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.turn_to(first.target)
    dispatch.outrun(NOW + 2)
    assert in_flight(dispatch) == {"second": 1}
    dispatch.commit(NOW + 2)
    dispatch.complete(Outcome.OK, NOW + 3)
    assert in_flight(dispatch) == {}
    assert repr(dispatch.state.health(first.target)) == "<Health first/first-model: serving>"
    assert dispatch.state.open_count(second.target.provider.name) == 0


def test_the_first_one_may_win() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.turn_to(second.target)
    dispatch.outrun(NOW + 2)
    assert in_flight(dispatch) == {"first": 1}
    dispatch.commit(NOW + 2)
    dispatch.complete(Outcome.OK, NOW + 3)
    assert first.target.name == "first"
    assert in_flight(dispatch) == {}


def test_if_the_first_fails_the_hedge_is_the_fallback_and_no_third_one_is_asked() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.observe(a_failure(first), NOW + 2)
    assert dispatch.awaits
    assert in_flight(dispatch) == {"second": 1}
    dispatch.commit(NOW + 3)
    dispatch.complete(Outcome.OK, NOW + 3)
    assert in_flight(dispatch) == {}


def test_if_both_fail_the_walk_goes_on() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.observe(a_failure(first), NOW + 2)
    dispatch.observe(a_failure(second), NOW + 3)
    assert not dispatch.awaits
    third = begun(dispatch, NOW + 3)
    assert (third.target.name, third.number, third.hedge) == ("third", 3, False)


def test_the_first_ones_refusal_of_the_request_ends_it_at_once() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.observe(a_failure(first, Outcome.REJECTED, 400), NOW + 2)
    assert not dispatch.awaits
    dispatch.outrun(NOW + 2)
    assert in_flight(dispatch) == {}
    stop = dispatch.next(NOW + 2)
    assert isinstance(stop, Stop)
    assert isinstance(stop.answer, Failure)
    assert stop.answer.status == 400


def test_a_hedge_that_is_refused_takes_nothing_from_the_first_one() -> None:
    """Without it nobody would have asked there: the first one's answer counts."""
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.observe(a_failure(second, Outcome.REJECTED, 400), NOW + 2)
    assert dispatch.awaits
    dispatch.observe(a_failure(first), NOW + 3)
    assert begun(dispatch, NOW + 3).target.name == "third"


def test_a_hedge_that_is_alone_counts_as_any_other_attempt() -> None:
    dispatch = walk(several())
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.observe(a_failure(first), NOW + 2)
    dispatch.observe(a_failure(second, Outcome.REJECTED, 400), NOW + 3)
    stop = dispatch.next(NOW + 3)
    assert isinstance(stop, Stop)
    assert isinstance(stop.answer, Failure)
    assert stop.answer.status == 400


def test_the_deadline_is_one_for_both() -> None:
    dispatch = walk(several(), deadline=NOW + 5)
    first = begun(dispatch)
    second = hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.observe(a_failure(first, Outcome.TIMED_OUT, None), NOW + 5)
    dispatch.observe(a_failure(second, Outcome.TIMED_OUT, None), NOW + 5)
    stop = dispatch.next(NOW + 5)
    assert isinstance(stop, Stop)
    assert isinstance(stop.answer, Refusal)
    assert stop.answer.code == "deadline_exceeded"


def test_a_client_that_leaves_leaves_both() -> None:
    dispatch = walk(several())
    begun(dispatch)
    hedged(dispatch)
    dispatch.abandon(NOW + 2)
    dispatch.abandon(NOW + 2)
    assert in_flight(dispatch) == {}


# -- what is learned


def test_one_that_is_outrun_counts_with_the_time_that_it_was_waited_for_and_a_hedge_never() -> None:
    state = State()
    snapshot = several(hedging={"percentile": 50, "delay": None, "max_percent": 100})
    hedges = state.hedges.of("chat")
    for _ in range(20):
        hedges.answered("chat", 1.0, stream=False)
    for _ in range(20):
        dispatch = walk(snapshot, state)
        first = begun(dispatch)
        hedged(dispatch, NOW + 1)
        dispatch.turn_to(first.target)
        dispatch.outrun(NOW + 1.2)
        dispatch.commit(NOW + 1.2)
        dispatch.complete(Outcome.OK, NOW + 1.2)
        state.budget(the_pool(snapshot)).per_second = 1000
    assert hedges.describe(the_pool(snapshot).hedging)["waits"][0]["samples"] == 40
    assert hedges.delay(the_pool(snapshot).hedging, "chat", stream=False) == 1.0


def test_by_lowest_latency_a_target_that_is_always_outrun_is_known_to_be_slow() -> None:
    state = State()
    targets = [a_target("first"), a_target("second")]
    snapshot = several(targets=targets, strategy="LowestLatency")
    state.learned.wait(the_pool(snapshot).targets["first"].key, stream=False).sample(0.1, NOW)
    state.learned.wait(the_pool(snapshot).targets["second"].key, stream=False).sample(0.2, NOW)
    dispatch = walk(snapshot, state)
    first = begun(dispatch)
    hedged(dispatch)
    dispatch.turn_to(first.target)
    dispatch.outrun(NOW + 5)
    dispatch.abandon(NOW + 5)
    assert state.learned.wait(first.target.key, stream=False).estimate(NOW + 5) == 5.0


def test_a_pool_that_does_not_hedge_keeps_nothing() -> None:
    state = State()
    snapshot = several(hedging=None)
    dispatch = walk(snapshot, state)
    begun(dispatch)
    dispatch.commit(NOW + 1)
    dispatch.complete(Outcome.OK, NOW + 1)
    assert repr(state.hedges) == "<HedgesByPool 0>"
    state.hedges.of("chat")
    state.retain(snapshot)
    assert repr(state.hedges) == "<HedgesByPool 0>"


# -- the law


EVENTS = st.sampled_from(["first fails", "second fails", "first commits", "second commits", "hedge", "leave"])


@given(st.lists(EVENTS, max_size=12))
def test_whatever_happens_in_whatever_order_one_answers_at_most_and_all_is_given_back(events: list[str]) -> None:
    dispatch = walk(several())
    running: dict[str, Try] = {"first": begun(dispatch)}
    committed: list[str] = []
    for each in events:
        who, _, what = each.partition(" ")
        name = who if what else ""
        if each == "hedge" and len(running) == 1 and not committed and dispatch.hedge_at() is not None:
            step = dispatch.hedge(NOW + 1)
            running |= {"second": step} if step is not None and len(running) == 1 else {}
        elif each == "leave":
            dispatch.abandon(NOW + 2)
            running.clear()
        elif what == "fails" and name in running and not committed:
            step = running.pop(name)
            dispatch.turn_to(step.target)
            dispatch.observe(a_failure(step), NOW + 2)
            assert dispatch.awaits == bool(running)
        elif what == "commits" and name in running and not committed:
            for other in [other for other in running if other != name]:
                dispatch.turn_to(running.pop(other).target)
                dispatch.outrun(NOW + 2)
            dispatch.commit(NOW + 2)
            committed.append(name)
        if not running:
            break
        assert in_flight(dispatch) == {step.target.name: 1 for step in running.values()}
    assert len(committed) <= 1
    dispatch.abandon(NOW + 3)
    assert in_flight(dispatch) == {}
    assert not any(dispatch.state.open_count(name) for name in NAMES)
