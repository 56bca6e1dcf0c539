"""Draws docs/limits.svg: what a limit lets pass of a demand that is too high for a while, and what is left of it.

    python benchmarks/limits_picture.py

Virtual time, seeded chance: the same picture every time. 600 requests a minute with a burst of 60, for 40 seconds; the
demand is 5 a second, and 25 a second from second 8 to second 20.
"""

import random
import sys
from collections import Counter
from pathlib import Path

from drawing import Chart
from modelpool_sidecar.core.gcra import Gcra, Shape

PAGE = Path(__file__).parents[1] / "docs" / "limits.svg"
SECONDS, MAX, PER, BURST = 40, 600, 60.0, 60
CALM, HIGH, RUSH = 5, 25, (8, 20)
MOST = 60
TITLE = "600 requests a minute, burst 60: what was asked, what passed, what is left"
CHART = Chart(TITLE, SECONDS, MOST, height=200, legend=110)
COLOURS = {"asked": "#bbbbbb", "passed": "#1f6feb", "left": "#2da44e"}


def counts() -> dict[str, list[int]]:
    """Of every second: the requests that came, those that passed, and what was left at its end."""
    bucket, rng = Gcra(Shape.of(MAX, PER, BURST)), random.Random(3)
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
    parts = [CHART.span(*RUSH)]
    parts += [CHART.level(level, str(level)) for level in range(0, MOST + 1, 10)]
    parts += [CHART.mark(second, f"{second} s") for second in range(0, SECONDS + 1, 5)]
    for place, (name, values) in enumerate(counts().items()):
        points = [(second + 0.5, value) for second, value in enumerate(values)]
        parts.append(CHART.curve(place, name, COLOURS[name], points))
    return CHART.page(parts)


if __name__ == "__main__":
    PAGE.write_text(picture(), encoding="utf-8")
    sys.exit(0)
