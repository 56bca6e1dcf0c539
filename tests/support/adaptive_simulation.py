"""Sidecars with an adaptive limit in front of one provider whose capacity nobody tells them, on a clock of its own.

The provider works on `capacity` requests at once, each for `SERVICE` seconds, give or take a half. What is beyond that
it refuses with 429 at once, or keeps in a line, so that first tokens become late. Each sidecar sends as many as its
limit allows, and has no more than `demand` clients.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.adaptive import Adaptive, Trial
from modelpool_sidecar.core.dispatch import Dispatch, Sleep, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

SERVICE = 2.0
FIRST = 0.2
"""Seconds from the start of the work to the first token."""
AGAIN = 0.1
"""Seconds until a client that was refused comes again."""
CAPACITY = 20
"""Of the target in `walked`, which has three times as much to do."""
PERIOD = 1.0
"""Seconds between two looks at the limits."""


@dataclass(eq=False)
class Sidecar:
    ceiling: int
    adaptive: Adaptive
    in_flight: int = 0
    refused: int = 0
    served: int = 0
    resting: int = 0


class Simulation:
    """`capacity`, `demand`: by time. `queues`: whether the provider keeps what is beyond it in a line."""

    def __init__(
        self,
        capacity: Callable[[float], int],
        ceilings: Sequence[int],
        *,
        queues: bool,
        demand: Callable[[float], float] = lambda _now: 1_000_000,
        seed: int = 1,
    ) -> None:
        self.capacity, self.queues, self.demand = capacity, queues, demand
        self.sidecars = [Sidecar(ceiling, Adaptive()) for ceiling in ceilings]
        self.now = 0.0
        self.limits: list[list[int]] = []
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._line: deque[tuple[Sidecar, Trial]] = deque()
        self._working = 0

    def run(self, seconds: float) -> "Simulation":
        self._at(0.0, self._look)
        while self._events and self._events[0][0] <= seconds:
            self.now, _, event = heapq.heappop(self._events)
            event()
            for each in self._chance.sample(self.sidecars, len(self.sidecars)):
                self._send(each)
        return self

    def of(self, sidecar: int, start: float, end: float) -> list[int]:
        """Its limit, second by second."""
        return [limits[sidecar] for limits in self.limits[int(start) : int(end)]]

    def _at(self, delay: float, event: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + delay, self._number, event))

    def _look(self) -> None:
        self.limits.append([each.adaptive.allowed(each.ceiling) for each in self.sidecars])
        self._at(PERIOD, self._look)

    def _send(self, sidecar: Sidecar) -> None:
        while sidecar.in_flight < sidecar.adaptive.allowed(sidecar.ceiling) and (
            sidecar.in_flight + sidecar.resting < self.demand(self.now)
        ):
            sidecar.in_flight += 1
            trial = sidecar.adaptive.begin(sidecar.in_flight, sidecar.ceiling, self.now)
            if self._working < self.capacity(self.now):
                self._work(sidecar, trial)
            elif self.queues:
                self._line.append((sidecar, trial))
            else:
                self._refuse(sidecar, trial)
                return

    def _refuse(self, sidecar: Sidecar, trial: Trial) -> None:
        def told() -> None:
            sidecar.in_flight -= 1
            sidecar.refused += 1
            sidecar.resting += 1
            sidecar.adaptive.end(trial, Outcome.RATE_LIMITED, 429)
            self._at(AGAIN, rested)

        def rested() -> None:
            sidecar.resting -= 1

        self._at(0.02, told)

    def _work(self, sidecar: Sidecar, trial: Trial) -> None:
        self._working += 1

        def first() -> None:
            sidecar.adaptive.first_token(trial, self.now)

        def done() -> None:
            self._working -= 1
            sidecar.in_flight -= 1
            sidecar.served += 1
            sidecar.adaptive.end(trial, Outcome.OK)
            while self._line and self._working < self.capacity(self.now):
                self._work(*self._line.popleft())

        self._at(FIRST * self._chance.uniform(0.8, 1.2), first)
        self._at(SERVICE * self._chance.uniform(0.5, 1.5), done)


@dataclass
class Walked:
    """What came of the requests: answers by target, and how often the first target refused."""

    answered: dict[str, int]
    refused: int = 0


def walked(mode: str, seconds: float, retry_after: float | None = None) -> Walked:
    """Requests that walk as in a sidecar, with cooldowns, over a target that refuses what is beyond its capacity and
    one behind it that takes everything. `mode`: of the first target's concurrency."""
    cap = {"limits": {"concurrency": {"max": 200, "mode": mode}}}
    snapshot = a_snapshot([a_pool(targets=[a_target(**cap), a_target("backup", priority=1)])])
    pool, state, chance = the_pool(snapshot), State(), random.Random(1)
    found = Walked({"primary": 0, "backup": 0})
    events: list[tuple[float, int, Callable[[float], None]]] = []
    working, numbers = 0, count()

    def at(moment: float, event: Callable[[float], None]) -> None:
        heapq.heappush(events, (moment, next(numbers), event))

    def step(walk: Dispatch, now: float) -> None:
        nonlocal working
        order = walk.next(now)
        if isinstance(order, Sleep):
            at(order.until, lambda then: step(walk, then))
            return
        assert isinstance(order, Try), "the one behind takes everything"
        name = order.target.name
        if name == "primary" and working >= CAPACITY:
            at(now + 0.02, lambda then: refuse(walk, then))
            return
        working += name == "primary"
        at(now + SERVICE * chance.uniform(0.5, 1.5), lambda then: answer(walk, name, then))

    def refuse(walk: Dispatch, now: float) -> None:
        found.refused += 1
        told = Failure("primary", "primary", Outcome.RATE_LIMITED, "", 429, retry_after=retry_after, whole=True)
        walk.observe(told, now)
        step(walk, now)

    def answer(walk: Dispatch, name: str, now: float) -> None:
        nonlocal working
        working -= name == "primary"
        found.answered[name] += 1
        walk.complete(Outcome.OK, now)

    def come(now: float) -> None:
        step(Dispatch(pool, state, "chat", now + 600, chance.random, lambda _target: ()), now)
        at(now + chance.expovariate(3 * CAPACITY / SERVICE), come)

    at(0.0, come)
    while events[0][0] < seconds:
        moment, _, event = heapq.heappop(events)
        event(moment)
    return found
