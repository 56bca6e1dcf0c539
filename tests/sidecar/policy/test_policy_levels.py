"""Limits at every level, divided by what a request carries: B3, B8, B9, B10, B12."""

import tracemalloc
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.allowance import Asker, Tokens
from modelpool_sidecar.core.buckets import REST, Buckets
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Stop, Try
from modelpool_sidecar.core.gcra import Shape
from modelpool_sidecar.core.limits import Limited, Permit
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

NOW = 1_000.0
SHAPE = Shape.of(1, 60.0, 1)
KEY = ("pool", "chat", "minute")


def limit(name: str = "minute", **changes: Any) -> dict[str, Any]:
    return {"name": name, "max": 1, "per": 60_000, "burst": 1, "scope": "Sidecar", **changes}


def by_header(**changes: Any) -> dict[str, Any]:
    return limit(by="Header", header="X-Tenant", **changes)


def pool_of(*requests: dict[str, Any]) -> Pool:
    return the_pool(a_snapshot([a_pool(limits={"requests": requests})]))


def asker(tenant: str | None = None) -> Asker:
    return Asker((("x-other", "a"), *((("x-tenant", tenant),) if tenant is not None else ())), "default")


def two(*own: dict[str, Any], account: tuple[dict[str, Any], ...] = (), **changes: Any) -> Snapshot:
    """A target with limits of its own and of its provider, and one without any behind it."""
    targets = [a_target(limits={"requests": own}), a_target("backup", priority=1)]
    providers = [a_provider(limits={"requests": account}), a_provider("backup")]
    return a_snapshot([a_pool(targets=targets, **changes)], providers)


def walk(snapshot: Snapshot, state: State, now: float = NOW, **more: Any) -> Dispatch:
    return Dispatch(the_pool(snapshot), state, "chat", now + 600, lambda: 0.0, lambda _target: (), **more)


def failed(step: Try, outcome: Outcome, *, unsent: bool = False, **fields: Any) -> Failure:
    return Failure(step.target.name, step.target.provider.name, outcome, "it failed", unsent=unsent, **fields)


def asked(snapshot: Snapshot, state: State, now: float = NOW, **more: Any) -> str | Refusal:
    """Whom a request goes to first; it is answered at once. Or what it is told."""
    dispatch = walk(snapshot, state, now, **more)
    step = dispatch.next(now)
    if isinstance(step, Try):
        dispatch.complete(Outcome.OK, now)
        return step.target.name
    assert isinstance(step, Stop)
    assert isinstance(step.answer, Refusal)
    return step.answer


# -- divided by who asks


def test_each_value_of_a_header_has_a_bucket_of_its_own_and_all_without_it_share_one() -> None:
    state, pool = State(), pool_of(by_header())
    for tenant in ("a", "b", None):
        assert isinstance(state.admit(pool, NOW, asker(tenant)), Permit)
        refused = state.admit(pool, NOW, asker(tenant))
        assert isinstance(refused, Limited)
        assert (refused.level, refused.header, refused.retry_after) == ("pool", "x-tenant", 60.0)
    assert isinstance(state.admit(pool, NOW, asker("A")), Permit), "values are compared with case"


def test_a_namespace_is_one_bucket_and_a_pool_is_one_bucket() -> None:
    state, pool = State(), pool_of(limit(by="Namespace"))
    assert isinstance(state.admit(pool, NOW, Asker((), "red")), Permit)
    assert isinstance(state.admit(pool, NOW, Asker((), "red")), Limited)
    assert isinstance(state.admit(pool, NOW, Asker((), "blue")), Permit)


def test_a_long_value_is_known_by_its_digest() -> None:
    state, pool = State(), pool_of(by_header())
    assert isinstance(state.admit(pool, NOW, asker("a" * 9_000)), Permit)
    assert isinstance(state.admit(pool, NOW, asker("a" * 9_000)), Limited)
    assert isinstance(state.admit(pool, NOW, asker("a" * 9_001)), Permit)
    assert all(len(name) < 64 for name in state.levels.buckets.of(KEY))


