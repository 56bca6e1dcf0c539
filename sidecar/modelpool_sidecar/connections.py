"""The connections to one provider: which are kept, which may be used again, what is known of each.

aiohttp keeps idle connections and hands them out again; this module adds what a proxy has to know on top of it:
whether a connection was used before and has answered a byte of this request (a stale one may be repeated, B15a), that
a byte which comes while nobody asked closes the connection (it would become somebody else's answer), and that a
refused address is refused at connect.
"""

import asyncio
import errno
import functools
import socket
import ssl
import weakref
from contextvars import ContextVar
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection as AcquiredConnection

from modelpool_sidecar import addresses

READ_BUFFER_BYTES = 64 * 1024
"""Above twice this, aiohttp stops reading from a provider whose answer nobody takes."""
MAX_HEAD_BYTES = 32 * 1024
"""Of the status line, and of each header of an answer."""


class Claimant(Protocol):
    """Who uses a connection: one attempt."""

    def claimed(self, connection: "ProviderConnection") -> None:
        """The request is about to be sent on it."""

    def lost(self, error: BaseException | None) -> None:
        """It ended before the answer was complete; `error`: it broke, rather than being closed."""

    def cancel(self) -> None:
        """Give up, without a word."""


claimant: ContextVar[Claimant] = ContextVar("claimant")
"""The attempt whose task runs: aiohttp tells a request of its connection, but not the caller."""


class ProviderConnection(ResponseHandler):
    """One connection. `uses` counts requests; `heard`: this use has got at least one byte back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, siblings: "weakref.WeakSet[ProviderConnection]") -> None:
        super().__init__(loop)
        self.uses = 0
        self.heard = False
        self.owner: Claimant | None = None
        self._siblings = siblings

    def claim(self, owner: Claimant) -> None:
        """A request of this attempt is sent on it now."""
        self.uses += 1
        self.heard = False
        self.owner = owner

    def disclaim(self, owner: Claimant) -> None:
        """The attempt has its whole answer. Nothing happens where another attempt has claimed it since."""
        if self.owner is owner:
            self.owner = None

    @property
    def idle(self) -> bool:
        """Kept for later use, with no attempt on it."""
        return self.owner is None and self.uses > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._siblings.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if data:
            if self.idle:
                self.abort()
                return
            self.heard = True
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._siblings.discard(self)
        owner = self.owner
        super().connection_lost(exc)
        if owner is not None:
            owner.lost(exc)


class _Request(aiohttp.ClientRequest):
    """Tells the connection and the attempt of each other, at the last moment before anything is sent."""

    async def send(self, conn: AcquiredConnection) -> aiohttp.ClientResponse:
        connection = conn.protocol
        assert isinstance(connection, ProviderConnection)
        owner = claimant.get()
        connection.claim(owner)
        owner.claimed(connection)
        return await super().send(conn)


class Link:
    """All connections to one provider, and the attempts on them. Retired, it closes itself after the last attempt."""

    def __init__(
        self, idle_timeout: float, ssl_context: ssl.SSLContext | None, resolver: AbstractResolver | None
    ) -> None:
        self.idle_timeout = idle_timeout
        self._ssl_context, self._resolver = ssl_context, resolver
        self._attempts: dict[Claimant, asyncio.Task[None]] = {}
        self._connections: weakref.WeakSet[ProviderConnection] = weakref.WeakSet()
        self._kept = self._session(keep=idle_timeout > 0)
        self._fresh: aiohttp.ClientSession | None = None
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Link: {len(self._connections)} connections, {len(self._attempts)} attempts>"

    def enter(self, attempt: Claimant, task: asyncio.Task[None]) -> None:
        """An attempt begins; it is over when its task is."""
        self._attempts[attempt] = task
        task.add_done_callback(lambda _task: self._leave(attempt))

    def retire(self) -> None:
        """Nobody will begin an attempt here: close what is idle now, the rest when its attempt is over."""
        self._retired = True
        for connection in list(self._connections):
            if connection.idle:
                connection.abort()
        self._close_if_unused()

    def session(self, *, fresh: bool) -> aiohttp.ClientSession:
        """Where to send a request; `fresh`: on a connection that nobody has used, nor will again."""
        if not fresh:
            return self._kept
        if self._fresh is None:
            self._fresh = self._session(keep=False)
        return self._fresh

    @property
    def idle_connections(self) -> int:
        """How many are kept for later use."""
        return sum(connection.idle for connection in self._connections)

    @property
    def closed(self) -> bool:
        """Nothing is left of it."""
        return self._kept.closed and not self._attempts and (self._closing is None or self._closing.done())

    async def close(self) -> None:
        """Close everything, running attempts too."""
        attempts = dict(self._attempts)
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts.values())
        for connection in list(self._connections):
            connection.abort()
        await self._kept.close()
        if self._fresh is not None:
            await self._fresh.close()

    def _leave(self, attempt: Claimant) -> None:
        del self._attempts[attempt]
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and not self._attempts and self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close())

    def _session(self, *, keep: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            ssl=self._ssl_context or True,
            resolver=self._resolver,
            limit=0,
            keepalive_timeout=self.idle_timeout if keep else None,
            force_close=not keep,
            socket_factory=_socket,
        )
        # The one way to give aiohttp a connection class of one's own; a test holds this name.
        connector._factory = functools.partial(self._connection)  # noqa: SLF001 - no public way; a guard test holds the name
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=_Request,
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=MAX_HEAD_BYTES,
            max_field_size=MAX_HEAD_BYTES,
        )
        # aiohttp repeats GET by itself; whether an attempt is repeated is decided elsewhere, and counted.
        session._retry_connection = False  # noqa: SLF001 - no public way; a guard test holds the name
        return session

    def _connection(self) -> ResponseHandler:
        return ProviderConnection(asyncio.get_running_loop(), self._connections)


def _socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, address = info
    reason = addresses.refused(str(address[0]))
    if reason is not None:
        raise OSError(errno.EACCES, reason)
    return socket.socket(family, kind, protocol)
