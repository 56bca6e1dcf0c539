"""Whether a target may be asked again for the same request, and when (B17 to B19)."""

from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar.core.outcome import RULES, Again, Outcome
from modelpool_sidecar.core.snapshot import Fallback
from modelpool_sidecar.core.verdict import JITTER, Failure

DEFAULT_RETRIES = 1
"""Where `sameTarget.retries` is absent and no other target is left."""


@dataclass(slots=True)
class Visit:
    """What has happened at one target in one walk; `failed_at`: monotonic, of the last failure."""

    attempts: int = 0
    failure: Failure | None = None
    failed_at: float = 0.0

    def fail(self, failure: Failure, now: float) -> None:
        """The running attempt there has failed."""
        self.failure, self.failed_at = failure, now

    @property
    def was_rate_limited(self) -> bool:
        """Whether it answered 429 last."""
        return self.failure is not None and self.failure.outcome is Outcome.RATE_LIMITED

    @property
    def was_told_to_wait(self) -> bool:
        """Whether that answer said how long."""
        return self.was_rate_limited and self.failure is not None and self.failure.retry_after is not None


def may(visit: Visit, fallback: Fallback, deadline: float) -> bool:
    """Whether the outcome, the number of attempts, the wait that was asked for and the deadline allow it."""
    failure = visit.failure
    if failure is None or RULES[failure.outcome].again is Again.NO:
        return False
    retries = DEFAULT_RETRIES if fallback.retries is None else fallback.retries
    if visit.attempts > retries:
        return False
    asked, backoff = failure.retry_after, _backoff(visit, fallback)
    if asked is None:
        return visit.failed_at + backoff < deadline
    patience = fallback.max_retry_after
    if RULES[failure.outcome].again is Again.AS_CONFIGURED:
        patience = max(patience, backoff)
    return asked <= patience and visit.failed_at + max(asked * (1 + JITTER), backoff) < deadline


def when(visit: Visit, fallback: Fallback, rng: Callable[[], float]) -> float:
    """The moment (monotonic): full jitter under the backoff; Retry-After as the floor, with 0..20 % on top (B19)."""
    asked = visit.failure.retry_after if visit.failure is not None else None
    floor = 0.0 if asked is None else asked * (1 + JITTER * rng())
    return visit.failed_at + max(rng() * _backoff(visit, fallback), floor)


def _backoff(visit: Visit, fallback: Fallback) -> float:
    return min(fallback.backoff_max, fallback.backoff_initial * 2.0 ** (visit.attempts - 1))
