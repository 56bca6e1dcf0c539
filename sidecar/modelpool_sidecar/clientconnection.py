"""One client's connection: when it leaves, when it is idle, and what it gets where what it sends is no HTTP."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import LineTooLong

from modelpool_sidecar import faults
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.relay import AiohttpDownstream

logger = logging.getLogger(__name__)

MAX_LINE_BYTES = 32 * 1024
"""Of the request line, and of each header."""
KEEP_ALIVE_SECONDS = 120.0
"""Longer than any official SDK keeps an idle connection, so that it is the client that closes."""
_LINGER_SECONDS = 2.0


class ClientConnection(web.RequestHandler):
    """One client's connection: aiohttp's, which also tells when the client leaves and when it is idle."""

    def __init__(self, server: "Server", **options: object) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)  # type: ignore[arg-type]  # aiohttp's own options, passed on
        self.downstream: AiohttpDownstream | None = None
        self.busy = False
        self.receiving: StreamReader | None = None
        self.body_is_broken = False
        self._refused = server.refused

    def data_received(self, data: bytes) -> None:
        self.busy = True
        super().data_received(data)
        # aiohttp queues a parser's error behind the request whose body it found it in, and lets that body wait.
        if self.receiving is not None and self._messages:
            newest, _ = self._messages[-1]
            if not isinstance(newest, RawRequestMessage) and not self.receiving.is_eof():
                self.body_is_broken = True
                self.receiving.feed_eof()

    def eof_received(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Nobody waits for the answer that is on its way: end it, so that half of it is not taken for all."""
        if self.downstream is not None and not self.downstream.settled:
            self.downstream.left()
            self.downstream.cut()

    def connection_lost(self, exc: BaseException | None) -> None:
        try:
            if self.downstream is not None:
                self.downstream.left()
        finally:
            super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP, and what went wrong in our own house, in the shape that clients read."""
        if status >= 500:
            # aiohttp does not hand on a TimeoutError, but calls this while it handles it
            faults.log(logger, "a request ended by a fault of ours", exc or sys.exception())
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        if status < 500:
            return self._refused(Refusal("invalid_request", _malformed(exc)))
        if isinstance(request.writer, StreamWriter):
            request.writer.chunked = False  # as an answer may have left it whose headers could not be written
        return self._refused(Refusal("internal_error", "the sidecar failed; its log says how"))


class Server(web.Server):
    """Hands out our connections in place of aiohttp's."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refused: Callable[[Refusal], web.Response],
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.refused = refused

    def __call__(self) -> ClientConnection:
        return ClientConnection(
            self,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            logger=logger,
            max_field_size=MAX_LINE_BYTES,
            max_line_size=MAX_LINE_BYTES,
        )


def _malformed(error: BaseException | None) -> str:
    if isinstance(error, LineTooLong):
        return f"the request line, or a header, is longer than {MAX_LINE_BYTES // 1024} KiB"
    return "the request is not well-formed HTTP/1.1"