def test_looking_keeps_nothing_of_a_value_that_was_never_seen() -> None:
    state, pool = State(), pool_of(by_header())
    assert state.would_allow(pool, NOW, asker("a"))
    assert len(state.levels.buckets) == 0


def test_observe_lets_pass_what_it_counts_and_tells_no_client_of_it() -> None:
    state = State()
    snapshot = a_snapshot([a_pool(limits={"requests": (limit(mode="Observe"),)})])
    pool = the_pool(snapshot)
    permits = [state.admit(pool, NOW) for _ in range(4)]
    assert [permit.observed for permit in permits if isinstance(permit, Permit)] == [(), *[("pool/minute",)] * 3]
    assert all(permit.headers == () for permit in permits)
    told = state.describe(snapshot, NOW)["pools"][0]["limits"][0]
    assert (told["mode"], told["observed"], told["remaining"]) == ("Observe", 3, 0)
    assert isinstance(state.admit(pool, NOW + 60), Permit)
    assert state.describe(snapshot, NOW + 60)["pools"][0]["limits"][0]["observed"] == 3, "what passed was not piled up"


# -- in bounded memory


def test_a_whole_bucket_is_forgotten_for_a_new_value_and_one_that_is_not_whole_never() -> None:
    buckets = Buckets(each=2)
    for who, now in (("a", 0.0), ("b", 50.0)):
        buckets.keep(KEY, *buckets.find(KEY, who, SHAPE, now)).take(now)
    name, third = buckets.find(KEY, "c", SHAPE, 50.0)
    assert name == REST, "nothing is whole: it shares"
    buckets.keep(KEY, name, third).take(50.0)
    assert buckets.find(KEY, "d", SHAPE, 50.0) == (REST, third)
    assert third.wait(50.0) == 60.0
    assert buckets.find(KEY, "a", SHAPE, 50.0)[1].wait(50.0) == 10.0, "nobody who was there is touched"
    assert buckets.find(KEY, "e", SHAPE, 60.0)[0] == REST, "there is one above the bound"
    assert buckets.find(KEY, "e", SHAPE, 110.0)[0] == "e"
    assert set(buckets.of(KEY)) == set()
    assert repr(buckets) == "<Buckets: 0 of 1 limits>"


def test_where_all_limits_together_have_too_many_the_largest_makes_room() -> None:
    buckets, other = Buckets(each=10, most=3), ("pool", "code", "minute")
    for who in ("a", "b"):
        buckets.keep(KEY, *buckets.find(KEY, who, SHAPE, 0.0)).take(0.0)
    buckets.keep(other, *buckets.find(other, "a", SHAPE, 0.0)).take(0.0)
    assert buckets.find(other, "b", SHAPE, 0.0)[0] == REST
    assert buckets.find(other, "b", SHAPE, 60.0)[0] == "b"
    assert (len(buckets.of(KEY)), len(buckets.of(other)), list(buckets)) == (0, 1, [KEY, other])


def test_fifty_thousand_values_beside_five_thousand_keys_take_less_than_fifty_megabytes() -> None:
    state, pool = State(), pool_of(by_header(name="tenant"), limit("key", by="Header", header="x-key"))
    tracemalloc.start()
    try:
        for number in range(50_000):
            headers = (("x-tenant", f"tenant-{number:012}"), ("x-key", f"key-{number % 5_000:012}"))
            state.admit(pool, NOW + number * 0.02, Asker(headers))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 50_000_000


# -- per attempt


def test_a_target_at_its_limit_is_passed_over_without_an_attempt_or_a_sleep() -> None:
    """B12: a local skip consumes neither."""
    state, snapshot = State(), two(limit())
    assert [asked(snapshot, state) for _ in range(3)] == ["primary", "backup", "backup"]
    assert asked(snapshot, state, NOW + 60) == "primary"
    block = walk(snapshot, state, NOW + 61).outlook(NOW + 61).blocks["primary"]
    assert block is not None
    assert (block.kind, round(block.wait)) == ("limited", 59)


