"""Whether and when a second target is asked while the first one still thinks (B23).

Theory. The second attempt, the hedge, starts after a fixed delay or after a percentile of the time that the pool's
answers took of late: to the first token of a stream, to the whole of any other answer, each operation for itself. How
many may start is counted in hundredths: every request of the pool brings `max_percent` of them and a hedge takes 100.
So the hedges are never more than that share of the requests that came, and a calm hour saves up BURST of them at most.

What is measured is the first attempt. One that a hedge outran counts with the time that it was waited for: left out,
only fast answers would remain, and each hedge would bring on the next. Hedges themselves are not measured: they are
seen to their end only where they were fast.
"""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

SAMPLES = 256
"""The last answers that a percentile is made of."""
LEAST_SAMPLES = 20
"""With fewer of them nothing is hedged; a percentile above the 95th needs more: one answer in it at least."""
BURST = 10
"""Hedges that may be saved up."""

_WHOLE = 100


@dataclass(frozen=True, slots=True)
class Hedging:
    """What a pool asks for: exactly one of `percentile` and `delay` (seconds), and at most `max_percent` hedges."""

    percentile: int | None
    delay: float | None
    max_percent: int


class Answers:
    """How long the last answers of one kind took. `add` changes it, the rest looks."""

    __slots__ = ("_order", "_sorted")

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def __repr__(self) -> str:
        return f"<Answers {len(self)}>"

    def __len__(self) -> int:
        return len(self._order)

    def add(self, seconds: float) -> None:
        """One more; the oldest gives way."""
        if len(self._order) == SAMPLES:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(seconds)
        insort(self._sorted, seconds)

    def percentile(self, percent: int) -> float | None:
        """So many in a hundred took no longer; None before there are enough of them to say so."""
        if len(self) < least(percent):
            return None
        return self._sorted[math.ceil(len(self) * percent / _WHOLE) - 1]


class Hedges:
    """What one pool knows: how long its answers take and how many hedges are earned. It outlives reloads (B48)."""

    __slots__ = ("_answers", "_earned")

    def __init__(self) -> None:
        self._answers: dict[tuple[str, bool], Answers] = {}
        self._earned = 0

    def __repr__(self) -> str:
        return f"<Hedges: {self.left} earned>"

    @property
    def left(self) -> int:
        """How many could start now."""
        return self._earned // _WHOLE

    def request(self, hedging: Hedging) -> None:
        """A request came: it earns its share."""
        self._earned = min(self._earned + hedging.max_percent, BURST * _WHOLE)

    def take(self) -> None:
        """A hedge starts; one of `left`."""
        self._earned -= _WHOLE

    def answered(self, operation: str, seconds: float, *, stream: bool) -> None:
        """The first attempt of a request took that long, or was outrun after so long."""
        found = self._answers.get((operation, stream))
        if found is None:
            found = self._answers[operation, stream] = Answers()
        found.add(seconds)

    def delay(self, hedging: Hedging, operation: str, *, stream: bool) -> float | None:
        """Seconds after which the second target may be asked; None as long as nobody knows."""
        if hedging.percentile is None:
            return hedging.delay
        found = self._answers.get((operation, stream))
        return None if found is None else found.percentile(hedging.percentile)

    def describe(self, hedging: Hedging) -> dict[str, Any]:
        """For `/-/state`: what is asked for, what is left, and by kind of answer when a hedge would start."""
        return {
            "percentile": hedging.percentile,
            "delayMs": None if hedging.delay is None else round(hedging.delay * 1000, 1),
            "maxPercent": hedging.max_percent,
            "left": self.left,
            "waits": [_wait(hedging.percentile, *each) for each in sorted(self._answers.items())]
            if hedging.percentile is not None
            else [],
        }


class HedgesByPool:
    """All that is known, part of the state. `retain` forgets, `of` makes, the rest looks."""

    __slots__ = ("_pools",)

    def __init__(self) -> None:
        self._pools: dict[str, Hedges] = {}

    def __repr__(self) -> str:
        return f"<HedgesByPool {len(self._pools)}>"

    def of(self, pool: str) -> Hedges:
        """The pool's."""
        found = self._pools.get(pool)
        if found is None:
            found = self._pools[pool] = Hedges()
        return found

    def retain(self, pools: Collection[str]) -> None:
        """Keep those of these pools."""
        self._pools = {name: hedges for name, hedges in self._pools.items() if name in pools}

    def describe(self, pool: str, hedging: Hedging) -> dict[str, Any]:
        """For `/-/state`. Looking makes nothing."""
        return (self._pools.get(pool) or Hedges()).describe(hedging)


def least(percent: int) -> int:
    """How many answers it takes before a percentile of them means anything."""
    return max(LEAST_SAMPLES, math.ceil(_WHOLE / (_WHOLE - percent)))


def _wait(percent: int, kind: tuple[str, bool], answers: Answers) -> Mapping[str, Any]:
    after = answers.percentile(percent)
    return {
        "operation": kind[0],
        "stream": kind[1],
        "samples": len(answers),
        "afterMs": None if after is None else round(after * 1000, 1),
    }
