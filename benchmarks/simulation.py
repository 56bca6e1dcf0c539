"""Simulates 200 sidecars at a provider that is too small for them, and draws docs/simulation.png.

    python benchmarks/simulation.py

Virtual time, seeded chance: the same figures and the same picture every time. The real core decides: each sidecar has
its own State and knows of the others only what the provider answers. Two minutes of even Poisson demand, half as much
again as the first provider takes; what it does not take gets a 429 with Retry-After; from second 40 to 70 it answers
503. The second provider has room for all. Beside it an omniscient client: it knows what every provider has left.
"""

import heapq
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import png
import walk
from modelpool_sidecar.core.dispatch import Dispatch, Sleep, Stop, Try
from modelpool_sidecar.core.outcome import Outcome, classify
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

PAGE = Path(__file__).parents[1] / "docs" / "simulation.png"
SIDECARS, SECONDS, FLAP = 200, 120.0, (40.0, 70.0)
LIMIT, OVER, ROOM = 200.0, 1.5, 2.0
"""Requests a second that the first provider takes; what is asked for and what the second one takes, in such limits."""
ANSWER, ERROR = 0.5, 0.02
"""Seconds that an answer and an error take."""
BIN = 0.1

Waits = Literal["1", "5", "20", "1 to 20"]
"""Seconds of Retry-After; the last: drawn anew for each 429."""


@dataclass
class Provider:
    """A token bucket with a second's worth of burst. `seen`: when it was asked; `served`: when it then answered."""

    limit: float
    waits: Callable[[], float]
    down: tuple[float, float] = (-1.0, -1.0)
    seen: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    _left: float = 0.0
    _at: float = 0.0

    def ask(self, now: float) -> tuple[int, float | None]:
        """The status, and the Retry-After of a 429."""
        self.seen.append(now)
        self._left, self._at = min(self.limit, self._left + (now - self._at) * self.limit), now
        if self.down[0] <= now < self.down[1]:
            return 503, None
        if self._left < 1:
            return 429, self.waits()
        self._left -= 1
        self.served.append(now)
        return 200, None


@dataclass(frozen=True)
class Result:
    """What became of the demand. `ideal`, `ideal_first`: what an omniscient client gets, and of it at the first one."""

    demand: list[float]
    answered: int
    ideal: int
    ideal_first: int
    first: Provider

    @property
    def goodput(self) -> float:
        """Answers, of what an omniscient client gets."""
        return self.answered / self.ideal

    @property
    def use(self) -> float:
        """Answers of the first provider, of what an omniscient client gets there."""
        return len(self.first.served) / self.ideal_first

    @property
    def load(self) -> float:
        """What the first provider saw while it was up, in its limits."""
        return self._up / (SECONDS - FLAP[1] + FLAP[0]) / self.first.limit

    @property
    def burst(self) -> float:
        """The fullest 100 ms at the first provider, in means of those in which it was up."""
        return max(counted(self.first.seen, BIN)) / (self._up * BIN / (SECONDS - FLAP[1] + FLAP[0]))

    @property
    def lent(self) -> float:
        """The fullest 100 ms at the first provider, in that of the demand: above 1 sidecars have met there."""
        return max(counted(self.first.seen, BIN)) / max(counted(self.demand, BIN))

    @property
    def _up(self) -> int:
        return sum(not FLAP[0] <= at < FLAP[1] for at in self.first.seen)


def counted(moments: list[float], width: float) -> list[int]:
    """How many in each of these parts of the run."""
    bins = [0] * round(SECONDS / width)
    for at in moments:
        bins[min(int(at / width), len(bins) - 1)] += 1
    return bins


@dataclass
class _Run:
    """One run: a heap of what happens next, in order."""

    pool: Pool
    providers: dict[str, Provider]
    answered: int = 0
    number: int = 0
    events: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)

    def at(self, moment: float, what: Callable[[float], None]) -> None:
        self.number += 1
        heapq.heappush(self.events, (moment, self.number, what))

    def go_on(self, one: Dispatch, now: float) -> None:
        """The walk's next order."""
        step = one.next(now)
        if isinstance(step, Stop):
            return
        if isinstance(step, Sleep):
            self.at(step.until, lambda then: self.go_on(one, then))
            return
        assert isinstance(step, Try)
        target = step.target
        status, wait = self.providers[target.name].ask(now)

        def answer(then: float) -> None:
            one.commit(then)
            one.complete(Outcome.OK, then)
            self.answered += 1

        def fail(then: float) -> None:
            outcome = classify(status)
            one.observe(Failure(target.name, target.provider.name, outcome, "", status=status, retry_after=wait), then)
            self.go_on(one, then)

        self.at(now + (ANSWER if status == 200 else ERROR), answer if status == 200 else fail)


