"""The port of a scripted provider, taken for all its life, and behind it an open door, none, or one nobody answers."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from conformance.wires import Wire

_FILLERS = 2
"""One connection fills a line of none; the other one is there in case that the system counts otherwise."""


class Door:
    """`open`, `fill` and `close` in any order, each as often as one likes; `give_up` at the end."""

    def __init__(self) -> None:
        self._place = _socket(0)
        self.port: int = self._place.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._full: list[socket.socket] = []

    @property
    def is_open(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def open(self, wire: Callable[[], Wire], context: ssl.SSLContext | None) -> None:
        """Connections are accepted, each a `wire`."""
        assert self._server is None
        loop = asyncio.get_running_loop()
        # Held before it serves: whoever is cancelled while it begins leaves no listener that nobody closes.
        self._server = await loop.create_server(wire, sock=_socket(self.port), ssl=context, start_serving=False)
        await self._server.start_serving()

    def fill(self) -> None:
        """Connections are neither accepted nor refused: as where a process is stuck and its backlog is full."""
        listener = _socket(self.port)
        self._full.append(listener)
        listener.listen(0)
        for _ in range(_FILLERS):
            filler = socket.socket()
            self._full.append(filler)
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))

    def close(self) -> None:
        """Connections are refused."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._full:
            self._full.pop().close()

    def give_up(self) -> None:
        """The port is anybody's again."""
        self.close()
        self._place.close()


def _socket(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # so that an upload that nobody reads gets stuck
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # and an answer, too
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock
