"""What an admitted request holds until it is over, and what one that is refused is told (B8 to B13)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from modelpool_sidecar.core.allowance import Tokens

FULL_RETRY_AFTER = 1.0
"""Seconds. When a running request will end is not known: somebody who waits for a place is told to ask again soon."""


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
    """What was taken from limits. It ends with `give_back`, as if it had not been (B10), or with `close`."""

    @property
    def told(self) -> tuple[Told, ...]: ...
    @property
    def observed(self) -> tuple[str, ...]: ...
    def settle(self, tokens: Tokens, now: float) -> None: ...
    def give_back(self, now: float) -> None: ...
    def close(self) -> None: ...


class Held(Protocol):
    """A place that was taken earlier. Letting go twice is fine."""

    def release(self) -> None: ...


class Permit:
    """One admitted request's share of the limits, held to the end of its answer. Letting go twice is fine (B11)."""

    __slots__ = ("_grip", "_held", "_in_flight", "_own", "observed")

    def __init__(self, in_flight: InFlight, grip: Returnable, own: Held | None = None) -> None:
        """`grip`: what was taken from the buckets; the place in flight is taken here and freed by `release`.

        `own`: the place of a caller that has a cap.
        """
        in_flight.count += 1
        self._in_flight, self._own = in_flight, own
        self._grip, self.observed = grip, grip.observed
        self._held = True

    def __repr__(self) -> str:
        return f"<Permit: {'held' if self._held else 'released'}>"

    @property
    def told(self) -> tuple[Told, ...]:
        """Its tightest limits, as they were right after this request."""
        return self._grip.told

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """x-ratelimit-* of the tightest limits, as they were right after this request; empty where there are none."""
        return headers(self.told)

    def settle(self, tokens: Tokens, now: float) -> None:
        """The request is over and used so many tokens: not what was estimated (B10). Once."""
        self._grip.settle(tokens, now)

    def release(self) -> None:
        """The request is over: its place is free, and what it took stays taken."""
        if self._held:
            self._held = False
            self._in_flight.count -= 1
            self._grip.close()
            if self._own is not None:
                self._own.release()

    def refund(self, now: float) -> None:
        """The request is over and nothing reached a provider: it is as if it had not been (B10)."""
        self._grip.give_back(now)
        self.release()


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
