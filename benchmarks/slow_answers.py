"""Simulates what a second request beside a slow one is worth: the waits for the first token, without and with hedging.

    python benchmarks/slow_answers.py

Virtual time, seeded chance: the same figures every time. The real core decides when and where a second target is asked.
Two targets whose first tokens mostly take about half a second; SLOW of them, each by itself, take SLOWER times as long.
"""

import heapq
import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import replace

import walk
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.hedging import Hedging
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State

REQUESTS, PER_SECOND = 20_000, 50.0
MEDIAN, SPREAD = 0.5, 0.35
"""Of the usual wait: seconds, and the standard deviation of its logarithm."""
SLOW, SLOWER = 0.03, 10.0

RULES: dict[str, Hedging | None] = {
    "none": None,
    "percentile: 95": Hedging(95, None, 5),
    "percentile: 90, maxPercent: 10": Hedging(90, None, 10),
    "delay: 2s": Hedging(None, 2.0, 5),
    "delay: 2s, maxPercent: 1": Hedging(None, 2.0, 1),
}
"""As they stand in a pool."""


class Run:
    """All requests under one rule. `waits`: to each one's first token; `asked`, `won`: second requests, and of these
    the ones that answered."""

    def __init__(self, hedging: Hedging | None, seed: int = 1) -> None:
        pool = walk.snapshot("Weighted", (1, 1)).pools["chat"]
        assert isinstance(pool, Pool)
        self.pool, self.state, self.rng = replace(pool, hedging=hedging), State(), random.Random(seed)
        self.waits: list[float] = []
        self.asked = self.won = 0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        at = 0.0
        for _ in range(REQUESTS):
            at += self.rng.expovariate(PER_SECOND)
            self.later(at, self.arrive)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)

    def later(self, at: float, event: Callable[[float], None]) -> None:
        """It happens at that moment."""
        heapq.heappush(self._events, (at, next(self._order), event))

    def arrive(self, now: float) -> None:
        """A request comes."""
        self.state.budget(self.pool).request(now)
        Request(self, now)

    def percentile(self, percent: float) -> float:
        """So many in a hundred waited no longer."""
        waits = sorted(self.waits)
        return waits[min(len(waits) - 1, int(len(waits) * percent / 100))]


class Request:
    """One request: its attempts and the answer that is first."""

    def __init__(self, run: Run, now: float) -> None:
        self.run, self.came, self.over = run, now, False
        self.running: list[Try] = []
        self.walk = Dispatch(
            pool=run.pool,
            state=run.state,
            operation="chat",
            deadline=now + 600.0,
            rng=run.rng.random,
            missing=lambda _target: (),
            stream=True,
            hedged=run.pool.hedging is not None,
        )
        step = self.walk.next(now)
        assert isinstance(step, Try), "both targets are well"
        self.ask(step, now)
        at = self.walk.hedge_at()
        if at is not None:
            run.later(at, self.hedge)

    def ask(self, step: Try, now: float) -> None:
        """An attempt begins."""
        rng = self.run.rng
        wait = MEDIAN * rng.lognormvariate(0, SPREAD) * (SLOWER if rng.random() < SLOW else 1.0)
        self.running.append(step)
        self.run.later(now + wait, lambda then: self.answer(step, then))

    def hedge(self, now: float) -> None:
        """It takes long."""
        step = None if self.over else self.walk.hedge(now)
        if step is not None:
            self.run.asked += 1
            self.ask(step, now)

    def answer(self, step: Try, now: float) -> None:
        """A first token comes; the other attempt is left."""
        if self.over:
            return
        self.over = True
        for other in self.running:
            if other is not step:
                self.walk.turn_to(other.target)
                self.walk.outrun(now)
        self.walk.commit(now)
        self.walk.complete(Outcome.OK, now)
        self.run.won += step.hedge
        self.run.waits.append(now - self.came)


def row(rule: str, run: Run) -> str:
    """A line of the table in docs/fallback.md."""
    waits = " | ".join(f"{run.percentile(percent):.2f} s" for percent in (50, 95, 99, 99.9))
    return f"| `{rule}` | {waits} | {run.asked / REQUESTS:.1%} | {run.won / REQUESTS:.1%} |"


def main() -> int:
    """Print the table."""
    for rule, hedging in RULES.items():
        print(row(rule, Run(hedging)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
