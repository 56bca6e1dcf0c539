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
LEFT, TOP, WIDTH, HEIGHT = 48, 34, 560, 220
MOST = 0.5
TITLE = "Requests that go to one of three targets, while it is five times slower"


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
    width, height = LEFT + WIDTH + 150, TOP + HEIGHT + 44
    bounds = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {bounds}>']
    parts += [f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    parts += [f'<text x="{LEFT}" y="18" fill="#222222">{TITLE}</text>']
    slow = _x(SLOW[1]) - _x(SLOW[0])
    parts += [f'<rect x="{_x(SLOW[0])}" y="{TOP}" width="{slow}" height="{HEIGHT}" fill="#fbe9e7"/>']
    parts += [_line(level) for level in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)]
    parts += [_minute(minute) for minute in range(0, MINUTES + 1, 2)]
    parts += [_curve(place, name) for place, name in enumerate(COLOURS)]
    return "\n".join([*parts, "</svg>", ""])


def _minute(minute: int) -> str:
    place = f'x="{_x(minute * 60)}" y="{TOP + HEIGHT + 18}"'
    return f'<text {place} text-anchor="middle" fill="#555555">{minute} min</text>'


def _x(seconds: float) -> float:
    return round(LEFT + WIDTH * seconds / (MINUTES * 60), 1)


def _y(share: float) -> float:
    return round(TOP + HEIGHT * (1 - min(share, MOST) / MOST), 1)


def _line(level: float) -> str:
    return (
        f'<path d="M{LEFT} {_y(level)}h{WIDTH}" stroke="#dddddd"/>'
        f'<text x="{LEFT - 6}" y="{_y(level) + 4}" text-anchor="end" fill="#555555">{level:.0%}</text>'
    )


def _curve(place: int, name: contract.StrategyName) -> str:
    points = " ".join(f"{_x((each + 0.5) * BIN)},{_y(share)}" for each, share in enumerate(shares(name)))
    height = TOP + 20 + place * 20
    return (
        f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
        f'<path d="M{LEFT + WIDTH + 12} {height - 4}h18" stroke="{COLOURS[name]}" stroke-width="3"/>'
        f'<text x="{LEFT + WIDTH + 36}" y="{height}" fill="#222222">{name}</text>'
    )


if __name__ == "__main__":
    PAGE.write_text(picture(), encoding="utf-8")
    sys.exit(0)