def test_what_a_provider_allows_is_shared_by_all_pools_that_use_it() -> None:
    account = {"requests": (limit(max=2, burst=2),)}
    pools = [a_pool("chat"), a_pool("code")]
    snapshot = a_snapshot(pools, [a_provider(limits=account)])
    state = State()
    assert asked(snapshot, state) == "primary"
    code = Dispatch(the_pool(snapshot, "code"), state, "chat", NOW + 600, lambda: 0.0, lambda _target: ())
    assert isinstance(code.next(NOW), Try)
    refused = asked(snapshot, state)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.code, refused.retry_after) == (429, "all_limited", 30.0)
    assert "primary is at its provider's limit 'minute' of 2 for 30.0 s" in refused.message
    [told] = state.describe(snapshot, NOW)["providers"][0]["limits"]
    assert (told["level"], told["remaining"]) == ("provider", 0)


def test_where_all_are_limited_the_smallest_wait_is_told() -> None:
    targets = [a_target(limits={"requests": (limit(per=90_000),)}), a_target("backup", limits={"requests": (limit(),)})]
    state, snapshot = State(), a_snapshot([a_pool(targets=targets)])
    assert {asked(snapshot, state), asked(snapshot, state)} == {"primary", "backup"}
    refused = asked(snapshot, state)
    assert isinstance(refused, Refusal)
    assert (refused.status, refused.retry_after) == (429, 60.0)


def test_without_locallimit_among_the_outcomes_the_request_is_refused_and_does_not_spill_over() -> None:
    kept = tuple(set(BY_DEFAULT) - {Outcome.LOCAL_LIMIT})
    state, snapshot = State(), two(by_header(), fallback={"outcomes": kept})
    assert asked(snapshot, state, asker=asker("a")) == "primary"
    refused = asked(snapshot, state, asker=asker("a"))
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.retry_after) == ("all_limited", 60.0)
    assert "its limit 'minute' of 1 for this value of x-tenant" in refused.message
    assert asked(snapshot, state, asker=asker("b")) == "primary"


def test_a_limit_reached_before_a_fallback_ends_the_walk_with_what_was_said_so_far() -> None:
    kept = tuple(set(BY_DEFAULT) - {Outcome.LOCAL_LIMIT})
    targets = [a_target(), a_target("backup", priority=1, limits={"requests": (limit(),)})]
    state, snapshot = State(), a_snapshot([a_pool(targets=targets, fallback={"outcomes": kept})])
    for expected in ("backup", None):
        dispatch = walk(snapshot, state)
        first = dispatch.next(NOW)
        assert isinstance(first, Try)
        dispatch.observe(failed(first, Outcome.RATE_LIMITED, retry_after=100.0), NOW)
        second = dispatch.next(NOW)
        if expected is None:
            assert isinstance(second, Stop)
            assert isinstance(second.answer, Refusal)
            assert second.answer.retry_after == 60.0, "its own limit opens before the provider's does"
        else:
            assert isinstance(second, Try)
            dispatch.complete(Outcome.OK, NOW)
        state.health(first.target).end(state.health(first.target).begin(NOW), Outcome.OK, NOW, lambda: 0.0)
        state = keep_limits(state)


def keep_limits(state: State) -> State:
    """The same buckets with everybody in good health."""
    fresh = State()
    fresh.levels = state.levels
    return fresh


