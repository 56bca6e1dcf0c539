"""Whether a target may be tried, and how much of its share it takes (B35 to B37).

Theory. A target is serving, cooling or probing. Enough failures, a rate limit or a refused credential start a cooldown;
nothing but time ends it. After a rate limit the target serves again at once. After anything else it is on probation:
one attempt at a time is a probe, `successes` of them in a row close the matter and the share ramps up from a tenth; one
failure starts the next cooldown, twice as long. Every cooldown and every return begins a new epoch. A ticket speaks
only in the epoch in which it was drawn, so an answer that started before the cooldown neither closes nor prolongs it.

An attempt may be forced upon a target that is not available (the last resort of B37, a pinned target). If the probe's
place is free it counts as the probe: its successes may close even a running cooldown, its failures leave it as it is.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from modelpool_sidecar.core.outcome import RULES, Blame, Outcome
from modelpool_sidecar.core.snapshot import HealthSettings
from modelpool_sidecar.core.window import Window

UNREACHABLE_IN_A_ROW = 3
"""A host that is gone needs no statistics."""
LONG_COOLDOWN = 300.0
"""Seconds, for an exhausted quota and for refused credentials: only people mend those."""
MAX_RETRY_AFTER = 600.0
"""Seconds; no provider keeps us away for longer than this by a header."""
JITTER = 0.2
"""Every cooldown is up to this part longer: a thousand sidecars must not come back together (B19)."""
FIRST_SHARE = 0.1

_KNOWN_WAITS = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA_EXHAUSTED, Outcome.DENIED})
_UNANSWERED = frozenset({Outcome.CANCELLED, Outcome.LOCAL_LIMIT})


class Stance(StrEnum):
    """The three stances of a target; the same words in logs, metrics and `/-/state`."""

    SERVING = "serving"
    COOLING = "cooling"
    PROBING = "probing"


class Ticket:
    """One attempt's right to speak about the health that it was drawn from, once."""

    __slots__ = ("committed", "epoch", "health", "open", "probe")

    def __init__(self, health: "Health", epoch: int, *, probe: bool) -> None:
        self.health = health
        self.epoch = epoch
        self.probe = probe
        self.committed = False
        self.open = True

    def __repr__(self) -> str:
        return f"<Ticket of epoch {self.epoch}{', probe' if self.probe else ''}{'' if self.open else ', over'}>"


