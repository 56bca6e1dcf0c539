"""The walk over targets: which is asked first, which is passed over, and that a pin is never left."""

from collections import Counter
from random import Random

from builders import a_pool, a_provider, a_snapshot, a_target, the_pool
from dispatch_walk import Walk, cool, two
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome


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


def test_what_a_target_that_is_away_leaves_goes_to_the_others_by_their_weights() -> None:
    """B2: a target is drawn before it is looked at, and drawn anew where it is away: nobody gains by that."""
    chance, count = Random(11), 10_000
    targets = [a_target(weight=7), a_target("away", weight=30), a_target("backup", weight=3)]
    providers = [a_provider(), a_provider("away", traffic="Drained"), a_provider("backup")]
    snapshot = a_snapshot([a_pool(targets=targets)], providers)
    asked: Counter[str] = Counter()
    for _ in range(count):
        step = Walk(snapshot, rng=chance.random).next()
        assert isinstance(step, Try)
        asked[step.target.name] += 1
    assert set(asked) == {"primary", "backup"}
    assert abs(asked["primary"] - 0.7 * count) < 4 * (0.7 * 0.3 * count) ** 0.5


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


# -- pinned


def test_a_pinned_target_never_falls_back() -> None:
    """B20."""
    snapshot = two()
    walk = Walk(snapshot, tiers=((the_pool(snapshot).targets["backup"],),))
    assert walk.run(Outcome.TIMED_OUT) == ["backup"]
