"""When a target leaves rotation, for how long, and how it comes back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings as effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelpool_sidecar.core.health import Health, Stance, Ticket
from modelpool_sidecar.core.outcome import RULES, Blame, Outcome
from modelpool_sidecar.core.snapshot import HealthSettings

DEFAULTS: dict[str, Any] = {
    "failures": 3,
    "min_requests": 3,
    "window": 30.0,
    "cooldown": 5.0,
    "max_cooldown": 30.0,
    "successes": 2,
    "ramp_up": 10.0,
}
COUNTING = [outcome for outcome, row in RULES.items() if row.blame is Blame.COUNTS]
NEUTRAL = [outcome for outcome, row in RULES.items() if row.blame is Blame.NONE]


class Bench:
    """A health with a virtual clock and no jitter."""

    def __init__(self, **changes: Any) -> None:
        self.now = 1_000.0
        self.health = Health(HealthSettings(**{**DEFAULTS, **changes}), "primary/gpt")

    def see(self, *outcomes: Outcome, rng: Callable[[], float] = lambda: 0.0, **more: Any) -> None:
        for outcome in outcomes:
            self.health.end(self.health.begin(self.now), outcome, self.now, rng, **more)

    def cooldown(self) -> float | None:
        until = self.health.until(self.now)
        return None if until is None else until - self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    @property
    def stance(self) -> Stance:
        return self.health.stance(self.now)


def cooling(**changes: Any) -> Bench:
    bench = Bench(**changes)
    bench.see(*[Outcome.FAILED] * 3)
    return bench


def test_every_outcome_either_counts_or_does_not() -> None:
    assert set(COUNTING) == {
        Outcome.UNREACHABLE, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.STALLED, Outcome.BROKEN, Outcome.EMPTY,
    }  # fmt: skip


@pytest.mark.parametrize("outcome", COUNTING)
def test_enough_failures_cool_the_target(outcome: Outcome) -> None:
    bench = Bench()
    bench.see(outcome, outcome)
    assert bench.stance is Stance.SERVING
    bench.see(outcome)
    assert bench.stance is Stance.COOLING
    assert bench.cooldown() == 5.0
    assert bench.health.reason is outcome
    assert not bench.health.knows_wait
    assert repr(bench.health) == f"<Health primary/gpt: cooling 5 s ({outcome})>"


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_what_is_not_the_targets_doing_never_counts(outcome: Outcome) -> None:
    bench = Bench()
    bench.see(*[outcome] * 50)
    bench.see(Outcome.FAILED, Outcome.FAILED)
    assert bench.stance is Stance.SERVING
    assert repr(bench.health) == "<Health primary/gpt: serving>"


def test_a_blameless_failure_is_not_held_against_it() -> None:
    bench = Bench()
    bench.see(*[Outcome.FAILED] * 50, blameless=True)
    assert bench.stance is Stance.SERVING


def test_few_attempts_judge_nobody() -> None:
    bench = Bench(min_requests=10)
    bench.see(*[Outcome.FAILED] * 9)
    assert bench.stance is Stance.SERVING
    bench.see(Outcome.FAILED)
    assert bench.stance is Stance.COOLING


def test_failures_that_the_window_has_left_behind_do_not_count() -> None:
    bench = Bench()
    bench.see(Outcome.FAILED, Outcome.FAILED)
    bench.wait(30.0)
    bench.see(Outcome.FAILED)
    assert bench.stance is Stance.SERVING


def test_three_unreachable_in_a_row_cool_without_statistics() -> None:
    bench = Bench(failures=50, min_requests=100)
    bench.see(Outcome.UNREACHABLE, Outcome.UNREACHABLE, Outcome.CANCELLED, Outcome.UNREACHABLE)
    assert bench.stance is Stance.COOLING


@pytest.mark.parametrize("answer", [Outcome.OK, Outcome.FAILED, Outcome.REJECTED])
def test_any_answer_ends_the_row_of_unreachables(answer: Outcome) -> None:
    bench = Bench(failures=50, min_requests=100)
    bench.see(Outcome.UNREACHABLE, Outcome.UNREACHABLE, answer, Outcome.UNREACHABLE)
    assert bench.stance is Stance.SERVING


def test_a_retry_after_cools_for_exactly_that_long() -> None:
    bench = Bench()
    bench.see(Outcome.RATE_LIMITED, retry_after=17.0)
    bench.wait(16.999)
    assert not bench.health.available(bench.now)
    assert bench.health.knows_wait
    bench.wait(0.001)
    assert bench.stance is Stance.SERVING
    assert bench.health.share(bench.now) == 1.0


def test_no_header_keeps_us_away_for_more_than_ten_minutes() -> None:
    bench = Bench()
    bench.see(Outcome.RATE_LIMITED, retry_after=86_400.0)
    assert bench.cooldown() == 600.0


def test_without_retry_after_rate_limits_double_the_cooldown_until_the_target_is_well() -> None:
    bench = Bench()
    seen = []
    for _ in range(4):
        bench.see(Outcome.RATE_LIMITED)
        cooldown = bench.cooldown()
        assert cooldown is not None
        seen.append(cooldown)
        bench.wait(cooldown)
    assert seen == [5.0, 10.0, 20.0, 30.0]
    bench.see(Outcome.OK, Outcome.OK, Outcome.RATE_LIMITED)
    assert bench.cooldown() == 5.0


@pytest.mark.parametrize("outcome", [Outcome.QUOTA_EXHAUSTED, Outcome.DENIED])
def test_what_people_must_mend_cools_for_five_minutes_and_then_is_probed(outcome: Outcome) -> None:
    bench = Bench()
    bench.see(outcome)
    assert bench.cooldown() == 300.0
    assert bench.health.knows_wait
    bench.wait(300.0)
    assert bench.stance is Stance.PROBING
    bench.see(outcome, retry_after=400.0)
    assert bench.cooldown() == 400.0


def test_a_retry_after_is_a_floor_under_the_cooldown() -> None:
    bench = Bench()
    bench.see(*[Outcome.FAILED] * 3, retry_after=12.0)
    assert bench.cooldown() == 12.0
    other = Bench()
    other.see(*[Outcome.FAILED] * 3, retry_after=2.0)
    assert other.cooldown() == 5.0


@pytest.mark.parametrize(("chance", "cooldown"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
def test_every_cooldown_is_up_to_a_fifth_longer(chance: float, cooldown: float) -> None:
    bench = Bench()
    bench.see(*[Outcome.FAILED] * 3, rng=lambda: chance)
    assert bench.cooldown() == pytest.approx(cooldown)


def test_a_failed_probe_cools_twice_as_long_up_to_the_cap() -> None:
    bench = cooling()
    seen = []
    for _ in range(5):
        cooldown = bench.cooldown()
        assert cooldown is not None
        seen.append(cooldown)
        bench.wait(cooldown)
        bench.see(Outcome.TIMED_OUT)
    assert seen == [5.0, 10.0, 20.0, 30.0, 30.0]


def test_successes_in_a_row_close_it_and_the_next_cooldown_is_short_again() -> None:
    bench = cooling()
    bench.wait(5.0)
    bench.see(Outcome.FAILED)
    bench.wait(10.0)
    bench.see(Outcome.OK)
    assert bench.stance is Stance.PROBING
    bench.see(Outcome.OK)
    assert bench.stance is Stance.SERVING
    assert bench.health.reason is None
    bench.see(*[Outcome.FAILED] * 3)
    assert bench.cooldown() == 5.0


def test_the_share_ramps_from_a_tenth_to_full() -> None:
    bench = cooling()
    bench.wait(5.0)
    bench.see(Outcome.OK, Outcome.OK)
    shares = []
    for _ in range(3):
        shares.append(bench.health.share(bench.now))
        bench.wait(5.0)
    assert shares == pytest.approx([0.1, 0.55, 1.0])


def test_without_a_ramp_the_whole_share_is_back_at_once() -> None:
    bench = cooling(ramp_up=0.0)
    bench.wait(5.0)
    bench.see(Outcome.OK, Outcome.OK)
    assert bench.health.share(bench.now) == 1.0


def test_one_probe_at_a_time() -> None:
    bench = cooling()
    bench.wait(5.0)
    first = bench.health.begin(bench.now)
    assert first.probe
    assert not bench.health.available(bench.now)
    forced = bench.health.begin(bench.now)
    assert not forced.probe
    bench.health.end(forced, Outcome.FAILED, bench.now, lambda: 0.0)
    assert bench.stance is Stance.PROBING, "only the probe decides"


@pytest.mark.parametrize("outcome", NEUTRAL)
def test_a_probe_without_a_verdict_gives_its_place_back(outcome: Outcome) -> None:
    bench = cooling()
    bench.wait(5.0)
    bench.see(outcome)
    assert bench.stance is Stance.PROBING
    assert bench.health.available(bench.now)


def test_an_answer_that_started_before_the_cooldown_closes_nothing() -> None:
    bench = Bench(successes=1)
    old = bench.health.begin(bench.now)
    bench.see(*[Outcome.FAILED] * 3)
    bench.wait(5.0)
    bench.health.end(old, Outcome.OK, bench.now, lambda: 0.0)
    assert bench.stance is Stance.PROBING


def test_failures_that_started_before_the_cooldown_do_not_prolong_it() -> None:
    bench = Bench()
    old = [bench.health.begin(bench.now) for _ in range(20)]
    bench.see(*[Outcome.FAILED] * 3)
    for ticket in old:
        bench.health.end(ticket, Outcome.UNREACHABLE, bench.now, lambda: 0.0)
    assert bench.cooldown() == 5.0
    bench.wait(5.0)
    assert bench.health.available(bench.now)


def test_a_ticket_speaks_once() -> None:
    bench = Bench()
    ticket = bench.health.begin(bench.now)
    assert repr(ticket) == "<Ticket of epoch 0>"
    for _ in range(5):
        bench.health.end(ticket, Outcome.FAILED, bench.now, lambda: 0.0)
    assert bench.health.in_flight == 0
    assert bench.stance is Stance.SERVING
    assert repr(ticket) == "<Ticket of epoch 0, over>"


def test_a_ticket_of_a_forgotten_health_says_nothing_to_its_successor() -> None:
    old, new = Bench(), Bench()
    ticket = old.health.begin(old.now)
    new.health.end(ticket, Outcome.DENIED, new.now, lambda: 0.0)
    assert (new.stance, new.health.in_flight) == (Stance.SERVING, 0)


def test_the_last_resort_may_close_a_running_cooldown() -> None:
    bench = cooling()
    bench.see(Outcome.OK, Outcome.OK)
    assert bench.stance is Stance.SERVING


def test_a_failure_of_the_last_resort_leaves_the_cooldown_as_it_is() -> None:
    bench = cooling()
    bench.wait(2.0)
    bench.see(Outcome.FAILED)
    assert bench.cooldown() == 3.0


def test_a_shorter_wait_does_not_cut_a_cooldown_short() -> None:
    bench = cooling()
    bench.see(Outcome.RATE_LIMITED, retry_after=1.0)
    assert bench.cooldown() == 5.0


def test_a_target_on_probation_stays_so_after_a_rate_limit() -> None:
    bench = cooling()
    bench.wait(5.0)
    bench.see(Outcome.RATE_LIMITED, retry_after=3.0)
    bench.wait(3.0)
    assert bench.stance is Stance.PROBING


def test_a_probe_proves_itself_when_its_answer_begins_and_makes_room_for_the_next() -> None:
    bench = cooling()
    bench.wait(5.0)
    first = bench.health.begin(bench.now)
    assert not bench.health.vacant
    bench.health.commit(first, bench.now)
    assert bench.health.vacant
    second = bench.health.begin(bench.now)
    bench.health.commit(second, bench.now)
    assert bench.stance is Stance.SERVING
    for ticket in (first, second):
        bench.health.end(ticket, Outcome.OK, bench.now, lambda: 0.0)
    assert (bench.stance, bench.health.in_flight) == (Stance.SERVING, 0)


@pytest.mark.parametrize("late", [Outcome.BROKEN, Outcome.STALLED])
def test_a_probe_that_breaks_after_its_answer_began_still_fails(late: Outcome) -> None:
    bench = cooling()
    bench.wait(5.0)
    probe = bench.health.begin(bench.now)
    bench.health.commit(probe, bench.now)
    bench.health.end(probe, late, bench.now, lambda: 0.0)
    assert (bench.stance, bench.cooldown()) == (Stance.COOLING, 10.0)


def test_an_answer_that_begins_after_the_cooldown_it_is_older_than_closes_nothing() -> None:
    bench = Bench()
    old = bench.health.begin(bench.now)
    bench.see(*[Outcome.FAILED] * 3)
    bench.wait(5.0)
    bench.health.commit(old, bench.now)
    bench.health.commit(old, bench.now)
    assert bench.stance is Stance.PROBING
    bench.health.end(old, Outcome.BROKEN, bench.now, lambda: 0.0)
    assert bench.stance is Stance.PROBING


def test_other_settings_keep_what_was_counted() -> None:
    bench = Bench(failures=5)
    bench.see(*[Outcome.FAILED] * 3)
    bench.health.settings = HealthSettings(**{**DEFAULTS, "failures": 4, "window": 60.0})
    bench.see(Outcome.FAILED)
    assert bench.stance is Stance.COOLING
    bench.health.settings = HealthSettings(**{**DEFAULTS, "failures": 9, "window": 60.0})
    assert bench.stance is Stance.COOLING
    assert bench.health.settings.failures == 9


def test_it_describes_itself_in_plain_values() -> None:
    bench = cooling()
    bench.wait(1.0)
    assert json.loads(json.dumps(bench.health.describe(bench.now))) == {
        "stance": "cooling", "reason": "Failed", "until": 4.0, "share": 1.0, "probe": False, "inFlight": 0,
        "failedChecks": None,
    }  # fmt: skip
    assert Bench().health.describe(1.0) == {
        "stance": "serving", "reason": None, "until": None, "share": 1.0, "probe": False, "inFlight": 0,
        "failedChecks": None,
    }  # fmt: skip


class AnyInterleaving(RuleBasedStateMachine):
    """Attempts begin where the target is available and end in any order with any outcome."""

    @initialize(successes=st.integers(1, 3), failures=st.integers(1, 4))
    def start(self, successes: int, failures: int) -> None:
        self.bench = Bench(successes=successes, failures=failures, min_requests=failures)
        self.tickets: list[Ticket] = []
        self.cooling_until = 0.0

    @rule()
    def begin(self) -> None:
        if self.bench.health.available(self.bench.now):
            self.tickets.append(self.bench.health.begin(self.bench.now))
            assert self.tickets[-1].probe == (self.bench.stance is Stance.PROBING)

    @precondition(lambda self: self.tickets)
    @rule(
        pick=st.integers(0),
        outcome=st.sampled_from(Outcome),
        retry_after=st.none() | st.floats(0, 1000),
        chance=st.floats(0, 1),
        blameless=st.booleans(),
    )
    def end(self, pick: int, outcome: Outcome, retry_after: float | None, chance: float, blameless: bool) -> None:
        ticket = self.tickets.pop(pick % len(self.tickets))
        before = self.bench.health.until(self.bench.now)
        for _ in range(2):
            self.bench.health.end(
                ticket, outcome, self.bench.now, lambda: chance, retry_after=retry_after, blameless=blameless
            )
        if before is not None:
            assert self.bench.health.until(self.bench.now) == before, "late answers change no cooldown"
        self.cooling_until = self.bench.health.until(self.bench.now) or self.cooling_until

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0))
    def commit(self, pick: int) -> None:
        before = self.bench.health.until(self.bench.now)
        for _ in range(2):
            self.bench.health.commit(self.tickets[pick % len(self.tickets)], self.bench.now)
        assert self.bench.health.until(self.bench.now) == before

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @invariant()
    def laws(self) -> None:
        health, now = self.bench.health, self.bench.now
        assert health.in_flight == len(self.tickets)
        assert 0.1 <= health.share(now) <= 1.0
        if now < self.cooling_until:
            assert not health.available(now), "unavailable for the whole cooldown"
        if self.bench.stance is Stance.PROBING:
            probes = [ticket for ticket in self.tickets if ticket.probe and not ticket.committed]
            assert len(probes) <= 1
            assert health.available(now) == (not probes)


AnyInterleaving.TestCase.settings = effort(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyInterleaving = AnyInterleaving.TestCase
