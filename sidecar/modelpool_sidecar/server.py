"""The data port: requests in, whole and within bounds; answers out by `relay`; from listening to drained."""

import asyncio
import contextlib
import functools
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from modelpool_sidecar import listening
from modelpool_sidecar.bodies import Reader
from modelpool_sidecar.clientconnection import ClientConnection, Server
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.room import MAX_BYTES, Room
from modelpool_sidecar.patience import STALL_SECONDS
from modelpool_sidecar.ports import Downstream, Headers
from modelpool_sidecar.relay import FAIL_SECONDS, AiohttpDownstream

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: `target` is the raw path and query, header names are in lower case."""

    method: str
    target: str
    headers: Headers
    body: bytes
    http_version: tuple[int, int]
    loopback: bool


Accept = Callable[[Received, Downstream], None]
"""Takes a request over; its answer goes to the Downstream. What it raises is a fault of ours: the client gets a 500."""


class DataServer:
    """Listens, reads requests, hands them to `accept`; drains."""

    def __init__(
        self,
        accept: Accept,
        *,
        refusal_body: Callable[[Refusal], bytes],
        max_body_bytes: int = 32 * 1024 * 1024,
        max_buffered_bytes: int = MAX_BYTES,
        room: Room | None = None,
        stall_seconds: float = STALL_SECONDS,
        body_idle_seconds: float = 60.0,
    ) -> None:
        self._accept = accept
        self._refusal_body = refusal_body
        self._reader = Reader(max_body_bytes, body_idle_seconds)
        self._stall_seconds = stall_seconds
        self._room = room or Room(max_buffered_bytes)
        self._server: Server | None = None
        self._listeners: list[asyncio.Server] = []
        self._serving = 0
        self._draining = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        stance = "draining" if self._draining else f"on {len(self._listeners)} sockets"
        return f"<DataServer {stance}: {self._serving} requests>"

    @property
    def in_flight(self) -> int:
        """Requests that have begun and whose answer is not out."""
        return self._serving

    @property
    def buffered_bytes(self) -> int:
        """Bytes of requests and answers in memory, as far as they are counted."""
        return self._room.taken_bytes

    async def start(self, hosts: Sequence[str], port: int) -> list[socket.socket]:
        """Listen on all these addresses and one port, 0 = any. OSError where the port is taken."""
        self._server = Server(self._handle, self._refused)
        loop = asyncio.get_running_loop()
        sockets = listening.bind(hosts, port)
        for sock in sockets:
            listener = await loop.create_server(self._server, sock=sock, backlog=_BACKLOG, start_serving=False)
            self._listeners.append(listener)
        for listener in self._listeners:  # held before they serve: `drain` closes all, also where this is cancelled
            await listener.start_serving()
        return sockets

    async def drain(self, grace: float) -> None:
        """Accept nothing new; give what runs `grace` seconds, then have it failed (B51); leave nothing open."""
        self._draining = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for _ in range(2):  # what has arrived already is read first
            await asyncio.sleep(0)
        for connection in self._connections():
            if not connection.busy:
                connection.force_close()
        await self._quiet(grace)
        for connection in self._connections():
            if connection.downstream is not None:
                connection.downstream.drain_deadline()
        await self._quiet(FAIL_SECONDS + 0.5)
        await self.close()

    async def close(self) -> None:
        """End at once: no listening, no connection, no task is left."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in self._connections():
            connection.abandon()
            connection.force_close()
        if self._server is not None:
            await self._server.shutdown(0.1)

    def _connections(self) -> list[ClientConnection]:
        found = self._server.connections if self._server is not None else []
        return [connection for connection in found if isinstance(connection, ClientConnection)]

    async def _quiet(self, seconds: float) -> None:
        """Wait until nothing runs any more, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._serving:
                    self._changed.clear()
                    await self._changed.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, ClientConnection)
        lease = self._room.lease()
        connection.busy = True
        self._serving += 1
        try:
            connection.receiving = request.content
            body = await self._reader.read(request, lease)
            connection.receiving = None
            if connection.body_is_broken:
                body = Refusal("invalid_body", "the body is not framed as its headers say")
            if isinstance(body, Refusal):
                return self._refused(body)
            downstream = AiohttpDownstream(
                request, lease, closing=lambda: self._draining, stall_seconds=self._stall_seconds
            )
            connection.downstream = downstream
            try:
                self._accept(_received(request, body), downstream)
            except Exception:
                downstream.left()  # for whatever it has begun: nobody waits for that answer
                raise
            return await downstream.run()
        finally:
            lease.release()
            self._serving -= 1
            self._changed.set()
            connection.downstream = None
            connection.busy = False
            if self._draining:
                connection.close()

    def _refused(self, refusal: Refusal) -> web.Response:
        """An answer of our own to a request that nobody else has seen. The rest of it may never come: close."""
        answer = web.Response(
            status=refusal.status,
            body=self._refusal_body(refusal),
            content_type="application/json",
            headers=[("Server", "modelpool"), *refusal.all_headers],
        )
        answer.force_close()
        return answer


def _received(request: web.BaseRequest, body: bytes) -> Received:
    return Received(
        method=request.method,
        target=request.raw_path,
        headers=tuple(
            (name.decode("ascii", "replace").lower(), value.decode("utf-8", "surrogateescape"))
            for name, value in request.raw_headers
        ),
        body=body,
        http_version=(request.version.major, request.version.minor),
        loopback=_is_loopback(request),
    )


def _is_loopback(request: web.BaseRequest) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return _is_loopback_address(str(peer[0])) if peer else False


@functools.lru_cache(maxsize=256)
def _is_loopback_address(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
