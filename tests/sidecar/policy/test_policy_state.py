"""Admission of whole pools, and what survives a reload."""

import json
from typing import Any

from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import a_pool, a_provider, a_snapshot, a_target, an_api_key, the_pool
from modelpool_config import models as contract
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State

NOW = 1_000.0


def limit(name: str = "minute", **changes: Any) -> dict[str, Any]:
    return {"name": name, "max": 60, "per": 60_000, "burst": 60, "scope": "Sidecar", **changes}


def limited(*requests: dict[str, Any], concurrency: int | None = None, name: str = "chat") -> Snapshot:
    limits = {"requests": requests, "concurrency": None if concurrency is None else {"max": concurrency}}
    return a_snapshot([a_pool(name, limits=limits)])


def admit(state: State, pool: Pool, now: float = NOW) -> Permit:
    permit = state.admit(pool, now)
    assert isinstance(permit, Permit)
    return permit


def refuse(state: State, pool: Pool, now: float = NOW) -> Limited:
    refused = state.admit(pool, now)
    assert isinstance(refused, Limited)
    return refused


def test_a_pool_without_limits_admits_and_says_nothing_of_limits() -> None:
    state, pool = State(), the_pool(a_snapshot())
    assert admit(state, pool).headers == ()
    assert state.in_flight(pool) == 1


def test_headers_tell_the_tightest_limit() -> None:
    state, pool = State(), the_pool(limited(limit("hour", max=1000, per=3_600_000, burst=1000), limit(burst=10)))
    assert admit(state, pool).headers == (
        ("x-ratelimit-limit-requests", "60"),
        ("x-ratelimit-remaining-requests", "9"),
        ("x-ratelimit-reset-requests", "1s"),
    )


def test_a_refusal_names_the_limit_and_the_moment_at_which_all_are_open() -> None:
    pool = the_pool(limited(limit("second", max=1, per=1_000, burst=1), limit("minute", max=1, burst=1), limit("big")))
    state = State()
    admit(state, pool)
    refused = refuse(state, pool)
    assert (refused.limit, refused.retry_after, refused.max, refused.kind) == ("minute", 60.0, 1, "requests")
    assert dict(refused.headers)["x-ratelimit-reset-requests"] == "1m0s"
    assert not state.would_allow(pool, NOW + 59.999)
    assert state.would_allow(pool, NOW + 60.0)


def test_a_refused_request_takes_nothing_from_the_other_limits() -> None:
    pool = the_pool(limited(limit("wide", burst=5), limit("narrow", burst=1)))
    state = State()
    admit(state, pool)
    for _ in range(10):
        refuse(state, pool)
    wide = state.describe(limited(limit("wide", burst=5)), NOW)["pools"][0]["limits"][0]
    assert wide["remaining"] == 4
    assert state.in_flight(pool) == 1


def test_a_place_is_held_to_the_release() -> None:
    state, pool = State(), the_pool(limited(concurrency=1))
    permit = admit(state, pool)
    refused = refuse(state, pool)
    assert (refused.limit, refused.retry_after, refused.max, refused.kind) == ("concurrency", 1.0, 1, "concurrency")
    permit.release()
    admit(state, pool)


def test_a_refund_gives_unit_and_place_back() -> None:
    state, pool = State(), the_pool(limited(limit(burst=1), concurrency=1))
    admit(state, pool).refund(NOW)
    admit(state, pool)


def test_the_longer_of_two_waits_is_told() -> None:
    state, pool = State(), the_pool(limited(limit(burst=1, max=1), concurrency=1))
    admit(state, pool)
    assert refuse(state, pool).limit == "minute"
    assert refuse(state, pool, NOW + 59.5).limit == "concurrency"


def test_looking_never_consumes() -> None:
    state, pool = State(), the_pool(limited(limit(burst=1)))
    assert all(state.would_allow(pool, NOW) for _ in range(5))
    admit(state, pool)