def test_an_attempt_that_reached_no_provider_gives_back_and_one_that_did_does_not() -> None:
    """B10."""
    for unsent, left in ((True, 1), (False, 0)):
        state, snapshot = State(), two(limit(), account=(limit("account"),))
        dispatch = walk(snapshot, state)
        step = dispatch.next(NOW)
        assert isinstance(step, Try)
        dispatch.observe(failed(step, Outcome.UNREACHABLE, unsent=unsent), NOW)
        target = state.describe(snapshot, NOW)["pools"][0]["targets"][0]
        assert [told["remaining"] for told in target["limits"]] == [left, left]


def test_a_provider_that_refuses_takes_nothing_from_the_target() -> None:
    """B9."""
    state, snapshot = State(), two(limit(max=5, burst=5), account=(limit("account"),))
    assert [asked(snapshot, state) for _ in range(3)] == ["primary", "backup", "backup"]
    told = state.describe(snapshot, NOW)["pools"][0]["targets"][0]["limits"]
    assert [(each["level"], each["remaining"]) for each in told] == [("target", 4), ("provider", 0)]


def test_a_pinned_target_obeys_its_limits() -> None:
    state, snapshot = State(), two(limit())
    pinned = ((the_pool(snapshot).targets["primary"],),)
    assert asked(snapshot, state, tiers=pinned) == "primary"
    assert isinstance(asked(snapshot, state, tiers=pinned), Refusal)


def test_a_target_that_cools_and_is_limited_is_not_tried_as_a_last_resort() -> None:
    snapshot = a_snapshot([a_pool(targets=[a_target(limits={"requests": (limit(),)})])])
    state, target = State(), the_pool(snapshot).targets["primary"]
    assert asked(snapshot, state) == "primary"
    health = state.health(target)
    for _ in range(3):
        health.end(health.begin(NOW), Outcome.UNREACHABLE, NOW, lambda: 0.0)
    refused = asked(snapshot, state)
    assert isinstance(refused, Refusal)
    assert refused.code == "all_limited"


def test_a_known_wait_of_one_target_and_a_limit_of_another_tell_the_shorter() -> None:
    targets = [a_target(), a_target("backup", limits={"requests": (limit(),)})]
    snapshot = a_snapshot([a_pool(targets=targets)])
    state, target = State(), the_pool(snapshot).targets["primary"]
    health = state.health(target)
    health.end(health.begin(NOW), Outcome.RATE_LIMITED, NOW, lambda: 0.0, retry_after=200.0)
    assert asked(snapshot, state) == "backup"
    refused = asked(snapshot, state)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.retry_after) == ("all_limited", 60.0)


def test_a_limit_of_a_target_that_only_observes_passes_nobody_over() -> None:
    state, snapshot = State(), two(limit(mode="Observe"))
    assert [asked(snapshot, state) for _ in range(3)] == ["primary"] * 3
    dispatch = walk(snapshot, state)
    dispatch.settle(Tokens(1, 1), NOW)
    assert dispatch.used == Tokens(), "nothing runs"
    dispatch.next(NOW)
    assert (dispatch.observed, dispatch.told) == (("target/minute",), ())


# -- across reloads


def test_another_max_at_a_provider_keeps_the_used_share() -> None:
    """B8."""
    state = State()
    before = two(account=(limit(max=100, burst=100),))
    for _ in range(40):
        asked(before, state)
    after = two(account=(limit(max=50, burst=50),))
    assert state.retain(after) == []
    assert asked(after, state) == "primary"
    assert state.describe(after, NOW)["providers"][0]["limits"][0]["remaining"] == 29


def test_limits_that_nobody_mentions_any_more_are_forgotten_with_their_values() -> None:
    """B48."""
    state = State()
    before = two(by_header(mode="Observe"), account=(limit("account", max=9, burst=9),))
    for tenant in ("a", "a", "b"):
        asked(before, state, asker=asker(tenant))
    told = state.describe(before, NOW)["pools"][0]["targets"][0]["limits"][0]
    assert (told["by"], told["values"], told["observed"]) == ("x-tenant", 2, 1)
    forgotten = state.retain(two())
    assert {("target", "chat/primary", "minute"), ("provider", "primary", "account")} <= set(forgotten)
    assert len(state.levels.buckets) == 0
    assert repr(state.levels) == "<Levels: <Buckets: 0 of 0 limits>>"


