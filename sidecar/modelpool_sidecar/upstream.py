"""One attempt at a provider over aiohttp: what was sent, what came back, how it failed.

The proxy owns every deadline but connecting. Foreign errors become an `ErrorKind` here and nowhere else.
"""

import asyncio
import io
import logging
import math
import os
import ssl
from collections.abc import Collection

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from modelpool_sidecar import faults, openfiles
from modelpool_sidecar.connections import Link, ProviderConnection, claimant
from modelpool_sidecar.ports import ErrorKind, Headers, Sink, UpstreamRequest

logger = logging.getLogger(__name__)

_AUTOMATIC_HEADERS = ("accept", "accept-encoding", "content-type", "user-agent")
"""What aiohttp would add; what a provider gets is decided by the dialect alone."""
_WHOLE_BODY_BYTES = 1 << 20
"""A larger body is handed to the socket in pieces: one write would copy all of it and stop the loop meanwhile."""


class AiohttpAttempt:
    """One try at one provider: one task, ended by itself or by `cancel`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sink: Sink | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: ProviderConnection | None = None
        self._content: aiohttp.StreamReader | None = None
        self._lost: BaseException | None = None
        self._resumed: asyncio.Future[None] | None = None

    def start(self, request: UpstreamRequest, sink: Sink) -> None:
        """Begin; the sink hears the rest, from a later turn of the loop on."""
        self._sink = sink
        self._task = asyncio.get_running_loop().create_task(self._run(request))
        self._task.add_done_callback(_log_fault)
        self._link.enter(self, self._task)

    def pause(self) -> None:
        """Stop reading. What aiohttp has read ahead stays bounded (`READ_BUFFER_BYTES`)."""
        if self._resumed is None:
            self._resumed = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """Go on reading."""
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.done():
            resumed.set_result(None)

    def cancel(self) -> None:
        """Drop it; the sink hears nothing more, and the provider sees the connection closed at once."""
        self._drop()
        if self._task is not None:
            self._task.cancel()

    def claimed(self, connection: ProviderConnection) -> None:
        """The request is sent on this connection."""
        self._connection = connection

    def lost(self, error: BaseException | None) -> None:
        """The connection ended. Two things that aiohttp leaves open are settled here: a body without a length would
        look complete after a reset, and one whose chunks are malformed would never end."""
        self._lost = error
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())

    async def _run(self, request: UpstreamRequest) -> None:
        claimant.set(self)
        try:
            response = await self._send(request)
        except Exception as error:
            kind, detail = _translate(error, self._connection, request)
            self._error(kind, detail)
            return
        try:
            await self._relay(response)
        except Exception:  # of the sink: a fault of ours, which `_log_fault` tells
            self._drop()
            raise
        finally:
            response.close()

    async def _send(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        body: io.BytesIO | bytes | None = request.body or None
        if len(request.body) > _WHOLE_BODY_BYTES:
            body = io.BytesIO(request.body)
        return await self._link.session(fresh=request.fresh).request(
            request.method,
            URL(request.url, encoded=True),
            headers=request.headers,
            data=body,
            allow_redirects=False,
            skip_auto_headers=_AUTOMATIC_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None, connect=request.connect_timeout, ceil_threshold=math.inf),
        )

    async def _relay(self, response: aiohttp.ClientResponse) -> None:
        content = self._content = response.content
        connection = self._connection
        assert connection is not None, "what answers was connected"
        if not connection.is_connected():
            self.lost(self._lost)
        content.on_eof(lambda: connection.disclaim(self))
        if response.status < 200:
            self._error("malformed", f"status {response.status} is no answer to this request")
            return
        if self._sink is not None:
            self._sink.head(response.status, _headers(response))
        while self._sink is not None:
            try:
                data = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                self._error("cut", _words(error))
                return
            while self._resumed is not None:
                await self._resumed
            if not data:
                break
            if self._sink is not None:
                self._sink.data(data)
        if self._lost is not None:
            self._error("cut", _words(self._lost))
        elif self._sink is not None:
            sink, self._sink = self._sink, None
            sink.end()

    def _drop(self) -> None:
        self._sink = None
        if self._connection is not None and self._connection.owner is self:
            self._connection.abort()

    def _error(self, kind: ErrorKind, detail: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.error(kind, detail)


class AiohttpUpstream:
    """Makes attempts; owns the connections to providers, by the provider's name."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, resolver: AbstractResolver | None = None) -> None:
        """None: the system's certificate authorities, the system's way to resolve names."""
        self._ssl_context, self._resolver = ssl_context, resolver
        self._links: dict[str, Link] = {}
        self._retired: set[Link] = set()

    def __repr__(self) -> str:
        return f"<AiohttpUpstream: {len(self._links)} providers, {len(self._retired)} going>"

    def attempt(self, provider: str, idle_timeout: float) -> AiohttpAttempt:
        """A new attempt at that provider; its connections are kept for `idle_timeout` seconds, 0 = not at all."""
        link = self._links.get(provider)
        if link is not None and link.idle_timeout != idle_timeout:
            self._retire(provider)
            link = None
        if link is None:
            link = self._links[provider] = Link(idle_timeout, self._ssl_context, self._resolver)
        return AiohttpAttempt(link)

    def retain(self, names: Collection[str]) -> None:
        """Close the idle connections of all other providers now, the busy ones when their attempts are over."""
        for provider in [name for name in self._links if name not in names]:
            self._retire(provider)

    def idle_connections(self, provider: str) -> int:
        """How many connections to that provider are kept for later use."""
        link = self._links.get(provider)
        return 0 if link is None else link.idle_connections

    async def close(self) -> None:
        """Close everything. Attempts that still run end without a word to their sinks."""
        links = [*self._links.values(), *self._retired]
        self._links.clear()
        self._retired.clear()
        for link in links:
            await link.close()

    def _retire(self, provider: str) -> None:
        self._retired = {link for link in self._retired if not link.closed}
        link = self._links.pop(provider)
        self._retired.add(link)
        link.retire()


def _headers(response: aiohttp.ClientResponse) -> Headers:
    """Names in lower case; bytes that are not UTF-8 survive as surrogates."""
    return tuple(
        (name.decode("ascii", "replace").lower(), value.decode("utf-8", "surrogateescape"))
        for name, value in response.raw_headers
    )


def _translate(
    error: Exception, connection: ProviderConnection | None, request: UpstreamRequest
) -> tuple[ErrorKind, str]:
    """The kind of a failure before the head, and our words for it: addresses and numbers, nothing that was sent."""
    where = URL(request.url, encoded=True).authority
    match error:
        case aiohttp.ClientConnectorError() if openfiles.lacks(error.os_error):
            return "no_files", f"{where}: this process has no file left to connect with"
        case aiohttp.ClientConnectorDNSError():
            return "dns", f"{where}: {_words(error.os_error)}"
        case aiohttp.ConnectionTimeoutError():
            return "connect_timeout", f"{where}: no connection within {request.connect_timeout:g} s"
        case aiohttp.ClientSSLError():
            return "tls", f"{where}: {_words(error.os_error)}"
        case aiohttp.ClientConnectorError():
            return "connect", f"{where}: {_words(error.os_error)}"
        case aiohttp.InvalidURL():
            return "connect", f"{where}: not a URL that can be connected to"
        case aiohttp.ClientResponseError():
            return "malformed", f"{where}: the answer is not HTTP"
    if not isinstance(error, aiohttp.ClientError | OSError):
        faults.log(logger, "an attempt could not be made", error)
    if connection is not None and connection.uses > 1 and not connection.heard:
        return "stale", f"{where}: a connection that was kept for reuse had been closed"
    return "reset", f"{where}: {_words(error)}"


def _words(error: BaseException) -> str:
    """An error without any content: what the system calls it, or its class."""
    if isinstance(error, OSError) and error.strerror:
        if error.errno and error.strerror.startswith("Connect call failed"):  # asyncio's words, which tell no cause
            return os.strerror(error.errno)
        return error.strerror
    return type(error).__name__


def _log_fault(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        faults.log(logger, "an attempt ended by a fault of ours", error)