def test_divided_limits_share_their_rate_and_burst_and_leave_everybody_one() -> None:
    """B13."""
    divided = limited(limit(scope="Divided", max=10, burst=10), concurrency=10)
    state, pool = State(sidecars=4), the_pool(divided)
    permits = [admit(state, pool) for _ in range(2)]
    refused = refuse(state, pool)
    assert (refused.limit, refused.retry_after, refused.max) == ("minute", 24.0, 2)
    state.sidecars = 100
    assert not state.would_allow(pool, NOW)
    assert state.describe(divided, NOW)["pools"][0]["concurrency"] == 1
    for permit in permits:
        permit.refund(NOW)
    admit(state, pool).release()
    state.sidecars = 0
    assert state.sidecars == 1


def test_a_new_number_of_sidecars_refills_nothing() -> None:
    divided = limited(limit(scope="Divided", max=100, burst=100))
    state, pool = State(), the_pool(divided)
    for _ in range(40):
        admit(state, pool)
    state.sidecars = 2
    state.would_allow(pool, NOW)
    assert state.describe(divided, NOW)["pools"][0]["limits"][0]["remaining"] == 30


def test_a_reload_keeps_buckets_health_budgets_and_requests_in_flight() -> None:
    before = limited(limit(burst=2), concurrency=5)
    state, pool = State(), the_pool(before)
    admit(state, pool)
    target = pool.targets["primary"]
    health, budget = state.health(target), state.budget(pool)
    health.end(health.begin(NOW), Outcome.DENIED, NOW, lambda: 0.0)
    changed = a_provider(health={"failures": 1})
    limits = {"requests": (limit(burst=4),), "concurrency": None}
    fallback = {"retry_budget": {"percent": 50, "min_per_second": 1}}
    after = a_snapshot([a_pool(limits=limits, fallback=fallback)], [changed])
    assert state.retain(after) == []
    again = the_pool(after)
    assert state.health(again.targets["primary"]) is health
    assert health.settings.failures == 1
    assert health.stance(NOW) is Stance.COOLING
    assert state.budget(again) is budget
    assert (budget.percent, budget.per_second) == (50, 1)
    assert state.in_flight(again) == 1
    assert dict(admit(state, again).headers)["x-ratelimit-remaining-requests"] == "1", "half was used, then one more"


def test_a_new_credential_is_a_new_identity_and_serves_at_once() -> None:
    keyed = a_snapshot([a_pool()], [a_provider(auth=an_api_key())])
    state, target = State(), the_pool(a_snapshot()).targets["primary"]
    health = state.health(target)
    health.end(health.begin(NOW), Outcome.DENIED, NOW, lambda: 0.0)
    assert state.health(the_pool(keyed).targets["primary"]).stance(NOW) is Stance.SERVING
    assert state.retain(keyed) == [target.key]


def test_what_no_snapshot_mentions_is_forgotten_and_a_late_release_is_harmless() -> None:
    before = limited(limit(), concurrency=1)
    state, pool = State(), the_pool(before)
    permit, target = admit(state, pool), pool.targets["primary"]
    state.health(target)
    state.budget(pool)
    assert state.retain(a_snapshot([])) == [target.key, ("pool", "chat", "minute"), ("pool", "chat")]
    permit.release()
    permit.refund(NOW)
    assert state.in_flight(pool) == 0
    admit(state, pool)
    assert repr(state) == "<State: 0 targets, 1 buckets, 1 requests in flight>"


def test_closing_and_opening_a_pool_does_not_refill_its_buckets() -> None:
    before = limited(limit(burst=1))
    state, pool = State(), the_pool(before)
    admit(state, pool)
    closed = contract.ClosedPool(name="chat", models=("chat",), code="no_target", message="gone")
    shut = a_snapshot([], [], closed=[closed])
    assert state.retain(shut) == []
    assert state.describe(shut, NOW)["pools"] == [
        {"name": "chat", "models": ["chat"], "closed": "no_target", "message": "gone"}
    ]
    state.retain(before)
    refuse(state, pool)


def test_an_unsupported_operation_is_remembered_until_the_reload() -> None:
    snapshot = a_snapshot()
    state, key = State(), the_pool(snapshot).targets["primary"].key
    state.mark_unsupported(key, "embeddings")
    assert state.unsupported(key, "embeddings")
    assert not state.unsupported(key, "chat")
    assert state.describe(snapshot, NOW)["pools"][0]["targets"][0]["unsupported"] == ["embeddings"]
    state.retain(snapshot)
    assert not state.unsupported(key, "embeddings")


