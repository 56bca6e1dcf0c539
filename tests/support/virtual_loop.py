"""An event loop whose time passes only when nothing is left to do: minutes of waiting run in milliseconds.

    virtual_loop.run(main())

For code that waits by asyncio alone. It jumps to the next timer as soon as nothing is ready; sockets of this process
are served first, threads are not waited for.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never sleeps: a wait that would be idle moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise RuntimeError("everything waits for something that will never happen")
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 1000."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def pass_over(self, seconds: float) -> None:
        """Time passes in which the loop does nothing, as in a call that blocks it."""
        self._jumping.now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """What it comes to, on a loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
