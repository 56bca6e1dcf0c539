"""Signals as a queue: what a person at the keyboard, or a supervisor, has asked for so far."""

import asyncio
import signal
from typing import Self

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Hears SIGINT, SIGTERM and SIGHUP of this process from `with` on, but for those it is to ignore (`nohup`)."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._heard = [number for number in _HEARD if signal.getsignal(number) is not signal.SIG_IGN]

    def __enter__(self) -> Self:
        for number in self._heard:
            self._loop.add_signal_handler(number, self._queue.put_nowait, int(number))
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._heard:
            self._loop.remove_signal_handler(number)

    async def next(self) -> int:
        """The next one."""
        return await self._queue.get()
