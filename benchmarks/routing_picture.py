"""Draws docs/routing.svg: what part of the requests goes to a target that is slow for a while, by strategy.

    python benchmarks/routing_picture.py

Virtual time, seeded chance: the same picture every time. Ten minutes, 20 requests a second, three targets of equal
weight that answer within about half a second; the first takes five times as long from minute 3 to minute 6.
"""

import heapq
import random
import sys
from collections import Counter
from pathlib import Path

import walk
from drawing import Chart
from modelpool_config import models as contract
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State

PAGE = Path(__file__).parents[1] / "docs" / "routing.svg"
MINUTES, RATE, BIN = 10, 20, 15
SLOW = (180.0, 360.0)
COLOURS: dict[contract.StrategyName, str] = {
    "Weighted": "#888888",
    "RoundRobin": "#b8860b",
    "ConsistentHash": "#8250df",
    "LeastRequests": "#1f6feb",
    "LowestLatency": "#2da44e",
}
MOST = 0.5
TITLE = "Requests that go to one of three targets, while it is five times slower"
CHART = Chart(TITLE, MINUTES * 60, MOST, height=220, legend=150)


def shares(strategy: contract.StrategyName) -> list[float]:
    """Of every bin, the part of its requests that went to the target that is slow for a while."""
    pool, state, rng = walk.snapshot(strategy, (1, 1, 1)).pools["chat"], State(), random.Random(1)
    assert isinstance(pool, Pool)
    asked, slow = Counter[int](), Counter[int]()
    running: list[tuple[float, int, Dispatch]] = []
    now, number = 0.0, 0
    while (now := now + rng.expovariate(RATE)) < MINUTES * 60:
        while running and running[0][0] <= now:
            ended, _, done = heapq.heappop(running)
            done.commit(ended)
            done.complete(Outcome.OK, ended)
        one = Dispatch(
            pool=pool,
            state=state,
            operation="chat",
            deadline=now + pool.total,
            rng=rng.random,
            missing=lambda _target: (),
            key=rng.getrandbits(64) if strategy == "ConsistentHash" else None,
        )
        step = one.next(now)
        assert isinstance(step, Try)
        first = step.target.name == "t0"
        seconds = rng.uniform(0.4, 0.6) * (5 if first and SLOW[0] <= now < SLOW[1] else 1)
        heapq.heappush(running, (now + seconds, number := number + 1, one))
        asked[int(now // BIN)] += 1
        slow[int(now // BIN)] += first
    return [slow[each] / asked[each] for each in sorted(asked)]


def picture() -> str:
    """The whole file."""
    parts = [CHART.span(*SLOW)]
    parts += [CHART.level(level, f"{level:.0%}") for level in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    parts += [CHART.mark(minute * 60, f"{minute} min") for minute in range(0, MINUTES + 1, 2)]
    for place, (name, colour) in enumerate(COLOURS.items()):
        points = [((each + 0.5) * BIN, share) for each, share in enumerate(shares(name))]
        parts.append(CHART.curve(place, name, colour, points))
    return CHART.page(parts)


if __name__ == "__main__":
    PAGE.write_text(picture(), encoding="utf-8")
    sys.exit(0)