def test_divided_uses_what_the_number_of_sidecars_leaves_at_every_level() -> None:
    state, snapshot = State(sidecars=4), two(account=(limit(scope="Divided", max=8, burst=8),))
    assert [asked(snapshot, state) for _ in range(3)] == ["primary", "primary", "backup"]


def test_a_header_is_named_without_case_and_a_config_without_the_new_fields_reads_as_before() -> None:
    config = a_config([a_pool(limits={"requests": (limit(),)})])
    [plain] = the_pool(compile_config(config)).request_limits
    assert (plain.by, plain.header, plain.observe, plain.level) == ("Pool", "", False, "pool")
    [divided] = pool_of(by_header()).request_limits
    assert divided.header == "x-tenant"


@pytest.mark.parametrize("taken", [0, 1])
def test_what_was_taken_is_given_back_once(taken: int) -> None:
    """B11."""
    state, pool = State(), pool_of(limit(max=3, burst=3))
    for _ in range(taken):
        state.admit(pool, NOW)
    permit = state.admit(pool, NOW)
    assert isinstance(permit, Permit)
    grip = state.levels.find(pool.request_limits, asker(), NOW).take()
    assert repr(grip) == "<Grip on 1 limits>"
    for _ in range(2):
        grip.give_back(NOW)
        permit.refund(NOW)
    [bucket] = state.levels.buckets.of(KEY).values()
    assert bucket.remaining(NOW) == 3 - taken


# -- whoever has used least of its limits


def test_lowest_usage_asks_the_one_of_whose_limits_the_smallest_part_is_used() -> None:
    """B1: 10 of 40 are as much as 5 of 20."""
    sizes = {"large": 40, "small": 20}
    targets = [a_target(name, limits={"requests": (limit(max=n, burst=n),)}) for name, n in sizes.items()]
    state, snapshot = State(), a_snapshot([a_pool(targets=targets, strategy="LowestUsage")])
    seen = [asked(snapshot, state) for _ in range(30)]
    assert (seen.count("large"), seen.count("small")) == (20, 10)


def test_lowest_usage_looks_at_the_providers_limits_too_and_draws_by_weight_among_equals() -> None:
    account = {"requests": (limit(max=9, burst=9),)}
    targets = [a_target(), a_target("free", weight=3), a_target("spare", weight=1)]
    providers = [a_provider(limits=account), a_provider("free"), a_provider("spare")]
    snapshot = a_snapshot([a_pool(targets=targets, strategy="LowestUsage")], providers)
    state = State()
    pool = the_pool(snapshot)
    for name, chance in (("free", 0.7), ("spare", 0.99)):
        state.levels.find(pool.targets["primary"].limits, asker(), NOW).take()
        dispatch = Dispatch(pool, state, "chat", NOW + 600, lambda chance=chance: chance, lambda _target: ())
        step = dispatch.next(NOW)
        assert isinstance(step, Try)
        assert step.target.name == name
        dispatch.complete(Outcome.OK, NOW)


# -- the laws, under any interleaving


