"""How many cells at once this machine bears, and whether it stood still while one was measured.

A deadline that is missed because nobody got the processor says nothing about the sidecar. So the loop is watched: cells
are begun only as fast as it keeps up, and one that does not hold while it stood still is measured again once it is
calm.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 32
TICK_SECONDS = 0.01
BEARABLE_SECONDS = 0.008
"""The mean delay of the loop above which fewer cells run at once."""
STILL_SECONDS = 0.05
STILL_MEAN_SECONDS = 0.015
"""A delay, and a mean of delays, after which a measurement is worth nothing: a request needs a dozen turns or two."""
CALM_SECONDS = 0.3
PATIENCE_SECONDS = 5.0


class Pace:
    """`begun` gives a place; `stood_still` tells of the time since then."""

    def __init__(self) -> None:
        self._limit, self._running, self._mean = 6.0, 0, 0.0
        self._changed = asyncio.Condition()
        self._stills: deque[float] = deque(maxlen=1000)
        self._watching = asyncio.create_task(self._watch())

    def __repr__(self) -> str:
        return f"<Pace: {self._running} of {self._limit:.0f}, delay {self._mean * 1000:.0f} ms>"

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: self._running < self._limit)
            self._running += 1
        try:
            yield
        finally:
            async with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def stood_still(self, since: float) -> bool:
        return bool(self._stills) and self._stills[-1] >= since

    async def calm(self) -> None:
        """Until the loop has kept up for a while, or that does not come soon."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE_SECONDS
        while self._is_busy(loop.time()) and loop.time() < end:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(TICK_SECONDS)

    def _is_busy(self, now: float) -> bool:
        return self._mean > BEARABLE_SECONDS or self.stood_still(now - CALM_SECONDS)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(TICK_SECONDS)
            delay = loop.time() - began - TICK_SECONDS
            self._mean += 0.1 * (delay - self._mean)
            if delay > STILL_SECONDS or self._mean > STILL_MEAN_SECONDS:
                self._stills.append(loop.time())
            if self._mean > BEARABLE_SECONDS:
                self._limit = max(2.0, self._limit * 0.97)
            elif self._limit < MOST and self._running >= self._limit - 1:
                self._limit += 0.1
                async with self._changed:
                    self._changed.notify_all()