class Health:
    """The health of one target. `begin` and `end` change it, and `settings` on reload; everything else only looks."""

    __slots__ = (
        "_attempts",
        "_by_checks",
        "_epoch",
        "_failed_checks",
        "_failures",
        "_good",
        "_probation",
        "_probe",
        "_ramp_from",
        "_seen",
        "_settings",
        "_streak",
        "_unreachable",
        "_until",
        "in_flight",
        "name",
        "reason",
    )

    def __init__(self, settings: HealthSettings, name: str = "target") -> None:
        self.name = name
        self.in_flight = 0  # attempts that have begun and not ended
        self.reason: Outcome | None = None  # what cooled it; None while it serves
        self._settings = settings
        self._attempts = Window(settings.window)
        self._failures = Window(settings.window)
        self._epoch = 0
        self._until: float | None = None  # the end of the last cooldown, until the target serves again
        self._probation = False  # whether it must prove itself after the cooldown
        self._probe: Ticket | None = None  # who holds the probe's place
        self._good = 0  # successes in a row
        self._unreachable = 0  # in a row
        self._streak = 0  # cooldowns since the target last was well: each doubles the next
        self._ramp_from: float | None = None
        self._failed_checks = 0  # in a row
        self._by_checks = False  # whether active checks took it out
        self._seen = 0.0  # the last time it heard of; for the repr alone

    def __repr__(self) -> str:
        words = self.stance(self._seen).value
        until = self.until(self._seen)
        if until is not None:
            words += f" {until - self._seen:.3g} s"
        if self.reason is not None:
            words += f" ({self.reason})"
        return f"<Health {self.name}: {words}>"

    @property
    def settings(self) -> HealthSettings:
        """The thresholds in force."""
        return self._settings

    @settings.setter
    def settings(self, settings: HealthSettings) -> None:
        """Others take over; what was counted, and a running cooldown, stay (B48)."""
        if settings.window != self._settings.window:
            self._attempts = self._attempts.stretched(settings.window)
            self._failures = self._failures.stretched(settings.window)
        self._settings = settings

    @property
    def knows_wait(self) -> bool:
        """Whether trying before the end of the cooldown cannot help: the provider said when, or people must act."""
        return self.reason in _KNOWN_WAITS

    def stance(self, now: float) -> Stance:
        """Serving, cooling or probing."""
        if self._until is not None and now < self._until:
            return Stance.COOLING
        return Stance.PROBING if self._probation else Stance.SERVING

    def until(self, now: float) -> float | None:
        """The end of the running cooldown, None where none runs."""
        return self._until if self._until is not None and now < self._until else None

    def available(self, now: float) -> bool:
        """Whether an attempt may be sent there: it serves, or it is to be probed and nobody does."""
        if self._until is not None and now < self._until:
            return False
        return not self._probation or self._probe is None

    @property
    def vacant(self) -> bool:
        """Whether the probe's place is free: the only way to a target that cools or is on probation."""
        return self._probe is None

    def share(self, now: float) -> float:
        """The part of its weight that it takes: full, or from a tenth to full while it ramps up."""
        ramp_up = self._settings.ramp_up
        if self._ramp_from is None or now >= self._ramp_from + ramp_up:
            return 1.0
        return FIRST_SHARE + (1 - FIRST_SHARE) * max(0.0, now - self._ramp_from) / ramp_up

    def begin(self, now: float) -> Ticket:
        """An attempt starts. Whoever begins must `end`, whatever happens."""
        self._settle(now)
        ticket = Ticket(self, self._epoch, probe=not self._serves and self._probe is None)
        if ticket.probe:
            self._probe = ticket
        self.in_flight += 1
        return ticket

    def commit(self, ticket: Ticket, now: float) -> None:
        """The attempt's answer has begun, which is a success; its place as a probe is free for the next one.

        How long a stream then lasts says nothing about the target. If it breaks later, `end` still counts that.
        """
        if ticket.health is not self or not ticket.open or ticket.committed:
            return
        ticket.committed = True
        self._vacate(ticket)
        self._settle(now)
        if self._may_speak(ticket):
            self._succeeded(now)
            ticket.epoch = self._epoch  # one that this success began, perhaps: the rest of it belongs there

    def end(
        self,
        ticket: Ticket,
        outcome: Outcome,
        now: float,
        rng: Callable[[], float],
        *,
        retry_after: float | None = None,
        blameless: bool = False,
    ) -> None:
        """An attempt is over. `blameless`: the outcome was not the target's doing.

        A second time says nothing, nor does a ticket of a health that a reload forgot in the meantime.
        """
        if ticket.health is not self or not ticket.open:
            return
        ticket.open = False
        self.in_flight -= 1
        self._vacate(ticket)
        self._settle(now)
        counted = ticket.committed and outcome is Outcome.OK
        if self._may_speak(ticket) and not counted:
            self._judge(outcome, now, rng, retry_after, Blame.NONE if blameless else RULES[outcome].blame)

    def checked(self, outcome: Outcome, now: float, rng: Callable[[], float], hold: float) -> None:
        """An active check is over (B38). `hold`: seconds in which the next one will be, too.

        As many failed ones in a row as `failures` take the target out, and each further one keeps it out, so that no
        client probes what is known to be down. Good ones count as probes; they end a cooldown early only where checks
        began it: what clients meet counts for more than what a health page says. A rate limit, a quota and refused
        credentials are none of their business.
        """
        self._settle(now)
        well = outcome is Outcome.OK
        self._failed_checks = 0 if well else self._failed_checks + 1
        stance = self.stance(now)
        if stance is not Stance.SERVING and self.knows_wait:
            return
        if well:
            if stance is Stance.PROBING or (stance is Stance.COOLING and self._by_checks):
                self._good += 1
                if self._good >= self._settings.successes:
                    self._ramp_from = now
                    self._serve()
            return
        if stance is not Stance.SERVING:
            self._good = 0
        if self._failed_checks < self._settings.failures:
            return
        if stance is Stance.COOLING:
            self._until = max(self._until or now, now + hold)
        else:
            self._probation = True
            self._cool(outcome, now, rng, max(self._doubled(), hold))
        self._by_checks = True

    def join(self, other: "Health", now: float) -> None:
        """The account behind both is at its limit, as `other` was told (B22): out for as long, for the same reason.

        A longer cooldown of its own stays. What ends it is the same for both: time after a rate limit, a probe each
        after a quota.
        """
        self._settle(now)
        until = other.until(now)
        if until is None or (self._until is not None and self._until >= until):
            return
        self._probation = self._probation or other.reason is not Outcome.RATE_LIMITED
        self._streak = max(self._streak, other._streak)  # noqa: SLF001 - of its own kind
        self._out(other.reason, until)

    def describe(self, now: float) -> dict[str, Any]:
        """For `/-/state`: plain values; `until` in seconds from now."""
        until = self.until(now)
        stance = self.stance(now)
        return {
            "stance": stance.value,
            "reason": self.reason.value if self.reason and stance is not Stance.SERVING else None,
            "until": None if until is None else round(until - now, 3),
            "share": round(self.share(now), 3),
            "probe": not self.vacant,
            "inFlight": self.in_flight,
            "failedChecks": self._failed_checks or None,
        }

    @property
    def _serves(self) -> bool:
        """Whether its stance is serving, at the moment of the last `_settle`."""
        return self._until is None and not self._probation

    def _vacate(self, ticket: Ticket) -> None:
        if self._probe is ticket:
            self._probe = None

    def _may_speak(self, ticket: Ticket) -> bool:
        return ticket.epoch == self._epoch and (ticket.probe or self._serves)

    def _settle(self, now: float) -> None:
        """What time alone has brought about: the return from a rate limit."""
        self._seen = now
        if self._until is not None and now >= self._until and not self._probation:
            self._serve()

    def _judge(
        self, outcome: Outcome, now: float, rng: Callable[[], float], retry_after: float | None, blame: Blame
    ) -> None:
        if outcome is not Outcome.UNREACHABLE and outcome not in _UNANSWERED:
            self._unreachable = 0
        if blame is Blame.CLEARS:
            self._succeeded(now)
        elif blame is Blame.COUNTS:
            self._failed(outcome, now, rng, retry_after)
        elif blame is Blame.COOLS:
            seconds = self._doubled() if retry_after is None else min(retry_after, MAX_RETRY_AFTER)
            self._cool(outcome, now, rng, seconds)
        elif blame is Blame.COOLS_LONG:
            self._probation = True
            self._cool(outcome, now, rng, max(LONG_COOLDOWN, min(retry_after or 0.0, MAX_RETRY_AFTER)))

    def _succeeded(self, now: float) -> None:
        self._good += 1
        if not self._probation:
            self._attempts.add(now)
        if self._good < self._settings.successes:
            return
        self._streak = 0
        if self._probation:
            self._ramp_from = now
            self._serve()

    def _failed(self, outcome: Outcome, now: float, rng: Callable[[], float], retry_after: float | None) -> None:
        self._good = 0
        if self.stance(now) is Stance.COOLING:
            return
        self._attempts.add(now)
        self._failures.add(now)
        self._unreachable += outcome is Outcome.UNREACHABLE
        enough = (
            self._failures.total(now) >= self._settings.failures
            and self._attempts.total(now) >= self._settings.min_requests
        )
        if self._probation or enough or self._unreachable >= UNREACHABLE_IN_A_ROW:
            self._probation = True
            self._cool(outcome, now, rng, max(self._doubled(), min(retry_after or 0.0, MAX_RETRY_AFTER)))

    def _doubled(self) -> float:
        """The cooldown that is due now; the next one in a row is twice as long, up to the cap."""
        cooldown, cap = self._settings.cooldown, self._settings.max_cooldown
        seconds = min(cooldown * 2.0 ** min(self._streak, 32), max(cooldown, cap))
        self._streak += 1
        return seconds

    def _cool(self, outcome: Outcome, now: float, rng: Callable[[], float], seconds: float) -> None:
        until = now + seconds * (1 + JITTER * rng())
        self._out(outcome, until if self._until is None else max(self._until, until))

    def _out(self, reason: Outcome | None, until: float) -> None:
        self._until, self.reason, self._by_checks = until, reason, False
        self._good = self._unreachable = 0
        self._epoch += 1
        if self._probation:
            self._ramp_from = None
            self._attempts.clear()
            self._failures.clear()

    def _serve(self) -> None:
        self._until = self.reason = None
        self._probation = False
        self._good = 0
        self._epoch += 1