class AnyWalks(RuleBasedStateMachine):
    """Requests with attempts at two targets of one provider, that end in every way and in any order: B3, B9, B11."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"max": 6, "burst": 6}
        targets = [
            a_target(limits={"requests": (limit("few", max=3, burst=3),)}),
            a_target("other", provider="primary"),
        ]
        pool = a_pool(targets=targets, limits={"requests": (limit("all", **sizes),)})
        self.snapshot = a_snapshot([pool], [a_provider(limits={"requests": (limit("account", max=4, burst=4),)})])
        self.state, self.pool = State(), the_pool(self.snapshot)
        self.running: list[tuple[Permit, Dispatch, Try]] = []
        self.kept = {"pool": 0, "target": 0, "provider": 0}

    def free(self) -> dict[str, int]:
        """What is left of each level; time stands still, so nothing drains."""
        told = self.state.describe(self.snapshot, NOW)["pools"][0]
        [own, account] = told["targets"][0]["limits"]
        return {"pool": told["limits"][0]["remaining"], "target": own["remaining"], "provider": account["remaining"]}

    @rule(chance=st.floats(0, 0.99))
    def come(self, chance: float) -> None:
        before = self.free()
        assert self.state.would_allow(self.pool, NOW) == (before["pool"] > 0)
        permit = self.state.admit(self.pool, NOW)
        if isinstance(permit, Limited):
            assert before["pool"] == 0
            return
        dispatch = Dispatch(self.pool, self.state, "chat", NOW + 600, lambda: chance, lambda _target: ())
        dispatch.outlook(NOW)
        step = dispatch.next(NOW)
        if isinstance(step, Stop):
            permit.refund(NOW)
            assert self.free() == before, "a refusal further down gives back what was taken further up"
            return
        assert isinstance(step, Try)
        self.running.append((permit, dispatch, step))
        self._keep(step)

    def _keep(self, step: Try, by: int = 1) -> None:
        for level, counts in (("pool", True), ("target", step.target.name == "primary"), ("provider", True)):
            self.kept[level] += by if counts else 0

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0), end=st.sampled_from(["complete", "abandon", "unsent"]), twice=st.booleans())
    def go(self, pick: int, end: str, twice: bool) -> None:
        permit, dispatch, step = self.running.pop(pick % len(self.running))
        if end == "complete":
            dispatch.complete(Outcome.OK, NOW)
        elif end == "abandon":
            dispatch.abandon(NOW)
        else:
            dispatch.observe(failed(step, Outcome.CANCELLED, unsent=True), NOW)
            permit.refund(NOW)
            self._keep(step, -1)
        for _ in range(1 + twice):
            dispatch.abandon(NOW)
            permit.release()

    @invariant()
    def what_is_taken_is_what_was_used_or_runs(self) -> None:
        assert self.free() == {level: size - self.kept[level] for level, size in SIZES.items()}
        assert self.state.in_flight(self.pool) == len(self.running)
        assert self.state.open_count("primary") == len(self.running)


SIZES = {"pool": 6, "target": 3, "provider": 4}
AnyWalks.TestCase.settings = effort(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyWalks = AnyWalks.TestCase


@given(
    st.integers(1, 12),
    st.integers(1, 60),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 11)), min_size=1, max_size=200),
)
def test_sidecars_that_divide_a_limit_let_pass_no_more_than_the_page_says(
    count: int, maximum: int, burst: int, requests: list[tuple[int, int]]
) -> None:
    """B13: in any stretch of time at most the larger of burst and n, plus time * max / per; n sidecars, any traffic."""
    pool = pool_of(limit(max=maximum, burst=burst, scope="Divided"))
    sidecars, milliseconds = [State(sidecars=count) for _ in range(count)], 10**6
    passed: list[int] = []
    for pause, which in requests:
        milliseconds += pause
        if isinstance(sidecars[which % count].admit(pool, milliseconds / 1000), Permit):
            passed.append(milliseconds)
    for index, first in enumerate(passed):
        for number, last in enumerate(passed[index:], 1):
            assert number <= max(burst, count) + Fraction(last - first, 60_000) * maximum


def test_sidecars_that_divide_a_limit_and_are_all_busy_let_pass_all_of_it() -> None:
    pool, count = pool_of(limit(max=60, burst=60, scope="Divided")), 7
    sidecars = [State(sidecars=count) for _ in range(count)]
    passed = sum(
        isinstance(sidecar.admit(pool, NOW + tick / 10), Permit) for tick in range(6_000) for sidecar in sidecars
    )
    assert 60 * 10 - count <= passed <= 60 + 60 * 10
