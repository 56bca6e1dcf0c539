"""Whether a limit admits one more request, and what an admitted request holds until it is over (B8 to B13).

Theory of Gcra, the generic cell rate algorithm: a bucket is one number, the moment at which everything that was
admitted will have drained away at the limit's rate. A request moves it by one interval (`per` / `max`). It is admitted
while the moment is less than `burst` intervals away, so in any stretch of time no more pass than burst + time * max /
per, and none of it depends on where a window starts. The moment is kept in whole microseconds multiplied by `max`:
intervals are whole numbers there, so nothing drifts however long the process lives.

A limit is asked with `wait` and then taken, in one step without a pause between, so looking never consumes (B3).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from modelpool_sidecar.core.allowance import Tokens

_MICROSECONDS = 1_000_000

FULL_RETRY_AFTER = 1.0
"""Seconds. When a running request will end is not known: somebody who waits for a place is told to ask again soon."""


class Gcra:
    """One bucket of requests: at most `maximum` each `per` seconds, `burst` of them at once."""

    __slots__ = ("_burst", "_drained", "_maximum", "_per")

    def __init__(self, maximum: int, per: float, burst: int) -> None:
        self._maximum = maximum
        self._per = round(per * _MICROSECONDS)
        self._burst = burst
        self._drained: int | None = None  # microseconds * maximum; None: nothing was ever admitted

    def __repr__(self) -> str:
        return f"<Gcra {self._maximum} per {self._per / _MICROSECONDS:g} s, burst {self._burst}>"

    def wait(self, now: float, amount: int = 1) -> float:
        """Seconds until so many more would be admitted; 0 = now. Looking consumes nothing."""
        over = self._level(now) + (amount - self._burst) * self._per
        return 0.0 if over <= 0 else -(-over // self._maximum) / _MICROSECONDS

    def take(self, now: float, amount: int = 1) -> None:
        """So many more: the caller has seen that `wait` is 0, or they are used already."""
        self._drained = self._scaled(now) + self._level(now) + amount * self._per

    def give_back(self, now: float, amount: int = 1, drained: float | None = None) -> None:
        """So many that nobody used: they may be used again, and never more than the burst is free.

        `drained`: what `drained` was right after they were taken. What has drained away since, the bucket has given out
        again already, so that much is not given a second time.
        """
        owed = amount * self._per
        if drained is not None:
            owed = min(owed, max(0, self._scaled(drained) - self._scaled(now)))
        self._drained = self._scaled(now) + max(0, self._level(now) - owed)

    def drained(self, now: float) -> float:
        """The moment at which it is whole again, if nobody asks."""
        return now + -(-self._level(now) // self._maximum) / _MICROSECONDS

    def used(self, now: float) -> float:
        """Which part of it is used, 0 to 1; more where more was used than it holds."""
        return self._level(now) / (self._burst * self._per)

    @property
    def burst(self) -> int:
        """How many it holds."""
        return self._burst

    def resize(self, maximum: int, per: float, burst: int, now: float) -> None:
        """Another shape: the used share of the burst stays what it is, nothing is refilled (B8)."""
        if (maximum, burst) == (self._maximum, self._burst) and round(per * _MICROSECONDS) == self._per:
            return
        level, old = self._level(now), self._burst * self._per
        self._maximum, self._per, self._burst = maximum, round(per * _MICROSECONDS), burst
        # Rounded up: a change can never let through what the old shape would not have.
        self._drained = self._scaled(now) - (-level * burst * self._per // old)

    def remaining(self, now: float) -> int:
        """How many requests would be admitted at once now."""
        return max(0, (self._burst * self._per - self._level(now)) // self._per)

    def reset(self, now: float) -> float:
        """Seconds until the whole burst is free again, if nobody asks."""
        return self._level(now) / self._maximum / _MICROSECONDS

    def whole(self, now: float) -> bool:
        """Whether it is the same as one that was never used."""
        return self._level(now) == 0

    def _scaled(self, now: float) -> int:
        return round(now * _MICROSECONDS) * self._maximum

    def _level(self, now: float) -> int:
        return 0 if self._drained is None else max(0, self._drained - self._scaled(now))


_WEIGHT = 0.2
"""Of the newest one in the average of how long places are held."""


class InFlight:
    """How many run at the moment, and how long they do. Counted with and without a limit: one may be set on reload."""

    __slots__ = ("_held", "count")

    def __init__(self) -> None:
        self.count = 0
        self._held: float | None = None

    def __repr__(self) -> str:
        return f"<InFlight {self.count}>"

    def held(self, seconds: float) -> None:
        """One is over that held its place so long."""
        self._held = seconds if self._held is None else self._held + _WEIGHT * (seconds - self._held)

    def retry_after(self, places: int) -> float:
        """Seconds until one of those who are in is expected to go; at least FULL_RETRY_AFTER."""
        return max(FULL_RETRY_AFTER, (self._held or 0.0) / places)


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told of its tightest limit: its size, how many are left, seconds until it is whole again."""

    max: int
    remaining: int
    reset: float
    unit: Literal["requests", "tokens"] = "requests"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """As the OpenAI API names and writes them."""
        return (
            (f"x-ratelimit-limit-{self.unit}", str(self.max)),
            (f"x-ratelimit-remaining-{self.unit}", str(self.remaining)),
            (f"x-ratelimit-reset-{self.unit}", duration(self.reset)),
        )


