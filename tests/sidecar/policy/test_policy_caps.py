"""Who may be sent at once where: caps of targets, Providers and callers (B5, B8, B9, B11, B13, B17, B48)."""

from typing import Any

import pytest
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.dispatch import Dispatch, Sleep, Stop, Try
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.queue import Waiting
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure, words

NOW = 1_000.0
Cap = int | None


def at_once(most: Cap, mode: str = "Fixed") -> dict[str, Any]:
    return {} if most is None else {"limits": {"concurrency": {"max": most, "mode": mode}}}


def capped(target: Cap = None, provider: Cap = None, **changes: Any) -> Snapshot:
    """`primary` with caps of its own and of its Provider, and `backup` behind it without any."""
    targets = [a_target(**at_once(target)), a_target("backup", priority=1)]
    return a_snapshot([a_pool(targets=targets, **changes)], [a_provider(**at_once(provider)), a_provider("backup")])


def walk(snapshot: Snapshot, state: State, pool: str = "chat") -> Dispatch:
    return Dispatch(the_pool(snapshot, pool), state, "chat", NOW + 600, lambda: 0.0, lambda _target: ())


def begin(snapshot: Snapshot, state: State, pool: str = "chat") -> tuple[Dispatch, str]:
    """A walk whose first attempt runs, and where."""
    dispatch = walk(snapshot, state, pool)
    step = dispatch.next(NOW)
    assert isinstance(step, Try), step
    return dispatch, step.target.name


def failure(step: Try, outcome: Outcome = Outcome.FAILED, status: int | None = 500) -> Failure:
    return Failure(step.target.name, step.target.provider.name, outcome, "it failed", status)


@pytest.mark.parametrize(("target", "provider"), [(2, None), (None, 2), (2, 3), (3, 2)])
def test_a_target_at_its_cap_is_no_attempt_and_another_one_is_taken_at_once(target: Cap, provider: Cap) -> None:
    """B5, B17 LocalLimit."""
    snapshot, state = capped(target, provider), State()
    running = [begin(snapshot, state) for _ in range(3)]
    assert [where for _, where in running] == ["primary", "primary", "backup"]
    assert [dispatch.attempts for dispatch, _ in running] == [1, 1, 1]
    running[0][0].complete(Outcome.OK, NOW)
    assert begin(snapshot, state)[1] == "primary", "the place is free with the end of the attempt"


def test_where_all_are_at_their_caps_the_answer_is_429_with_the_time_in_which_a_place_is_expected() -> None:
    """B12: the earliest moment at which any way would be open."""
    targets = [a_target(**at_once(1)), a_target("backup", priority=1, **at_once(2))]
    snapshot, state = a_snapshot([a_pool(targets=targets)]), State()
    running = [begin(snapshot, state) for _ in range(3)]
    for dispatch, _ in running:
        dispatch.complete(Outcome.OK, NOW + 8)
    for _ in range(3):
        begin(snapshot, state)
    step = walk(snapshot, state).next(NOW)
    assert isinstance(step, Stop)
    refusal = step.answer
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code, refusal.retry_after) == (429, "all_limited", 4.0)
    assert refusal.message == (
        "pool chat: every target is limited: primary is at its limit of 1 at once for 8.0 s; "
        "backup is at its limit of 2 at once for 4.0 s; try again in 4.0 s"
    )


def test_the_cap_that_stands_in_the_way_for_longer_is_told() -> None:
    snapshot, state = capped(1, 1), State()
    begin(snapshot, state)
    target = the_pool(snapshot).targets["primary"]
    block = walk(snapshot, state).outlook(NOW).blocks["primary"]
    assert block is not None
    assert words(target, block) == "is at its limit of 1 at once for 1.0 s"
    other = a_snapshot([a_pool("other", [a_target("primary")])], [a_provider(**at_once(1))])
    block = walk(other, state, "other").outlook(NOW).blocks["primary"]
    assert block is not None
    assert block.detail == "its provider's limit of 1 at once"


def test_a_limit_on_requests_that_lasts_longer_is_told_before_the_cap() -> None:
    hour = {"name": "hour", "max": 1, "per": 3_600_000, "burst": 1, "scope": "Sidecar"}
    targets = [a_target(limits={"requests": (hour,), "concurrency": {"max": 1}})]
    snapshot, state = a_snapshot([a_pool(targets=targets)]), State()
    begin(snapshot, state)
    block = walk(snapshot, state).outlook(NOW).blocks["primary"]
    assert block is not None
    assert (block.detail, block.wait) == ("its limit 'hour' of 1", 3600.0)


