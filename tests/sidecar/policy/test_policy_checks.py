"""What active checks do to health: one stance with what requests meet (B38)."""

import pytest

from builders import a_config, a_pool, a_provider, a_target, the_pool
from modelpool_sidecar.activechecks import ActiveChecks
from modelpool_sidecar.core.checking import MAX_BODY_BYTES, Check
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.health import Health, Stance
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import HealthSettings, Snapshot
from modelpool_sidecar.core.state import State
from virtual import JSON, MemoryCredentials, ScriptedUpstream, VirtualClock

HOLD = 14.0
ACTIVE = {"path": "/health", "period": 10_000, "timeout": 2_000, "statuses": ("2xx",)}


class Checked:
    """A health, its requests and its checks; three failed checks take it out, two good ones bring it back."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.health = Health(HealthSettings(3, 3, 30.0, 5.0, 30.0, 2, 10.0))

    def check(self, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.health.checked(outcome, self.now, lambda: 0.0, HOLD)

    def see(self, *outcomes: Outcome, retry_after: float | None = None) -> None:
        for outcome in outcomes:
            ticket = self.health.begin(self.now)
            self.health.end(ticket, outcome, self.now, lambda: 0.0, retry_after=retry_after)

    @property
    def stance(self) -> Stance:
        return self.health.stance(self.now)


BAD, WELL = Outcome.UNREACHABLE, Outcome.OK


def test_failures_in_a_row_take_it_out_and_a_good_one_between_begins_the_row_anew() -> None:
    checked = Checked()
    checked.check(BAD, BAD, WELL, BAD, BAD)
    assert (checked.stance, checked.health.describe(checked.now)["failedChecks"]) == (Stance.SERVING, 2)
    checked.check(BAD)
    assert (checked.stance, checked.health.reason) == (Stance.COOLING, BAD)
    assert checked.health.until(checked.now) == checked.now + HOLD, "until the next check is over for certain"


def test_while_checks_fail_no_client_probes_it() -> None:
    checked = Checked()
    checked.check(BAD, BAD, BAD)
    for _ in range(20):
        checked.now += 12.0
        checked.check(BAD)
        assert checked.stance is Stance.COOLING


def test_good_checks_end_a_cooldown_that_checks_began_and_the_share_ramps() -> None:
    checked = Checked()
    checked.check(BAD, BAD, BAD)
    checked.now += 12.0
    checked.check(WELL)
    assert checked.stance is Stance.COOLING
    checked.check(WELL)
    assert (checked.stance, checked.health.share(checked.now)) == (Stance.SERVING, 0.1)


def test_good_checks_do_not_cut_short_what_clients_met_but_count_as_probes_after_it() -> None:
    checked = Checked()
    checked.see(*[Outcome.FAILED] * 3)
    checked.check(WELL, WELL, WELL)
    assert checked.stance is Stance.COOLING
    checked.now += 5.0
    checked.check(WELL)
    assert checked.stance is Stance.PROBING
    checked.see(WELL)
    assert checked.stance is Stance.SERVING, "a check and a request are two in a row"


def test_a_failed_check_begins_the_row_of_probes_anew() -> None:
    checked = Checked()
    checked.see(*[Outcome.FAILED] * 3)
    checked.now += 5.0
    checked.check(WELL, BAD, WELL)
    assert checked.stance is Stance.PROBING
    checked.check(BAD, BAD, BAD)
    assert checked.stance is Stance.COOLING


@pytest.mark.parametrize("outcome", [Outcome.RATE_LIMITED, Outcome.QUOTA_EXHAUSTED, Outcome.DENIED])
@pytest.mark.parametrize("found", [BAD, WELL])
def test_what_the_account_is_told_is_none_of_their_business(outcome: Outcome, found: Outcome) -> None:
    checked = Checked()
    checked.see(outcome, retry_after=20.0)
    until = checked.health.until(checked.now)
    checked.check(*[found] * 10)
    assert (checked.health.until(checked.now), checked.health.reason) == (until, outcome)
    checked.now = (until or 0.0) + 0.1
    checked.check(WELL, WELL)
    expected = Stance.SERVING if outcome is Outcome.RATE_LIMITED else Stance.PROBING
    assert checked.stance is expected


def test_what_checks_prolong_of_a_cooldown_that_clients_began_checks_may_end() -> None:
    checked = Checked()
    checked.see(*[Outcome.FAILED] * 3)
    checked.check(BAD, BAD, BAD)
    assert checked.health.until(checked.now) == checked.now + HOLD
    checked.check(WELL, WELL)
    assert checked.stance is Stance.SERVING


def test_the_schedule_spreads_checks_and_never_runs_early() -> None:
    check = Check("http://a/health", 10.0, 2.0, ("2xx",))
    assert [check.first(chance) for chance in (0.0, 0.5)] == [0.0, 5.0]
    assert [check.next(chance) for chance in (0.0, 1.0)] == [10.0, 12.0]
    assert check.hold == 14.0


@pytest.mark.parametrize(("status", "well"), [(200, True), (204, True), (301, False), (404, False), (503, False)])
def test_a_status_that_is_named_is_well(status: int, well: bool) -> None:
    assert (Check("", 1.0, 1.0, ("2xx",)).judge(status) is Outcome.OK) == well


# -- the shell, on virtual time


class Checking:
    """Active checks of provider `a` in front of a scripted upstream."""

    def __init__(self, **provider: object) -> None:
        self.clock, self.upstream, self.state = VirtualClock(), ScriptedUpstream(), State()
        self.credentials = MemoryCredentials()
        self.told: list[tuple[str, str]] = []
        self.checks = ActiveChecks(
            self.upstream, self.credentials, self.clock, lambda: 0.0, self.state, lambda *told: self.told.append(told)
        )
        self.take(**provider)

    def take(self, **provider: object) -> None:
        health = {"failures": 3, "active": ACTIVE, **provider.pop("health", {})}  # type: ignore[dict-item]
        made = [a_provider("a", health=health, **provider), a_provider("b")]
        targets = [a_target("a"), a_target("other", provider="a"), a_target("b")]
        self.snapshot: Snapshot = compile_config(a_config([a_pool(targets=targets)], made))
        self.checks.take(self.snapshot)

    def stances(self) -> list[str]:
        targets = the_pool(self.snapshot).targets.values()
        return [self.state.health(target).stance(self.clock.now()).value for target in targets]


def test_every_target_of_the_provider_goes_and_comes_back_and_no_other() -> None:
    it = Checking()
    for wait in (0.0, 10.0, 10.0):
        it.clock.advance(wait)
        it.upstream.last.error("connect")
    assert it.stances() == ["cooling", "cooling", "serving"]
    for _ in range(2):
        it.clock.advance(10.0)
        it.upstream.last.answer({}, 200)
    assert it.stances() == ["serving"] * 3
    assert it.told == [("a", "Unreachable")] * 3 + [("a", "Ok")] * 2
    asked = it.upstream.last.request
    assert asked is not None
    assert (asked.method, asked.url, asked.body) == ("GET", "http://a.internal/health", b"")


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, Outcome.OK), (503, Outcome.FAILED), (401, Outcome.FAILED), (302, Outcome.FAILED)]
)
def test_an_answer_is_judged_by_its_status(status: int, outcome: Outcome) -> None:
    it = Checking()
    it.clock.advance(0.0)
    it.upstream.last.answer({}, status)
    assert it.told == [("a", outcome.value)]


def test_an_answer_that_does_not_come_or_end_in_time_is_dropped() -> None:
    it = Checking()
    it.clock.advance(2.0)
    assert (it.upstream.last.cancelled, it.told) == (True, [("a", "TimedOut")])
    it.clock.advance(10.0)
    it.upstream.last.head(200, JSON)
    it.clock.advance(2.0)
    assert it.told == [("a", "TimedOut")] * 2


def test_a_long_answer_is_not_read_to_its_end() -> None:
    it = Checking()
    it.clock.advance(0.0)
    it.upstream.last.head(200, JSON)
    it.upstream.last.data(b"x" * MAX_BODY_BYTES)
    assert it.told == []
    it.upstream.last.data(b"x")
    assert (it.upstream.last.cancelled, it.told) == (True, [("a", "Ok")])


def test_a_kept_connection_that_was_closed_is_replaced_once_and_blames_nobody() -> None:
    it = Checking()
    it.clock.advance(0.0)
    it.upstream.last.error("stale")
    assert (len(it.upstream.attempts), it.told) == (2, [])
    assert it.upstream.last.request is not None
    assert it.upstream.last.request.fresh
    it.upstream.last.error("cut")
    assert it.told == [("a", "Broken")]


def test_without_its_key_nobody_is_asked_and_with_it_the_key_goes_along() -> None:
    key = {"header": "Authorization", "prefix": "Bearer ", "credential": "k", "source": "Secret s, key k"}
    it = Checking(auth=key, headers=({"name": "x-team", "value": "1"},))
    it.clock.advance(30.0)
    assert (it.upstream.attempts, it.told) == ([], [])
    it.credentials.keys["k"] = "sk-1"
    it.clock.advance(10.0)
    assert it.upstream.last.request is not None
    sent = dict(it.upstream.last.request.headers)
    assert (sent["authorization"], sent["x-team"], sent["accept-encoding"]) == ("Bearer sk-1", "1", "identity")


def test_a_reload_keeps_what_did_not_change_and_replaces_what_did() -> None:
    it = Checking()
    it.clock.advance(0.0)
    first = it.upstream.last
    it.take()
    assert not first.cancelled
    it.take(health={"active": {**ACTIVE, "path": "/other"}})
    assert first.cancelled
    it.clock.advance(0.0)
    assert it.upstream.last.request is not None
    assert it.upstream.last.request.url == "http://a.internal/other"
    assert it.clock.armed == 1
    it.take(traffic="Drained")
    assert (it.clock.armed, repr(it.checks)) == (0, "<ActiveChecks of nobody>")
    it.take()
    assert repr(it.checks) == "<ActiveChecks of a>"
    it.take(health={"active": None})
    assert it.clock.armed == 0


def test_nothing_runs_after_the_close() -> None:
    it = Checking()
    it.clock.advance(0.0)
    it.checks.close()
    it.checks.close()
    assert (it.upstream.last.cancelled, it.clock.armed, it.told) == (True, 0, [])