@dataclass(frozen=True, slots=True)
class Limited:
    """Refused. `limit`: its name, or `concurrency`. `retry_after`: the earliest moment at which it would be open.

    `level`: where it stands. `header`: whose values have a bucket each, where it is divided by one. `asked`: for how
    many; `never`: for more than it will ever let pass at once, `max` of them. `waiting`: how many stand in
    the queue, where that is full. `owner`: whose limit it is, as `LimitKey` has it.
    """

    limit: str
    retry_after: float
    max: int
    kind: Literal["requests", "tokens", "concurrency"]
    told: tuple[Told, ...] = ()
    level: str = "pool"
    header: str = ""
    asked: int = 1
    never: bool = False
    own: bool = False
    """It was reached by the caller alone."""
    waiting: int = 0
    adaptive: bool = False
    """`max` is what was found out, not what was set."""
    owner: str = ""

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """x-ratelimit-*; empty where the pool has no limit of this kind."""
        return headers(self.told)


class Returnable(Protocol):
    """What was taken from limits. `give_back` once: nothing reached a provider, it is as if it had not been (B10)."""

    @property
    def told(self) -> tuple[Told, ...]: ...
    @property
    def observed(self) -> tuple[str, ...]: ...
    def settle(self, tokens: Tokens, now: float) -> None: ...
    def give_back(self, now: float) -> None: ...


class Held(Protocol):
    """A place that was taken earlier. Letting go twice is fine."""

    def release(self) -> None: ...


class Permit:
    """One admitted request's share of the limits, held to the end of its answer. Letting go twice is fine (B11)."""

    __slots__ = ("_grip", "_held", "_in_flight", "_own", "observed", "told")

    def __init__(self, in_flight: InFlight, grip: Returnable, own: Held | None = None) -> None:
        """`grip`: what was taken from the buckets; the place in flight is taken here and freed by `release`.

        `own`: the place of a caller that has a cap. `told`: its tightest limits, as they were right after this request.
        """
        in_flight.count += 1
        self._in_flight, self._own = in_flight, own
        self._grip: Returnable | None = grip
        self.told, self.observed = grip.told, grip.observed
        self._held = True

    def __repr__(self) -> str:
        return f"<Permit: {'held' if self._held else 'released'}>"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """x-ratelimit-* of the tightest limits, as they were right after this request; empty where there are none."""
        return headers(self.told)

    def settle(self, tokens: Tokens, now: float) -> None:
        """The request is over and used so many tokens: not what was estimated (B10). Once."""
        if self._grip is not None:
            self._grip.settle(tokens, now)

    def release(self) -> None:
        """The request is over: its place is free."""
        if self._held:
            self._held = False
            self._in_flight.count -= 1
            if self._own is not None:
                self._own.release()

    def refund(self, now: float) -> None:
        """The request is over and nothing reached a provider: it is as if it had not been (B10)."""
        self.release()
        grip, self._grip = self._grip, None
        if grip is not None:
            grip.give_back(now)


def tightest(told: Iterable[Told]) -> tuple[Told, ...]:
    """Of each unit the one with the fewest left; of equals the one that takes longest to be whole again."""
    best: dict[str, Told] = {}
    for each in told:
        other = best.get(each.unit)
        if other is None or (each.remaining, -each.reset) < (other.remaining, -other.reset):
            best[each.unit] = each
    return tuple(best.values())


def headers(told: Iterable[Told]) -> tuple[tuple[str, str], ...]:
    """x-ratelimit-* of all of them."""
    return tuple(header for each in told for header in each.headers)


def duration(seconds: float) -> str:
    """As the OpenAI API writes it: `120ms`, `1s`, `6m0s`, `1h0m0s`; rounded up."""
    if seconds < 1:
        milliseconds = math.ceil(round(seconds * 1000, 3))
        return f"{milliseconds}ms" if 0 < milliseconds < 1000 else f"{milliseconds // 1000}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