def test_a_pool_that_does_not_spill_over_is_refused_where_its_target_is_at_its_cap() -> None:
    """B17: LocalLimit left out of `outcomes`."""
    outcomes = tuple(outcome for outcome in BY_DEFAULT if outcome is not Outcome.LOCAL_LIMIT)
    snapshot, state = capped(1, fallback={"outcomes": outcomes}), State()
    begin(snapshot, state)
    step = walk(snapshot, state).next(NOW)
    assert isinstance(step, Stop)
    assert isinstance(step.answer, Refusal)
    assert step.answer.code == "all_limited"
    assert "primary is at its limit of 1 at once" in step.answer.message


def test_a_sleep_between_two_attempts_holds_no_place() -> None:
    """B11."""
    snapshot = a_snapshot([a_pool(targets=[a_target(**at_once(1))])], [a_provider(**at_once(1))])
    state = State()
    dispatch = walk(snapshot, state)
    step = dispatch.next(NOW)
    assert isinstance(step, Try)
    assert state.open_count("primary") == 1
    dispatch.rng = lambda: 0.5
    dispatch.observe(failure(step), NOW)
    assert isinstance(dispatch.next(NOW), Sleep)
    assert state.open_count("primary") == 0
    assert begin(snapshot, state)[1] == "primary", "somebody else's turn meanwhile"
    assert isinstance(dispatch.next(NOW + 9), Stop)


def test_what_the_walk_waits_for_is_told_where_a_cap_passed_its_targets_over() -> None:
    """B12, B21: all of it limited, by the provider or by us."""
    targets = [a_target(), a_target("backup", priority=1, **at_once(1))]
    snapshot, state = a_snapshot([a_pool(targets=targets)]), State()
    state.caps.begin(the_pool(snapshot).targets["backup"], NOW)
    dispatch = walk(snapshot, state)
    step = dispatch.next(NOW)
    assert isinstance(step, Try)
    dispatch.observe(failure(step, Outcome.RATE_LIMITED, 429), NOW)
    end = dispatch.next(NOW)
    while isinstance(end, Sleep | Try):
        if isinstance(end, Try):
            dispatch.observe(failure(end, Outcome.RATE_LIMITED, 429), NOW)
        end = dispatch.next(NOW)
    assert isinstance(end.answer, Refusal)
    assert (end.answer.code, end.answer.retry_after) == ("all_limited", 1.0)


def test_the_account_counts_all_pools_and_a_target_only_its_own() -> None:
    pools = [a_pool("one", [a_target(**at_once(5))]), a_pool("two", [a_target(**at_once(5))])]
    snapshot, state = a_snapshot(pools, [a_provider(**at_once(3))]), State()
    for pool in ("one", "two", "one"):
        begin(snapshot, state, pool)
    told = state.describe(snapshot, NOW)
    assert [[(each["level"], each["max"], each["inFlight"], each["remaining"]) for each in pool["targets"][0]["limits"]]
            for pool in told["pools"]] == [
        [("target", 5, 2, 3), ("provider", 3, 3, 0)],
        [("target", 5, 1, 4), ("provider", 3, 3, 0)],
    ]  # fmt: skip
    assert [each["limits"][0]["inFlight"] for each in told["providers"]] == [3]
    assert isinstance(walk(snapshot, state, "two").next(NOW), Stop)


@pytest.mark.parametrize(("sidecars", "share"), [(1, 6), (2, 3), (4, 1), (9, 1)])
def test_each_sidecar_takes_its_part_of_a_cap_and_never_less_than_one(sidecars: int, share: int) -> None:
    """B13, as for the pool's own concurrency."""
    snapshot, state = capped(6), State(sidecars=sidecars)
    places = [begin(snapshot, state)[1] for _ in range(7)]
    assert places.count("primary") == share


def test_a_cap_that_a_reload_sets_or_lowers_finds_what_runs() -> None:
    """B48."""
    state, loose, tight = State(), capped(), capped(2)
    running = [begin(loose, state)[0] for _ in range(3)]
    state.retain(tight)
    assert begin(tight, state)[1] == "backup"
    running.pop().complete(Outcome.OK, NOW)
    assert begin(tight, state)[1] == "backup", "two still run"
    running.pop().complete(Outcome.OK, NOW)
    assert begin(tight, state)[1] == "primary"


def test_what_is_gone_from_the_config_is_forgotten_once_nothing_runs_there() -> None:
    state, snapshot = State(), capped(1)
    other = a_snapshot([a_pool("other", [a_target("backup")])])
    dispatch, _ = begin(snapshot, state)
    state.retain(other)
    state.retain(snapshot)
    assert begin(snapshot, state)[1] == "backup", "it came back while its attempt ran"
    dispatch.complete(Outcome.OK, NOW)
    state.retain(other)
    assert repr(state.caps) == "<Caps: 2 counted>", "the other attempt runs on at its own target and Provider"


