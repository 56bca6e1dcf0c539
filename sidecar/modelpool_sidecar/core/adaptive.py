"""How many attempts at once somebody bears, found out by trying (B39).

Theory: additive increase, multiplicative decrease. Until somebody complains the ceiling alone counts. A complaint is a
429, 503, 504 or 529, an answer that did not come in time, or first tokens that have become slow. It takes the limit
back to BACK of what was in flight when the attempt began, and never by more than half. A complete answer to an attempt
that took the last place adds one part of the limit, so a whole round of them adds one place; what is not used does not
grow. An attempt speaks only in the epoch in which it began, and every step back begins one: so there is one step a
round trip, and what began before a step says nothing about what holds after it.

Where somebody refuses beyond a capacity c, the limit moves between BACK * (c + 1) and c + 1.

First tokens are slow where the median of SAMPLES of them is RISE times the smallest such median of the last minutes,
and SLACK more: what is beyond the capacity stands in a line. Then the limit is halved, so that the line empties and
fast ones are seen again: as a first token comes no later than the end of its answer, a line makes it twice as late at
no more than twice the capacity, and at half of that there is no line. If with less in flight they are no faster, it is
not our doing - other prompts, other clients - and what is seen is the new measure.
"""

from dataclasses import dataclass
from statistics import median

from modelpool_sidecar.core.outcome import Outcome

BACK = 0.75
SAMPLES = 10
RISE = 2.0
SLACK = 0.1
"""Seconds: below this nobody notices."""
LESS, BETTER = 0.9, 0.95
"""Where in flight is at most this part of what was, first tokens that are above this part of what they were are not
late because of us."""
MEMORY_SECONDS = 300.0
"""The smallest median counts for once to twice this long."""

_OVERLOAD_STATUSES = frozenset({503, 504, 529})


@dataclass(frozen=True, slots=True)
class Trial:
    """One attempt: when it began and in which epoch, `beside` how many, itself included, under which ceiling."""

    since: float
    epoch: int
    beside: int
    ceiling: int
    last: bool
    """It took the last place."""


class Adaptive:
    """One limit. `first_token` and `end` change it; everything else only looks. Ceilings are arguments: several pools
    may set different ones, and a reload another one."""

    __slots__ = ("_epoch", "_fastest", "_limit", "_seen", "_slow")

    def __init__(self) -> None:
        self._limit: float | None = None  # None: nobody has complained yet
        self._epoch = 0
        self._seen: list[tuple[float, int]] = []  # waits and what was beside them, of this epoch, fewer than SAMPLES
        self._slow: tuple[float, float] | None = None  # medians that led to the last step back, until one is fast again
        self._fastest = _Fastest()

    def __repr__(self) -> str:
        return "<Adaptive, at its ceiling>" if self._limit is None else f"<Adaptive {self._limit:.3g}>"

    def allowed(self, ceiling: int) -> int:
        """So many at once, at least 1."""
        return ceiling if self._limit is None else max(1, min(ceiling, int(self._limit)))

    def begin(self, beside: int, ceiling: int, now: float) -> Trial:
        """An attempt begins, and so many are in flight with it."""
        return Trial(now, self._epoch, beside, ceiling, beside >= self.allowed(ceiling))

    def first_token(self, trial: Trial, now: float) -> None:
        """A stream has brought its first token."""
        if trial.epoch != self._epoch:
            return
        self._seen.append((now - trial.since, trial.beside))
        if len(self._seen) < SAMPLES:
            return
        typical, beside = median(wait for wait, _ in self._seen), median(beside for _, beside in self._seen)
        best = self._fastest.within(now)
        self._seen.clear()
        if best is None or typical <= RISE * best + SLACK:
            self._slow = None
        elif self._slow is not None and beside <= LESS * self._slow[1] and typical > BETTER * self._slow[0]:
            self._slow = None
            self._fastest.forget()
        else:
            self._slow = typical, beside
            self._step_back(trial, 0.5)
            return
        self._fastest.add(typical, now)

    def end(self, trial: Trial, outcome: Outcome, status: int | None = None, *, blameless: bool = False) -> None:
        """It is over. `blameless`: not the doing of whoever was asked."""
        if trial.epoch != self._epoch:
            return
        if is_overload(outcome, status) and not blameless:
            self._step_back(trial)
        elif outcome is Outcome.OK and trial.last and self._limit is not None and self._limit < trial.ceiling:
            self._limit = min(trial.ceiling, self._limit + 1 / self._limit)

    def _step_back(self, trial: Trial, back: float = BACK) -> None:
        limit = trial.ceiling if self._limit is None else min(self._limit, trial.ceiling)
        self._limit = max(1.0, limit / 2, back * min(limit, trial.beside))
        self._epoch += 1
        self._seen.clear()


class _Fastest:
    """A moving minimum in two numbers: of this stretch of time, and of the one before."""

    __slots__ = ("_before", "_here", "_since")

    def __init__(self) -> None:
        self._here: float | None = None
        self._before: float | None = None
        self._since = 0.0

    def within(self, now: float) -> float | None:
        """The smallest of late."""
        age = now - self._since
        if age >= MEMORY_SECONDS:
            self._before = self._here if age < 2 * MEMORY_SECONDS else None
            self._here, self._since = None, now
        return min((each for each in (self._here, self._before) if each is not None), default=None)

    def add(self, value: float, now: float) -> None:
        """One more."""
        self.within(now)
        self._here = value if self._here is None else min(self._here, value)

    def forget(self) -> None:
        """Nothing counts any more."""
        self._here = self._before = None


def is_overload(outcome: Outcome, status: int | None) -> bool:
    """Whether it says: not so many at once."""
    return outcome in (Outcome.RATE_LIMITED, Outcome.TIMED_OUT) or (
        outcome is Outcome.FAILED and status in _OVERLOAD_STATUSES
    )
