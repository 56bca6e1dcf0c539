"""One request at a scripted provider and the means to answer it; and what a fault is: what it does instead."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from conformance.speech import Speech
from conformance.wires import Ask, Wire

JSON = ("content-type", "application/json")
SSE = ("content-type", "text/event-stream; charset=utf-8")

Headers = tuple[tuple[str, str], ...]
Framing = Literal["chunked", "length", "close"]
Shut = Literal["refused", "full"]
"""How nobody comes in: a connection is refused; or the line of those that nobody has let in is full, so that no answer
comes at all."""


@dataclass(eq=False, slots=True)
class Turn:
    """One request, and how far its answer is."""

    wire: Wire
    ask: Ask
    speech: Speech
    framing: Framing = "chunked"
    stays: bool = True

    @property
    def stream(self) -> bool:
        return self.ask.stream

    @property
    def parts(self) -> list[bytes]:
        """The pieces of a good answer."""
        return self.speech.events if self.stream else [self.speech.whole]

    def head(self, status: int = 200, headers: Iterable[tuple[str, str]] = (), framing: Framing = "chunked") -> None:
        """Status, headers, and what the framing adds."""
        self.framing = framing
        more = [("transfer-encoding", "chunked")] if framing == "chunked" else []
        if framing == "close":
            more, self.stays = [("connection", "close")], False
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in (*headers, *more)), "", ""]
        self.wire.send("\r\n".join(lines).encode())

    async def part(self, data: bytes) -> None:
        """One piece of the body, on its way before the next one."""
        if data:
            self.wire.send(b"%x\r\n%b\r\n" % (len(data), data) if self.framing == "chunked" else data)
            with contextlib.suppress(ConnectionError):
                await self.wire.output.drain()
        await asyncio.sleep(0)

    def end(self) -> None:
        """The end of the body as its framing demands."""
        if self.framing == "chunked":
            self.wire.send(b"0\r\n\r\n")
        if not self.stays:
            self.wire.fin()

    async def whole(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        """A complete answer with a length."""
        self.head(status, (*headers, ("content-length", str(len(body)))), "length")
        await self.part(body)

    async def well(self) -> None:
        """What a provider without a fault does."""
        if not self.stream:
            await self.whole(200, self.speech.whole, JSON)
            return
        self.head(200, (SSE,))
        for event in self.speech.events[:-1]:
            await self.part(event)
        last = self.speech.events[-1]  # in one go with the end: clients close right after the last event
        self.wire.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))

    async def swallow(self) -> None:
        """What is still coming is read, and not looked at, until the other side leaves."""
        while await self.wire.input.read(1 << 16):
            pass

    async def stall(self) -> None:
        """Nothing more, until the other side leaves."""
        await self.wire.gone.wait()


Play = Callable[[Turn], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider does wrong. `connect`: with a connection, before any request. `early`: with the request's head,
    before its body. `play`: with the whole request. `door`: nobody is let in. `tls`: its certificate is a stranger's.
    `plain`: it speaks no TLS. `dns`: nobody knows its name."""

    play: Play | None = None
    connect: Callable[[Wire], Awaitable[None]] | None = None
    early: Play | None = None
    door: Shut | None = None
    tls: bool = False
    plain: bool = False
    dns: bool = False