def test_a_place_introduces_itself() -> None:
    state, snapshot = State(), capped(1)
    place = state.caps.begin(the_pool(snapshot).targets["primary"], 3.0)
    assert repr(place) == "<Place since 3>"
    place.release(4.0)
    assert repr(place) == "<Place: released>"


def test_the_lowest_usage_counts_what_is_in_flight() -> None:
    """B1: the share of its own limits already used."""
    targets = [a_target(**at_once(2)), a_target("backup", **at_once(10))]
    snapshot, state = a_snapshot([a_pool(targets=targets, strategy="LowestUsage")]), State()
    places = [begin(snapshot, state)[1] for _ in range(4)]
    assert places == ["primary", "backup", "backup", "backup"]


# -- callers


def of_callers(most: int = 2, places: int | None = None, waiting: int | None = None) -> Snapshot:
    queue = None if waiting is None else {"max": waiting, "timeout": 10_000}
    limits = {"concurrency": None if places is None else {"max": places, "queue": queue}}
    entries = ({"name": "alice", "limits": {"concurrency": {"max": most}}}, {"name": "carol", "limits": {}})
    callers = {"keys": "team", "source": "Secret team-keys", "entries": entries}
    return a_snapshot([a_pool(callers=callers, limits=limits)])


def ask(state: State, pool: Pool, caller: str = "alice") -> Permit | Waiting | Limited:
    return state.admit(pool, NOW, Asker(caller=caller))


def test_a_caller_has_so_many_requests_at_once_and_others_are_not_touched() -> None:
    pool, state = the_pool(of_callers()), State()
    permits = [ask(state, pool) for _ in range(2)]
    refused = ask(state, pool)
    assert isinstance(refused, Limited)
    assert (refused.kind, refused.level, refused.max, refused.own) == ("concurrency", "caller", 2, True)
    assert not state.would_allow(pool, NOW, Asker(caller="alice"))
    assert all(isinstance(ask(state, pool, name), Permit) for name in ("bob", "carol") * 3)
    assert isinstance(permits[0], Permit)
    for _ in range(2):
        permits[0].release()
    assert isinstance(ask(state, pool), Permit)
    assert isinstance(ask(state, pool), Limited), "a permit that is released twice frees one place (B11)"


def test_a_callers_wait_is_how_long_requests_of_the_pool_take() -> None:
    pool, state = the_pool(of_callers()), State()
    state.places(pool).held(30.0)
    for _ in range(2):
        ask(state, pool)
    refused = ask(state, pool)
    assert isinstance(refused, Limited)
    assert refused.retry_after == 15.0


def test_who_waits_in_the_queue_holds_its_callers_place_and_who_is_at_its_own_cap_does_not_wait() -> None:
    pool, state = the_pool(of_callers(places=1, waiting=9)), State()
    assert isinstance(ask(state, pool), Permit)
    waiting = ask(state, pool)
    assert isinstance(waiting, Waiting)
    refused = ask(state, pool)
    assert isinstance(refused, Limited)
    assert (refused.level, state.waiting(pool)) == ("caller", 1)
    assert isinstance(ask(state, pool, "bob"), Waiting)
    for _ in range(2):
        state.give_up("chat", waiting, NOW)
    assert isinstance(ask(state, pool), Waiting), "its place came back, once"
    assert isinstance(ask(state, pool), Limited)


def test_a_place_of_a_caller_is_taken_with_the_rest_or_not_at_all() -> None:
    """B9: a refusal further down takes nothing further up."""
    pool, state = the_pool(of_callers(places=1)), State()
    bob = ask(state, pool, "bob")
    for _ in range(3):
        assert isinstance(ask(state, pool), Limited)
    assert isinstance(bob, Permit)
    bob.release()
    alice = ask(state, pool)
    assert isinstance(alice, Permit)
    told = state.describe(of_callers(places=1), NOW)["pools"][0]["callerLimits"]
    assert told == [
        {"caller": "alice", "name": "concurrency", "level": "caller", "max": 2, "remaining": 1, "inFlight": 1}
    ]
    alice.refund(NOW)
    assert state.describe(of_callers(), NOW)["pools"][0]["callerLimits"][0]["inFlight"] == 0


class AnyCaps(RuleBasedStateMachine):
    """B3, B9, B11, B48: whatever comes, waits, goes, is repeated and reloaded, each place is held exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.running: list[tuple[Permit, Dispatch, Try | None, str]] = []
        self.waiting: list[tuple[Waiting, str]] = []
        self.shape(2, 3, 2, 4, 1, "Fixed")

    @rule(own=st.integers(1, 4), account=st.integers(1, 4), caller=st.integers(1, 3), places=st.integers(1, 6),
          sidecars=st.integers(1, 3), mode=st.sampled_from(["Fixed", "Adaptive"]))  # fmt: skip
    def shape(self, own: int, account: int, caller: int, places: int, sidecars: int, mode: str) -> None:
        """A reload, with other numbers."""
        entries = ({"name": "alice", "limits": {"concurrency": {"max": caller}}},)
        pool = a_pool(
            targets=[a_target(**at_once(own, mode)), a_target("other", provider="primary")],
            callers={"keys": "team", "source": "Secret team-keys", "entries": entries},
            limits={"concurrency": {"max": places, "queue": {"max": 2, "timeout": 10_000}}},
        )
        self.snapshot = a_snapshot([pool], [a_provider(**at_once(account, mode))])
        self.pool = the_pool(self.snapshot)
        self.state.sidecars = sidecars
        self.most = {"target": max(1, own // sidecars), "provider": max(1, account // sidecars),
                     "caller": max(1, caller // sidecars)}  # fmt: skip
        self.state.retain(self.snapshot)

    @rule(caller=st.sampled_from(["alice", "bob"]), chance=st.floats(0, 0.99))
    def come(self, caller: str, chance: float) -> None:
        before = self.counted()
        admitted = self.state.admit(self.pool, NOW, Asker(caller=caller))
        if isinstance(admitted, Limited):
            assert self.counted() == before
        elif isinstance(admitted, Waiting):
            self.waiting.append((admitted, caller))
        else:
            self.start(admitted, caller, chance)
        if not isinstance(admitted, Limited) and caller == "alice":
            assert before["caller"] < self.most["caller"]

    def start(self, permit: Permit, caller: str, chance: float) -> None:
        dispatch = Dispatch(self.pool, self.state, "chat", NOW + 600, lambda: chance, lambda _target: ())
        self.step(permit, dispatch, caller)

    def step(self, permit: Permit, dispatch: Dispatch, caller: str) -> None:
        before = self.counted()
        dispatch.outlook(NOW)
        step = dispatch.next(NOW)
        if isinstance(step, Stop):
            assert {**self.counted(), "caller": 0} == {**before, "caller": 0}
            permit.refund(NOW)
            return
        if isinstance(step, Try):  # a request goes by the snapshot that it came under (B46)
            assert all(before[cap.level] < self.state.caps.allowed(cap) for cap in step.target.caps)
        self.running.append((permit, dispatch, step if isinstance(step, Try) else None, caller))

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0), end=st.sampled_from(["complete", "abandon", "again"]), twice=st.booleans())
    def go(self, pick: int, end: str, twice: bool) -> None:
        permit, dispatch, step, caller = self.running.pop(pick % len(self.running))
        if end == "again" and step is not None:
            dispatch.observe(failure(step, status=503), NOW)
            self.step(permit, dispatch, caller)
            return
        if end == "complete" and step is not None:
            dispatch.complete(Outcome.OK, NOW)
        for _ in range(1 + twice):
            dispatch.abandon(NOW)
            permit.release()

    @rule(chance=st.floats(0, 0.99))
    def turn(self, chance: float) -> None:
        turn = self.state.take_turn(self.pool, NOW)
        if turn is not None:
            entry = next(each for each in self.waiting if each[0] is turn[0])
            self.waiting.remove(entry)
            self.start(turn[1], entry[1], chance)

    @precondition(lambda self: self.waiting)
    @rule(pick=st.integers(0), twice=st.booleans())
    def give_up(self, pick: int, twice: bool) -> None:
        waiting, _ = self.waiting.pop(pick % len(self.waiting))
        for _ in range(1 + twice):
            self.state.give_up("chat", waiting, NOW)

    def counted(self) -> dict[str, int]:
        told = self.state.describe(self.snapshot, NOW)["pools"][0]
        [own, account] = told["targets"][0]["limits"]
        return {
            "target": own["inFlight"],
            "provider": account["inFlight"],
            "caller": told["callerLimits"][0]["inFlight"],
            "pool": told["inFlight"],
        }

    @invariant()
    def what_is_counted_is_what_is_held(self) -> None:
        tries = [step for _, _, step, _ in self.running if step is not None]
        callers = [caller for *_, caller in self.running] + [caller for _, caller in self.waiting]
        assert self.counted() == {
            "target": sum(step.target.name == "primary" for step in tries),
            "provider": len(tries),
            "caller": callers.count("alice"),
            "pool": len(self.running),
        }
        assert self.state.waiting(self.pool) == len(self.waiting)


AnyCaps.TestCase.settings = effort(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyCaps = AnyCaps.TestCase
