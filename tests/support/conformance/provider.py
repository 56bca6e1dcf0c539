"""A provider that does what a row of the table says, byte by byte, and notes what it saw."""

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from conformance.speech import PATHS, Operation, Speech

JSON = ("content-type", "application/json")
SSE = ("content-type", "text/event-stream; charset=utf-8")
_IDENT = re.compile(rb"id-\d+-\d+")
_RESET = struct.pack("ii", 1, 0)

Framing = Literal["chunked", "length", "close"]
Headers = tuple[tuple[str, str], ...]


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
    over: bool = False
    left: float | None = None


class Wire(asyncio.StreamReaderProtocol):
    """One connection; tells at once when the other side leaves, also while nobody reads."""

    def __init__(self, provider: "Provider") -> None:
        self._provider = provider
        self.input = asyncio.StreamReader(limit=1 << 17)
        self.gone = asyncio.Event()
        self.ask: Ask | None = None
        self.transport: asyncio.WriteTransport | None = None
        super().__init__(self.input, self._begin)

    async def _begin(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.output = writer
        await self._provider.serve(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport  # `output` is there a turn of the loop later
        self._provider.wires.add(self)
        super().connection_made(transport)

    def eof_received(self) -> bool | None:
        self._left()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        self._provider.wires.discard(self)
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


@dataclass(eq=False, slots=True)
class Turn:
    """One request and the means to answer it."""

    provider: "Provider"
    wire: Wire
    ask: Ask
    speech: Speech
    framing: Framing = "chunked"
    stays: bool = field(default=True)

    @property
    def stream(self) -> bool:
        return self.ask.stream

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
    before its body. `play`: with the whole request. `door`: nobody listens. `tls`: its certificate is a stranger's.
    `plain`: it speaks no TLS. `dns`: nobody knows its name."""

    play: Play | None = None
    connect: Callable[[Wire], Awaitable[None]] | None = None
    early: Play | None = None
    door: bool = False
    tls: bool = False
    plain: bool = False
    dns: bool = False


class Provider:
    """`fault` None: it is well. `asks`: what it saw, in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.voice = name
        """Who it says that it is: two targets that answer alike share one."""
        self.voices: dict[str, str] = {}
        """The same for single models."""
        self.takes_prefill = False
        self.fault: Fault | None = None
        self.asks: list[Ask] = []
        self.wires: set[Wire] = set()
        self.accepted = 0
        self.sent = 0
        self.reading = 0
        self.port = 0
        self.contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        """Where it speaks TLS: with a certificate that is trusted, and with one that is not."""
        self._place: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Provider {self.name}: {len(self.asks)} asks, {len(self.wires)} connections>"

    @property
    def busy(self) -> int:
        """Requests whose answer is not over."""
        return sum(not ask.over for ask in self.asks)

    def asked(self, ident: str) -> int:
        return sum(ask.ident == ident for ask in self.asks)

    async def start(self) -> None:
        """The port is taken for all its life, also while nobody listens there."""
        self._place = _socket(0)
        self.port = self._place.getsockname()[1]
        await self._open()

    async def stop(self) -> None:
        await self._close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for wire in list(self.wires):
            wire.close(abort=True)
        if self._place is not None:
            self._place.close()

    async def turn(self, fault: Fault | None) -> None:
        """From now on it does that. Connections that idle are closed, so that it holds for each request."""
        before, self.fault = self.fault, fault
        for wire in list(self.wires):
            if wire.ask is None or wire.ask.over:
                wire.close()
        closed, was_closed = _shut(fault), _shut(before)
        if closed or was_closed:
            await self._close()
            if not (fault and fault.door):
                await self._open()

    async def _open(self) -> None:
        assert self._server is None
        listener = _socket(self.port)
        context = None
        fault = self.fault or Fault()
        if self.contexts is not None and not fault.plain:
            context = self.contexts[1 if fault.tls else 0]
        loop = asyncio.get_running_loop()
        # Held before it serves: whoever is cancelled while it begins leaves no listener that nobody closes.
        self._server = await loop.create_server(lambda: Wire(self), sock=listener, ssl=context, start_serving=False)
        await self._server.start_serving()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def serve(self, wire: Wire) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            fault = self.fault
            if fault is not None and fault.connect is not None:
                await fault.connect(wire)
                return
            while await self._request(wire):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled only by `stop`; a protocol would tell of it as of a fault
        finally:
            self._tasks.discard(task)
            if wire.ask is not None:
                wire.ask.over = True
            if not wire.output.transport.is_closing():
                wire.output.close()

    async def _request(self, wire: Wire) -> bool:
        head = await wire.input.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        operation = PATHS[first.split()[1]]
        ask = Ask(operation, False, "", False, headers, asyncio.get_running_loop().time())
        self.asks.append(ask)
        wire.ask = ask
        fault = self.fault
        if fault is not None and fault.early is not None:
            await fault.early(Turn(self, wire, ask, Speech(operation, self.name, "early")))
            return False
        self.reading += 1
        try:
            body = await wire.input.readexactly(int(headers.get("content-length", "0")))
        finally:
            self.reading -= 1
        found = _IDENT.search(body)
        ask.ident = found.group().decode() if found else ""
        asked = json.loads(body)
        ask.model = str(asked.get("model"))
        ask.stream = asked.get("stream") is True
        ask.usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        speech = Speech(operation, self.voices.get(ask.model, self.voice), ask.ident, usage=ask.usage)
        if self.takes_prefill:
            speech.go_on(_given(asked))
        turn = Turn(self, wire, ask, speech)
        await (fault.play(turn) if fault is not None and fault.play is not None else turn.well())
        ask.over = True
        return turn.stays and not wire.output.transport.is_closing()


def _given(asked: dict[str, Any]) -> str:
    """The beginning of the answer, where the request brings one."""
    last = (asked.get("messages") or [{}])[-1]
    given = last["content"] if last.get("role") == "assistant" else asked.get("prompt", "")
    return str(given)


def _shut(fault: Fault | None) -> bool:
    """Whether it needs another door than the usual one."""
    return fault is not None and (fault.door or fault.tls or fault.plain)


def _socket(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # so that an upload that nobody reads gets stuck
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    return sock
