"""Whether the machine let the loop turn while a promise about time was measured.

"Within a tenth of a second" is a promise of the code. Where the machine stood still meanwhile, missing it says nothing
about the code: `again` plays such a test anew, and `until` counts only time in which the loop turned. What is really
late is late each time.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, ParamSpec

P = ParamSpec("P")

TICK_SECONDS = 0.01
LOST_SECONDS = 0.05
"""So much delay altogether, and a measurement is worth nothing."""
TURNS = 8


class Watch:
    """`lost_seconds`: by how much the loop came too late to its ticks, altogether."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._lost = 0.0

    @property
    def lost_seconds(self) -> float:
        self.note()
        return self._lost

    def note(self) -> None:
        """The loop has come here."""
        now = self._loop.time()
        self._lost += max(0.0, now - self._last - TICK_SECONDS)
        self._last = now

    async def ticking(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.note()


@contextlib.asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    """Beside what is measured."""
    watch = Watch()
    ticking = asyncio.create_task(watch.ticking())
    try:
        yield watch
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])


def again(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, Coroutine[Any, Any, None]]:
    """A test that fails while the machine stood still is played anew. It must make for itself all that it changes."""

    @functools.wraps(test)
    async def played(*args: P.args, **kwargs: P.kwargs) -> None:
        for turn in range(1, TURNS + 1):
            async with watching() as watch:
                try:
                    await test(*args, **kwargs)
                except (AssertionError, TimeoutError):
                    if turn == TURNS or watch.lost_seconds < LOST_SECONDS:
                        raise
                else:
                    return

    return played


async def until(
    holds: Callable[[], object] | Callable[[], Awaitable[object]], seconds: float, *, pause: float = 0.0
) -> None:
    """Ask again and again until it holds; AssertionError once the loop has turned for so many seconds."""
    loop = asyncio.get_running_loop()
    turned, last = 0.0, loop.time()
    while True:
        answer = holds()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert turned < seconds, f"it did not come true within {seconds:g} s"
        await asyncio.sleep(pause)
        now = loop.time()
        turned += min(now - last, pause + TICK_SECONDS)
        last = now


async def soon(event: asyncio.Event, seconds: float) -> None:
    """Until it is set; AssertionError once the loop has turned for so many seconds."""
    for _ in range(max(1, round(seconds / TICK_SECONDS))):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TICK_SECONDS):
                await event.wait()
                return
    raise AssertionError(f"it did not come true within {seconds:g} s")
