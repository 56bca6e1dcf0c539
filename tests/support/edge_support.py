"""Raw ends for the tests of the edges: a provider that does what it is told, a sink that remembers, a client."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import stillness
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.ports import Downstream, ErrorKind, Headers, UpstreamRequest
from modelpool_sidecar.server import DataServer, Received

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

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=ssl, limit=1 << 24)
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
    """Until it is set; time in which the machine stands still does not count."""
    await stillness.soon(event, seconds)


async def until(condition: Callable[[], object], seconds: float = 1.0) -> None:
    """Turn by turn of the loop, until what nothing announces is so."""
    await stillness.until(condition, seconds)


@dataclass
class Client:
    """A raw HTTP client on one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, body: bytes = b"{}", target: str = "/v1/chat/completions", more: str = "") -> None:
        await self.send(
            f"POST {target} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body
        )

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer, names in lower case."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readexactly(count)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """An answer with a content-length."""
        status, headers = await self.head()
        return status, headers, await self.exactly(int(headers["content-length"]))

    async def rest(self, seconds: float = PATIENCE_SECONDS) -> bytes:
        """Everything to the clean end of the connection; ConnectionResetError where it is reset."""
        got = b""
        async with asyncio.timeout(seconds):
            while data := await self.reader.read(65536):
                got += data
        return got

    async def until_reset(self) -> bytes:
        """Everything before the reset; AssertionError where the end is clean."""
        got = b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    data = await self.reader.read(65536)
                except ConnectionResetError:
                    return got
                assert data, "the connection ended cleanly"
                got += data


@asynccontextmanager
async def client(port: int, host: str = "127.0.0.1", receive_buffer: int | None = None) -> AsyncIterator[Client]:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 16)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


class Fork:
    """What one request's answer is written to, and what its Downstream told."""

    def __init__(self, received: Received, downstream: Downstream) -> None:
        self.received, self.downstream = received, downstream
        self.gone, self.writable, self.delivered = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.deadline = asyncio.Event()
        self.told: list[str] = []
        downstream.on_gone = lambda: self._tell("gone", self.gone)
        downstream.on_delivered = lambda: self._tell("delivered", self.delivered)
        downstream.on_writable = self.writable.set

    def _tell(self, word: str, event: asyncio.Event) -> None:
        self.told.append(word)
        event.set()

    def answer(self, status: int = 200, body: bytes = b"hi") -> None:
        self.downstream.head(status, (("content-type", "text/plain"), ("content-length", str(len(body)))))
        self.downstream.write(body)
        self.downstream.finish()

    def stream(self, *parts: bytes) -> None:
        self.downstream.head(200, (("content-type", "text/event-stream"),))
        for part in parts:
            self.downstream.write(part)


@dataclass
class Edge:
    """A data server under test; `next` is the next request that was accepted."""

    server: DataServer
    port: int
    accepted: "asyncio.Queue[Fork]"

    async def next(self) -> Fork:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.accepted.get()


def refusal_body(refusal: Refusal) -> bytes:
    return json.dumps({"error": {"message": refusal.message, "type": refusal.type, "code": refusal.code}}).encode()


@asynccontextmanager
async def data_server(
    hosts: tuple[str, ...] = ("127.0.0.1",), at_once: Callable[[Fork], None] | None = None, **options: object
) -> AsyncIterator[Edge]:
    """`at_once`: answers from inside accept. When it is over, no task and no lease is left."""
    accepted: asyncio.Queue[Fork] = asyncio.Queue()

    def accept(received: Received, downstream: Downstream) -> None:
        fork = Fork(received, downstream)
        if at_once is not None:
            at_once(fork)
        accepted.put_nowait(fork)

    before = asyncio.all_tasks()
    server = DataServer(accept, refusal_body=refusal_body, **options)
    sockets = await server.start(hosts, 0)
    try:
        yield Edge(server, sockets[0].getsockname()[1], accepted)
    finally:
        await server.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.in_flight == 0
    assert server.buffered_bytes == 0
    assert asyncio.all_tasks() <= before


async def idle(edge: Edge) -> None:
    """Until no request runs and no byte is held."""
    await until(lambda: not (edge.server.in_flight or edge.server.buffered_bytes))


async def chunks(it: Client) -> bytes:
    """A chunked body, to its last chunk."""
    got = []
    async with asyncio.timeout(10):
        while size := int(await it.reader.readline(), 16):
            got.append(await it.reader.readexactly(size))
            await it.reader.readexactly(2)
        await it.reader.readexactly(2)
    return b"".join(got)