def run(waits: Waits, seed: int = 1, *, limit: float = LIMIT) -> Result:
    """One run with this Retry-After."""
    rng = random.Random(seed)
    low, high = (1.0, 20.0) if waits == "1 to 20" else (float(waits), float(waits))
    pool = walk.snapshot("Weighted", (1, 1), tiers=True).pools["chat"]
    assert isinstance(pool, Pool)
    moments, now = [], 0.0
    while (now := now + rng.expovariate(limit * OVER)) < SECONDS:
        moments.append(now)
    first = Provider(limit, lambda: rng.uniform(low, high), FLAP)
    going = _Run(pool, {"t0": first, "t1": Provider(ROOM * limit, lambda: 1.0)})
    states = [State() for _ in range(SIDECARS)]

    def arrive(then: float) -> None:
        state = rng.choice(states)
        state.budget(pool).request(then)
        going.go_on(Dispatch(pool, state, "chat", then + pool.total, rng.random, lambda _target: ()), then)

    for moment in moments:
        going.at(moment, arrive)
    while going.events:
        then, _, what = heapq.heappop(going.events)
        what(then)
    ideal = [Provider(limit, lambda: 1.0, FLAP), Provider(ROOM * limit, lambda: 1.0)]
    best = sum(any(provider.ask(moment)[0] == 200 for provider in ideal) for moment in moments)
    return Result(moments, going.answered, best, len(ideal[0].served), first)


COLOURS = {"seen": "#8250df", "served": "#2da44e"}
LEFT, TOP, WIDTH, HEIGHT, MOST = 48, 34, 560, 200, 400.0
PAGE_SIZE = LEFT + WIDTH + 110, TOP + HEIGHT + 40
TITLE = "Requests a second at the first provider: 200 sidecars, Retry-After 1 to 20 s"


def picture() -> str:
    """The drawing that the page shows as a PNG."""
    first = run("1 to 20").first
    bounds = f'width="{PAGE_SIZE[0]}" height="{PAGE_SIZE[1]}" font-family="sans-serif" font-size="12"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" style="display:block" {bounds}>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    parts += [f'<text x="{LEFT}" y="18" fill="#222222">{TITLE}</text>']
    flap = f'x="{_x(FLAP[0])}" y="{TOP}" width="{_x(FLAP[1]) - _x(FLAP[0])}" height="{HEIGHT}"'
    parts += [f'<rect {flap} fill="#fbe9e7"/>', f'<text x="{_x(FLAP[0]) + 6}" y="{TOP + 14}" fill="#555555">503</text>']
    for level in (0, 100, 200, 300):
        parts += [f'<path d="M{LEFT} {_y(level)}h{WIDTH}" stroke="{"#d1242f" if level == LIMIT else "#dddddd"}"/>']
        parts += [f'<text x="{LEFT - 6}" y="{_y(level) + 4}" text-anchor="end" fill="#555555">{level}</text>']
    for second in range(0, round(SECONDS) + 1, 20):
        place = f'x="{_x(second)}" y="{TOP + HEIGHT + 18}"'
        parts += [f'<text {place} text-anchor="middle" fill="#555555">{second} s</text>']
    for row, (name, moments) in enumerate((("seen", first.seen), ("served", first.served))):
        points = " ".join(f"{_x(at + 0.5)},{_y(count)}" for at, count in enumerate(counted(moments, 1.0)))
        parts += [f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>']
        parts += [f'<text x="{LEFT + WIDTH + 12}" y="{TOP + 20 + row * 20}" fill="{COLOURS[name]}">{name}</text>']
    parts += [f'<text x="{LEFT + WIDTH + 12}" y="{_y(LIMIT) + 4}" fill="#d1242f">its limit</text>']
    return "\n".join([*parts, "</svg>", ""])


def _x(second: float) -> float:
    return round(LEFT + WIDTH * second / SECONDS, 1)


def _y(rate: float) -> float:
    return round(TOP + HEIGHT * (1 - min(rate, MOST) / MOST), 1)


def row(waits: Waits) -> str:
    """One line of the table in docs/fallback.md."""
    one = run(waits)
    return f"| {waits} s | {one.burst:.1f} | {one.load:.0%} | {one.use:.0%} | {one.goodput:.1%} |"


if __name__ == "__main__":
    PAGE.write_bytes(png.drawn(picture(), *PAGE_SIZE))
    print("\n".join(row(each) for each in get_args(Waits)))
    sys.exit(0)
