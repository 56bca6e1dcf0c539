"""Which keys are to be looked at, and when: marked twice is done once, and what fails comes again later.

A mark waits for `gather_seconds`, so that a burst of events becomes one pass, but never longer than that: later marks
do not push it back. A key is in one pair of hands at a time; marked meanwhile, it comes again. Failures wait from half
a second to five minutes, doubling, per key.
"""

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 300.0

logger = logging.getLogger(__name__)


class RetryError(Exception):
    """The key is to come again after that long; nothing is wrong that somebody should hear of."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:.1f} s")
        self.seconds = seconds


def retry_seconds(failures: int, chance: float, floor: float = 0.0) -> float:
    """The wait after so many failures in a row (from 1); `chance` in [0, 1) spreads it by a fifth."""
    wait = max(floor, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
    spread: float = min(LAST_RETRY_SECONDS, wait) * (1 + 0.2 * chance)
    return spread


@dataclass(slots=True)
class _Waiting(Generic[K]):
    """Due times. `failures` counts those in a row; `not_before`: as the API server asked; `busy` keys are in somebody's
    hands. `queue`: due times in order, with entries that no longer count, as `due` tells; busy keys are entered when
    they are free."""

    due: dict[K, float] = field(default_factory=dict)
    failures: dict[K, int] = field(default_factory=dict)
    not_before: dict[K, float] = field(default_factory=dict)
    busy: set[K] = field(default_factory=set)
    queue: list[tuple[float, int, K]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=itertools.count)

    def enter(self, key: K) -> None:
        """The key can be taken when it is due."""
        if len(self.queue) > 64 + 2 * len(self.due):
            self.queue = [entry for entry in self.queue if self.due.get(entry[2]) == entry[0]]
            heapq.heapify(self.queue)
        heapq.heappush(self.queue, (self.due[key], next(self._number), key))

    def soonest(self) -> tuple[float, K] | None:
        """What is due next, and free."""
        while self.queue:
            due, _, key = self.queue[0]
            if self.due.get(key) == due and key not in self.busy:
                return due, key
            heapq.heappop(self.queue)
        return None


class Worklist(Generic[K]):
    """`work` is called with each key that is due; what it raises but RetryError is logged, and the key comes again."""

    def __init__(
        self,
        name: str,
        work: Callable[[K], Awaitable[None]],
        *,
        at_once: int = 4,
        gather_seconds: float = 0.1,
        chance: Callable[[], float],
        explain: Callable[[K, Exception], float | None] = lambda _key, _error: None,
    ) -> None:
        self._name = name
        self._work = work
        self._at_once = at_once
        self._gather = gather_seconds
        self._chance = chance
        self._explain = explain
        self._waiting: _Waiting[K] = _Waiting()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting.due) + len(self._waiting.busy)

    def mark(self, key: K, after: float | None = None) -> None:
        """Look at this key soon, or after that many seconds; an earlier mark stands, and so does a floor."""
        due = asyncio.get_running_loop().time() + (self._gather if after is None else after)
        due = max(due, self._waiting.not_before.get(key, due))
        if due < self._waiting.due.get(key, float("inf")):
            self._waiting.due[key] = due
            if key not in self._waiting.busy:
                self._waiting.enter(key)
                self._changed.set()

    def forget(self, key: K) -> None:
        """The key has nothing left to look at."""
        self._waiting.due.pop(key, None)
        self._waiting.failures.pop(key, None)
        self._waiting.not_before.pop(key, None)

    async def run(self) -> None:
        """Work until cancelled; what is in hand then is cancelled too, and awaited."""
        hands = [asyncio.create_task(self._hand(), name=f"{self._name} {number}") for number in range(self._at_once)]
        try:
            await asyncio.gather(*hands)
        finally:
            for hand in hands:
                hand.cancel()
            await asyncio.gather(*hands, return_exceptions=True)

    async def _hand(self) -> None:
        while True:
            key = await self._next()
            try:
                await self._work(key)
            except RetryError as again:
                self.mark(key, again.seconds)
            except (Exception, asyncio.CancelledError) as error:
                if _is_cancelled(error):
                    raise
                failures = self._waiting.failures[key] = self._waiting.failures.get(key, 0) + 1
                floor = self._explain(key, _as_fault(error)) or 0.0
                self._hold(key, floor)
                self.mark(key, retry_seconds(failures, self._chance(), floor))
            else:
                self._waiting.failures.pop(key, None)
                self._waiting.not_before.pop(key, None)
            finally:
                self._waiting.busy.discard(key)
                if key in self._waiting.due:
                    self._waiting.enter(key)
                    self._changed.set()

    def _hold(self, key: K, floor_seconds: float) -> None:
        """Whoever marks the key meanwhile, it does not come before: the server has asked for that long."""
        if floor_seconds > 0:
            floor = asyncio.get_running_loop().time() + min(floor_seconds, LAST_RETRY_SECONDS)
            self._waiting.not_before[key] = floor
            if key in self._waiting.due:
                self._waiting.due[key] = max(self._waiting.due[key], floor)

    async def _next(self) -> K:
        loop = asyncio.get_running_loop()
        while True:
            soonest, now = self._waiting.soonest(), loop.time()
            if soonest is not None and soonest[0] <= now:
                del self._waiting.due[soonest[1]]
                self._waiting.busy.add(soonest[1])
                return soonest[1]
            self._changed.clear()
            wait = None if soonest is None else soonest[0] - now
            # Not wait_for: up to Python 3.11 it loses a cancellation that comes in the same turn as the result.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()


def _is_cancelled(error: BaseException) -> bool:
    """Whether it is we who are cancelled, and not something that the work waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _as_fault(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError("what it waited for was cancelled")
