"""Raw ends for the tests of the edges: a provider that does what it is told, a sink that remembers, a raw client."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from modelpool_sidecar.ports import ErrorKind, Headers, UpstreamRequest

PATIENCE_SECONDS = 5.0
"""How long a test waits for what must happen; nothing waits this long when all is well."""
PROMPTLY_SECONDS = 0.1
"""Of B31."""


@dataclass
class Wire:
    """One connection as a raw server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def request(self) -> bytes:
        """One whole request with a content-length; empty at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head + (await self.reader.readexactly(length) if length else b"")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        reset(self.writer)

    async def wait_for_end(self) -> None:
        """Until the other side has closed or reset it."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.ended.set()


Play = Callable[[Wire], Awaitable[None]]


@dataclass
class RawServer:
    """A provider on a loopback port. `wires`: its connections in order."""

    url: str
    port: int
    wires: list[Wire]


@asynccontextmanager
async def raw_server(play: Play, *, ssl: object = None) -> AsyncIterator[RawServer]:
    wires: list[Wire] = []
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        wires.append(wire)
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await play(wire)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl, limit=1 << 24)  # type: ignore[arg-type]
    port = server.sockets[0].getsockname()[1]
    try:
        yield RawServer(f"{'https' if ssl else 'http'}://127.0.0.1:{port}", port, wires)
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@dataclass
class RememberingSink:
    """What an attempt told, in order."""

    status: int | None = None
    headers: Headers = ()
    body: bytes = b""
    ended: bool = False
    failure: tuple[ErrorKind, str] | None = None
    heard: int = 0
    headed: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    fed: asyncio.Event = field(default_factory=asyncio.Event)
    on_data: Callable[[bytes], None] | None = None

    def head(self, status: int, headers: Headers) -> None:
        assert self.status is None
        self.heard += 1
        self.status, self.headers = status, headers
        self.headed.set()

    def data(self, data: bytes) -> None:
        assert data
        assert not self.over.is_set()
        self.heard += 1
        self.body += data
        self.fed.set()
        if self.on_data is not None:
            self.on_data(data)

    def end(self) -> None:
        assert not self.over.is_set()
        self.heard += 1
        self.ended = True
        self.over.set()

    def error(self, kind: ErrorKind, detail: str) -> None:
        assert not self.over.is_set()
        self.heard += 1
        self.failure = (kind, detail)
        self.over.set()

    @property
    def kind(self) -> ErrorKind | None:
        return self.failure[0] if self.failure else None


def upstream_request(
    url: str, *, body: bytes = b"{}", method: str = "POST", connect_timeout: float = 5.0, fresh: bool = False
) -> UpstreamRequest:
    headers = (("content-type", "application/json"), ("x-a", "1"), ("x-a", "2"))
    return UpstreamRequest(method, url, headers, body, connect_timeout, fresh)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def soon(event: asyncio.Event, seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        await event.wait()
