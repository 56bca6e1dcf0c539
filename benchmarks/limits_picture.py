"""Draws docs/limits.svg: what a limit lets pass of a demand that is too high for a while, and what is left of it.

    python benchmarks/limits_picture.py

Virtual time, seeded chance: the same picture every time. 600 requests a minute with a burst of 60, for 40 seconds; the
demand is 5 a second, and 25 a second from second 8 to second 20.
"""

import random
import sys
from collections import Counter
from pathlib import Path

from modelpool_sidecar.core.limits import Gcra

PAGE = Path(__file__).parents[1] / "docs" / "limits.svg"
SECONDS, MAX, PER, BURST = 40, 600, 60.0, 60
CALM, HIGH, RUSH = 5, 25, (8, 20)
LEFT, TOP, WIDTH, HEIGHT = 48, 34, 560, 200
MOST = 60
TITLE = "600 requests a minute, burst 60: what was asked, what passed, what is left"
COLOURS = {"asked": "#bbbbbb", "passed": "#1f6feb", "left": "#2da44e"}


def counts() -> dict[str, list[int]]:
    """Of every second: the requests that came, those that passed, and what was left at its end."""
    bucket, rng = Gcra(MAX, PER, BURST), random.Random(3)
    asked, passed = Counter[int](), Counter[int]()
    left = [BURST] * SECONDS
    now = 0.0
    while (now := now + rng.expovariate(HIGH if RUSH[0] <= now < RUSH[1] else CALM)) < SECONDS:
        second = int(now)
        asked[second] += 1
        if bucket.wait(now) == 0:
            bucket.take(now)
            passed[second] += 1
        left[second] = bucket.remaining(now)
    each = range(SECONDS)
    return {"asked": [asked[second] for second in each], "passed": [passed[second] for second in each], "left": left}


def picture() -> str:
    """The whole file."""
    width, height = LEFT + WIDTH + 110, TOP + HEIGHT + 44
    bounds = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12"'
    rush = f'x="{_x(RUSH[0])}" y="{TOP}" width="{_x(RUSH[1]) - _x(RUSH[0])}" height="{HEIGHT}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {bounds}>']
    parts += [f'<rect width="{width}" height="{height}" fill="#ffffff"/>', f'<rect {rush} fill="#fbe9e7"/>']
    parts += [f'<text x="{LEFT}" y="18" fill="#222222">{TITLE}</text>']
    parts += [_line(level) for level in range(0, MOST + 1, 10)]
    parts += [_second(second) for second in range(0, SECONDS + 1, 5)]
    parts += [_curve(place, name, values) for place, (name, values) in enumerate(counts().items())]
    return "\n".join([*parts, "</svg>", ""])


def _x(second: float) -> float:
    return round(LEFT + WIDTH * second / SECONDS, 1)


def _y(count: float) -> float:
    return round(TOP + HEIGHT * (1 - min(count, MOST) / MOST), 1)


def _line(level: int) -> str:
    return (
        f'<path d="M{LEFT} {_y(level)}h{WIDTH}" stroke="#dddddd"/>'
        f'<text x="{LEFT - 6}" y="{_y(level) + 4}" text-anchor="end" fill="#555555">{level}</text>'
    )


def _second(second: int) -> str:
    place = f'x="{_x(second)}" y="{TOP + HEIGHT + 18}"'
    return f'<text {place} text-anchor="middle" fill="#555555">{second} s</text>'


def _curve(place: int, name: str, values: list[int]) -> str:
    points = " ".join(f"{_x(second + 0.5)},{_y(value)}" for second, value in enumerate(values))
    height = TOP + 20 + place * 20
    return (
        f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>'
        f'<path d="M{LEFT + WIDTH + 12} {height - 4}h18" stroke="{COLOURS[name]}" stroke-width="3"/>'
        f'<text x="{LEFT + WIDTH + 36}" y="{height}" fill="#222222">{name}</text>'
    )


if __name__ == "__main__":
    PAGE.write_text(picture(), encoding="utf-8")
    sys.exit(0)
