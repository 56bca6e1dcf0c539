"""One connection as a scripted provider has it, and what it notes of each request that comes over it."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance.speech import Operation

_RESET = struct.pack("ii", 1, 0)


@dataclass(eq=False, slots=True)
class Ask:
    """One request as the provider saw it; `left`: when the sidecar was seen to leave before the end."""

    operation: Operation
    stream: bool
    ident: str
    usage: bool
    headers: dict[str, str]
    started: float
    model: str = ""
    beside: int = 0
    """How many were at work when it came, itself among them."""
    over: bool = False
    left: float | None = None
    sent: int = 0
    """Bytes of its answer that were on their way, where the fault counts them."""
    fault: object = None
    """What it met; None: it was well."""


class Wire(asyncio.StreamReaderProtocol):
    """One connection; tells at once when the other side leaves, also while nobody reads.

    `serve`: called with it when it is made. `open_wires`: where it stands from its first moment to its last.
    """

    def __init__(self, serve: "Callable[[Wire], Awaitable[None]]", open_wires: "set[Wire]") -> None:
        self._serve, self._open_wires = serve, open_wires
        self.input = asyncio.StreamReader(limit=1 << 17)
        self.gone = asyncio.Event()
        self.ask: Ask | None = None
        self.asked = 0
        """Requests that came over it."""
        self.transport: asyncio.WriteTransport | None = None
        super().__init__(self.input, self._begin)

    async def _begin(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.output = writer
        await self._serve(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport  # `output` is there a turn of the loop later
        self._open_wires.add(self)
        super().connection_made(transport)

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        self._open_wires.discard(self)
        super().connection_lost(exc)

    def _left(self) -> None:
        if self.ask is not None and not self.ask.over and self.ask.left is None:
            self.ask.left = asyncio.get_running_loop().time()
        self.gone.set()

    def close(self, *, abort: bool = False) -> None:
        """End the connection, from its first moment on."""
        if self.transport is not None:
            self.transport.abort() if abort else self.transport.close()

    def send(self, data: bytes) -> None:
        if not self.output.transport.is_closing():
            self.output.write(data)

    def fin(self) -> None:
        """An orderly end."""
        self.output.close()

    def rst(self) -> None:
        """A reset."""
        sock = self.output.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.output.transport.abort()