def test_attempts_at_a_provider_are_counted_and_never_negative() -> None:
    state, target = State(), the_pool(a_snapshot()).targets["primary"]
    first, second = state.caps.begin(target, NOW), state.caps.begin(target, NOW)
    first.release(NOW)
    assert state.open_count("primary") == 1
    first.release(NOW)
    second.release(NOW)
    assert state.open_count("primary") == 0


def test_the_description_is_json_and_makes_nothing() -> None:
    snapshot, state = limited(limit(), concurrency=7), State()
    seen = json.loads(json.dumps(state.describe(snapshot, NOW)))
    pool = seen["pools"][0]
    assert pool["unresolved"] == []
    told = {name: value for name, value in pool["limits"][0].items() if value is not None}
    assert told == {
        "name": "minute",
        "level": "pool",
        "max": 60,
        "per": 60.0,
        "burst": 60,
        "remaining": 60,
        "reset": 0.0,
    }
    assert (pool["inFlight"], pool["concurrency"], pool["retriesLeft"]) == (0, 7, 30)
    assert pool["targets"][0]["stance"] == "serving"
    assert seen["providers"] == [{"name": "primary", "open": 0, "maxOpen": 512, "drained": False, "limits": []}]
    state.budget(the_pool(snapshot)).take(NOW)
    assert state.describe(snapshot, NOW)["pools"][0]["retriesLeft"] == 29
    assert repr(state) == "<State: 0 targets, 0 buckets, 0 requests in flight>"


def test_two_targets_that_are_one_share_their_health() -> None:
    same = {"provider": "primary", "model": "m"}
    pool = the_pool(a_snapshot([a_pool(targets=[a_target(**same), a_target("twin", **same)])]))
    state = State()
    assert state.health(pool.targets["primary"]) is state.health(pool.targets["twin"])


class AnyInterleaving(RuleBasedStateMachine):
    """Admissions, releases, refunds, resizes and reloads in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now = State(), NOW
        self.snapshot = limited(limit(scope="Divided"), concurrency=5)
        self.held: list[tuple[Permit, bool]] = []  # and whether the pool was forgotten since
        self.done: list[Permit] = []

    @rule()
    def admit(self) -> None:
        pool = the_pool(self.snapshot)
        allowed, before = self.state.would_allow(pool, self.now), self.state.in_flight(pool)
        permit = self.state.admit(pool, self.now)
        assert isinstance(permit, Permit) == allowed
        if isinstance(permit, Permit):
            assert before < max(1, (pool.concurrency or 10**9) // self.state.sidecars)
            self.held.append((permit, False))

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0), refund=st.booleans())
    def let_go(self, pick: int, refund: bool) -> None:
        permit, _ = self.held.pop(pick % len(self.held))
        if refund:
            permit.refund(self.now)
        else:
            permit.release()
        self.done.append(permit)

    @precondition(lambda self: self.done)
    @rule(pick=st.integers(0), refund=st.booleans())
    def let_go_again(self, pick: int, refund: bool) -> None:
        permit = self.done[pick % len(self.done)]
        if refund:
            permit.refund(self.now)
        else:
            permit.release()

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(maximum=st.integers(1, 100), burst=st.integers(1, 100), places=st.none() | st.integers(1, 10))
    def reload(self, maximum: int, burst: int, places: int | None) -> None:
        self.snapshot = limited(limit(max=maximum, burst=burst, scope="Divided"), concurrency=places)
        assert self.state.retain(self.snapshot) == []

    @rule(count=st.integers(1, 10))
    def sidecars_come_and_go(self, count: int) -> None:
        self.state.sidecars = count

    @rule()
    def forget(self) -> None:
        self.state.retain(limited(name="other"))
        self.held = [(permit, True) for permit, _ in self.held]

    @invariant()
    def nothing_leaks_and_nothing_is_negative(self) -> None:
        assert self.state.in_flight(the_pool(self.snapshot)) == sum(not forgotten for _, forgotten in self.held)
        [seen] = self.state.describe(self.snapshot, self.now)["pools"]
        assert 0 <= seen["limits"][0]["remaining"] <= 100


AnyInterleaving.TestCase.settings = effort(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyInterleaving = AnyInterleaving.TestCase
