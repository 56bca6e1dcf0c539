"""An hour of traffic over accounts with limits, on virtual time: what shares do, and how often a provider says 429.

Several sidecars see one account each through its answers alone, late by their own latency. Providers are token buckets
that fill evenly, as OpenAI and Anthropic describe theirs, or windows that fill at once.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from builders import a_config, a_pool, a_provider, a_target, the_pool
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.selection import choose
from modelpool_sidecar.core.snapshot import Target
from modelpool_sidecar.core.state import State

Headers = tuple[tuple[str, str], ...]
PER = 60.0


@dataclass
class Account:
    """`limit` requests a minute. `window`: all of them come back at the full minute."""

    limit: float
    window: bool = False
    left: float = 0.0
    at: float = 0.0
    refused: int = 0

    def __post_init__(self) -> None:
        self.left = self.limit

    def ask(self, now: float) -> tuple[bool, Headers]:
        """Whether it answers, and its headers."""
        if self.window:
            if now // PER > self.at // PER:
                self.left = self.limit
        else:
            self.left = min(self.limit, self.left + (now - self.at) * self.limit / PER)
        self.at = now
        served = self.left >= 1
        self.left -= served
        self.refused += not served
        reset = PER - now % PER if self.window else (self.limit - self.left) * PER / self.limit
        return served, (
            ("x-ratelimit-limit-requests", f"{self.limit:.0f}"),
            ("x-ratelimit-remaining-requests", f"{int(self.left)}"),
            ("x-ratelimit-reset-requests", f"{reset * 1000:.0f}ms"),
        )


@dataclass
class Told:
    """What an hour came to. `shares`: of the small account, seen by the first sidecar, every second."""

    refused: int = 0
    served_small: int = 0
    asked: int = 0
    shares: list[float] = field(default_factory=list)

    def swings(self, amplitude: float, begin: int, end: int) -> int:
        """How often the share turned round by at least `amplitude` in these seconds."""
        return sum(1 for _ in turns(self.shares[begin:end], amplitude))


def turns(values: list[float], amplitude: float) -> Iterator[float]:
    """The turning points of a series, smaller movements left out."""
    low = high = values[0]
    way = 0
    for value in values:
        low, high = min(low, value), max(high, value)
        if way <= 0 and value - low >= amplitude:
            if way:
                yield low
            way, high = 1, value
        elif way >= 0 and high - value >= amplitude:
            if way:
                yield high
            way, low = -1, value


def hour(
    small: Account,
    demand: Callable[[float], float],
    *,
    shaped: bool = True,
    sidecars: int = 4,
    latency: tuple[float, float] = (0.2, 2.0),
    seconds: float = 3600.0,
    seed: int = 1,
    fault: Callable[[float], bool] = lambda _now: False,
) -> Told:
    """Two targets of equal weight, one of them with a small account. `demand`: requests per second, by time.

    `fault`: whether the small provider answers 500 at that time, to see cooldown and ramp in the same hour.
    """
    rng = random.Random(seed)
    snapshot = compile_config(a_config([a_pool(targets=[a_target("small"), a_target("large")])], [
        a_provider("small"), a_provider("large"),
    ]))  # fmt: skip
    pool = the_pool(snapshot)
    states = [State() for _ in range(sidecars)]
    order = itertools.count()
    due: list[tuple[float, int, Callable[[float], None]]] = []
    told = Told()

    def sample(now: float) -> None:
        told.shares.append(states[0].share(pool.targets["small"], now))
        heapq.heappush(due, (now + 1.0, next(order), sample))

    def ask(now: float) -> None:
        heapq.heappush(due, (now + rng.expovariate(demand(now)), next(order), ask))
        told.asked += 1
        state = rng.choice(states)
        free = [target for target in pool.targets.values() if state.health(target).available(now)]
        target = choose(free, lambda each: state.share(each, now), rng.random)
        if target is not None and target.name == "small":
            send(state, target, now)

    def send(state: State, target: Target, now: float) -> None:
        ticket = state.health(target).begin(now)
        failing = fault(now)
        served, headers = (False, ()) if failing else small.ask(now)
        told.served_small += served
        outcome = Outcome.OK if served else Outcome.FAILED if failing else Outcome.RATE_LIMITED

        def answered(later: float) -> None:
            if shaped:
                state.shaping.hear(target, headers, later, 0.0)
            state.health(target).end(
                ticket, outcome, later, rng.random, retry_after=1.0 if outcome is Outcome.RATE_LIMITED else None
            )

        heapq.heappush(due, (now + rng.uniform(*latency), next(order), answered))

    heapq.heappush(due, (0.0, next(order), sample))
    heapq.heappush(due, (0.0, next(order), ask))
    while due and due[0][0] < seconds:
        now, _, callback = heapq.heappop(due)
        callback(now)
    told.refused = small.refused
    return told
