"""What providers of one account share, and what they do not (B22, B48)."""

from typing import Any

import pytest

from builders import a_config, a_pool, a_provider, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.health import Stance
from modelpool_sidecar.core.outcome import RULES, Outcome
from modelpool_sidecar.core.snapshot import Snapshot, Target
from modelpool_sidecar.core.state import State
from virtual import Bench, a_completion

NAMES = ("east", "west", "other")


def three(**west: Any) -> Snapshot:
    """Two pools; east and west are one account, other is not. West stands in the second pool only."""
    providers = [
        a_provider("east", quota_domain="team"),
        a_provider("west", **{"quota_domain": "team", **west}),
        a_provider("other"),
    ]
    pools = [a_pool("chat", [a_target("east"), a_target("other")]), a_pool("more", [a_target("west")])]
    return a_snapshot(pools, providers)


class Account:
    """The three targets with their state."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.now = 1_000.0
        self.state = State()
        self.take(snapshot or three())

    def take(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.state.retain(snapshot)

    def target(self, name: str) -> Target:
        return next(pool.targets[name] for pool in map(self.pool, ("chat", "more")) if name in pool.targets)

    def pool(self, name: str) -> Any:
        return the_pool(self.snapshot, name)

    def see(self, name: str, outcome: Outcome, **more: Any) -> None:
        target = self.target(name)
        health = self.state.health(target)
        health.end(health.begin(self.now), outcome, self.now, lambda: 0.0, **more)
        self.state.quotas.ended(target, outcome, self.now)

    def cooling(self) -> list[str]:
        found = ((name, self.state.health(self.target(name)).stance(self.now)) for name in NAMES)
        return [name for name, stance in found if stance is Stance.COOLING]


def test_a_rate_limit_of_one_cools_all_of_its_account_for_as_long_and_nobody_else() -> None:
    account = Account()
    account.see("east", Outcome.RATE_LIMITED, retry_after=12.0)
    assert account.cooling() == ["east", "west"]
    west = account.state.health(account.target("west"))
    assert (west.reason, west.knows_wait, west.until(account.now)) == (Outcome.RATE_LIMITED, True, account.now + 12.0)
    account.now += 12.0
    assert account.cooling() == []
    assert west.available(account.now)
    assert west.share(account.now) == 1.0, "it comes back without probe or ramp, as after its own"


def test_an_exhausted_quota_cools_all_of_its_account_and_each_proves_itself_afterwards() -> None:
    account = Account()
    account.see("west", Outcome.QUOTA_EXHAUSTED)
    assert account.cooling() == ["east", "west"]
    account.now += 301.0
    assert [account.state.health(account.target(name)).stance(account.now) for name in NAMES] == [
        Stance.PROBING, Stance.PROBING, Stance.SERVING,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "outcome", [outcome for outcome in RULES if outcome not in (Outcome.RATE_LIMITED, Outcome.QUOTA_EXHAUSTED)]
)
def test_nothing_else_is_shared(outcome: Outcome) -> None:
    account = Account()
    for _ in range(20):
        account.see("east", outcome)
    assert "west" not in account.cooling()


def test_a_longer_cooldown_of_its_own_stays_with_its_reason() -> None:
    account = Account()
    account.see("west", Outcome.DENIED)
    account.see("east", Outcome.RATE_LIMITED, retry_after=12.0)
    assert account.state.health(account.target("west")).reason is Outcome.DENIED


def test_a_shorter_cooldown_of_its_own_grows_and_the_target_stays_on_probation() -> None:
    account = Account(three(health={"failures": 1, "min_requests": 1}))
    account.see("west", Outcome.FAILED)
    account.see("east", Outcome.RATE_LIMITED, retry_after=12.0)
    west = account.state.health(account.target("west"))
    assert west.reason is Outcome.RATE_LIMITED
    account.now += 12.0
    assert west.stance(account.now) is Stance.PROBING


def test_a_late_word_from_before_the_cooldown_starts_none_elsewhere() -> None:
    account = Account()
    east = account.state.health(account.target("east"))
    early = east.begin(account.now)
    account.see("east", Outcome.RATE_LIMITED, retry_after=1.0)
    account.now += 2.0
    east.end(early, Outcome.RATE_LIMITED, account.now, lambda: 0.0, retry_after=60.0)
    account.state.quotas.ended(account.target("east"), Outcome.RATE_LIMITED, account.now)
    assert account.cooling() == []


def test_a_reload_keeps_the_shared_cooldown_and_forgets_who_left_the_account() -> None:
    account = Account()
    account.see("east", Outcome.RATE_LIMITED, retry_after=12.0)
    account.take(three(quota_domain=None))
    assert account.cooling() == ["east", "west"], "what was learned together stays"
    account.now += 12.0
    account.see("east", Outcome.RATE_LIMITED, retry_after=12.0)
    assert account.cooling() == ["east"]


def test_the_next_request_goes_past_the_whole_account() -> None:
    """End to end through the proxy: a 429 at one provider spares its twin the second one."""
    providers = [
        a_provider("east", quota_domain="team"),
        a_provider("west", quota_domain="team"),
        a_provider("other"),
    ]
    targets = [a_target("east"), a_target("west", priority=1), a_target("other", priority=2)]
    bench = Bench(compile_config(a_config([a_pool(targets=targets)], providers)))
    assert bench.snapshot is not None
    bench.state.retain(bench.snapshot)
    client = bench.ask()
    bench.upstream.last.answer({"error": {"code": "rate_limit_exceeded"}}, 429, (("retry-after", "20"),))
    bench.upstream.last.answer(a_completion())
    assert bench.upstream.asked == ["east", "other"]
    assert client.status == 200
    told = bench.state.describe(bench.snapshot, bench.clock.now())["pools"][0]["targets"]
    assert [(target["name"], target["reason"], target["quotaDomain"]) for target in told] == [
        ("east", "RateLimited", "team"), ("west", "RateLimited", "team"), ("other", None, None),
    ]  # fmt: skip
    assert repr(bench.state.quotas) == "<Quotas: team 2>"


def test_without_domains_nothing_is_kept() -> None:
    assert repr(State().quotas) == "<Quotas: none>"
