"""One answer to a client over aiohttp: bounded on its way, ended cleanly or visibly broken, whoever leaves first.

The proxy's calls fill a small queue; the request's own task (`run`) empties it into the connection. So no call waits,
and a slow client is felt by the proxy as `write` returning False.
"""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.sendqueue import unsent_bytes

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024
"""`write` returns False above the first; `on_writable` is called below the second."""
FAIL_SECONDS = 2.0
"""How long a fault's event may take to reach the client before the connection is cut all the same (B25)."""
STALL_SECONDS = 300.0
"""How long a client may take nothing of what waits for it; then its connection is cut, and it counts as gone (B30)."""
_LOOKS = 5
_POLL_SECONDS = 0.005
_SERVER = "modelpool"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Answer(web.StreamResponse):
    """aiohttp ends a response when its handler returns; a broken one must never be ended (B25)."""

    broken = False
    _send_headers_immediately = False
    """The head waits for what follows it at once, and goes out in one piece with it; a test holds this name."""

    def send_head(self) -> None:
        """Nothing follows at once."""
        if self._payload_writer is not None:
            self._payload_writer.send_headers()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.broken:
            raise ConnectionResetError("the answer was cut")
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        if self.broken:
            raise ConnectionResetError("the answer was cut")
        await super().write_eof(data)


class AiohttpDownstream:
    """Towards the client of one request; exactly one of `on_gone` and `on_delivered` is called in the end."""

    def __init__(
        self,
        request: web.BaseRequest,
        lease: Lease,
        *,
        closing: Callable[[], bool] = lambda: False,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`lease`: room for what waits for the client. `closing`: whether the connection must end with this answer.
        `stall_seconds`: see STALL_SECONDS."""
        self._stall_seconds = stall_seconds
        self._watch: asyncio.TimerHandle | None = None
        self._taken, self._looks = 0, 0
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.on_drain_deadline: Callable[[], None] | None = None
        self._request, self._lease = request, lease
        self._closing = closing
        self._answer: _Answer | None = None
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._body_bytes = 0
        self._full = False
        self._ended: Literal["finish", "fail"] | None = None
        self._settled = False
        self._wake: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<AiohttpDownstream {self._request.method}: {self._queued_bytes} bytes queued>"

    def head(self, status: int, headers: Headers) -> None:
        """Send status and headers. Without a content-length the body is chunked, or ends by close in HTTP/1.0."""
        fields = CIMultiDict(headers)
        fields["Server"] = _SERVER
        answer = _Answer(status=status, headers=fields)
        if self._closing() or self._ends_by_close(answer):
            answer.force_close()
        self._answer = answer
        self._stir()

    def write(self, data: bytes) -> bool:
        """Send a part of the body. False: it was taken, but pause until on_writable.

        Where memory has no room for it, it is taken too, because it is here: no answer breaks for that, but nothing
        more of it is read until the client has this (B30).
        """
        if self._settled or self._ended:
            return True
        self._queue.append(data)
        self._queued_bytes += len(data)
        fits = self._lease.hold(len(data))
        if not self._full and (self._queued_bytes > HIGH_WATER_BYTES or not fits):
            self._full = True
            self._wait_for_client()
        self._stir()
        return not self._full

    def finish(self) -> None:
        """The body is complete."""
        self._ended = self._ended or "finish"
        self._stir()

    def fail(self, event: bytes | None) -> None:
        """The body is broken (B25). Before the head there is nothing to break: the connection is cut."""
        if self._settled or self._ended:
            return
        if event:
            self.write(event)
        self._ended = "fail"
        self._timer = asyncio.get_running_loop().call_later(FAIL_SECONDS, self.cut)
        self._stir()

    @property
    def settled(self) -> bool:
        """Delivered, cut or gone: nothing is owed to the client any more."""
        return self._settled

    def left(self) -> None:
        """The client is gone, or half gone, which counts as much (B31)."""
        self._settle(self.on_gone)

    def drain_deadline(self) -> None:
        """The grace period is over (B51): whoever leads the request ends it, and where nobody does we do."""
        if self.on_drain_deadline is not None:
            self.on_drain_deadline()
        else:
            self.fail(None)

    def cut(self) -> None:
        """End as no client can take for success: without the last chunk; by a reset where there are no chunks."""
        transport = self._request.transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if sock is not None and not self._chunked(self._answer):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        self._settle(self.on_delivered)

    async def run(self) -> web.StreamResponse:
        """Deliver the answer. What this returns, the request's handler returns."""
        try:
            return await self._deliver()
        except ConnectionError:
            self.left()
            return _broken(self._answer)
        except Exception:  # a fault of ours, which must not look like the end of the body either
            if self._request.writer.output_size and not self._settled:
                self.left()
                self.cut()
            raise
        finally:
            self.left()

    async def _deliver(self) -> web.StreamResponse:
        while self._answer is None and not self._ended:
            await self._stirred()
        answer = self._answer
        if answer is None:
            self.cut()
            return _broken(answer)
        await answer.prepare(self._request)
        while not self._ended:
            if self._queue:
                await self._flush(answer, answer.write)
            else:
                answer.send_head()
                await self._stirred()
        if self._ended == "finish" and not self._missing_bytes(answer):
            await self._flush(answer, answer.write_eof)
            await self._emptied()
            self._settle(self.on_delivered)
            return answer
        await self._flush(answer, answer.write)
        answer.send_head()
        await self._emptied()
        await self._acknowledged()
        self.cut()
        return _broken(answer)

    async def _flush(self, answer: _Answer, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand everything that is queued to the connection, in one piece; wait for room."""
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self._body_bytes += len(data)
        if len(data) > HIGH_WATER_BYTES:  # joining the head to so much would copy it
            answer.send_head()
        await send(b"" if self._bodiless(answer) else data)
        self._queued_bytes -= len(data)
        self._lease.give(len(data))
        if self._full and self._queued_bytes < LOW_WATER_BYTES:
            self._full = False
            if self.on_writable is not None and not self._settled:
                self.on_writable()

    async def _emptied(self) -> None:
        """Wait until our own write buffer is empty."""
        transport = self._request.transport
        if transport is None or transport.get_write_buffer_size() == 0:
            return
        self._wait_for_client()
        transport.set_write_buffer_limits(high=0)
        await self._request.writer.drain()
        transport.set_write_buffer_limits()

    def _wait_for_client(self) -> None:
        """Bytes wait for a client that is slower than they come: look now and then whether it takes any."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._stall_seconds / _LOOKS, self._look)

    def _look(self) -> None:
        self._watch = None
        transport = self._request.transport
        if self._settled or transport is None:
            return
        sock = transport.get_extra_info("socket")
        waiting = transport.get_write_buffer_size()
        taken = self._body_bytes - waiting - (unsent_bytes(sock.fileno()) if sock is not None else 0)
        self._looks = 0 if taken != self._taken else self._looks + 1
        self._taken = taken
        if self._looks >= _LOOKS:
            self.left()
            self.cut()
        elif self._full or waiting:
            self._wait_for_client()

    async def _acknowledged(self) -> None:
        """Wait until the kernel has nothing of ours either. It sends no event for that; `_timer` bounds the wait."""
        transport = self._request.transport
        sock = transport and transport.get_extra_info("socket")
        while sock and unsent_bytes(sock.fileno()):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(_POLL_SECONDS)

    def _missing_bytes(self, answer: _Answer) -> bool:
        """The head promised more than came: the next answer on this connection would be taken for the rest."""
        declared = answer.content_length
        given = self._body_bytes + sum(map(len, self._queue))
        return declared is not None and not self._bodiless(answer) and given != declared

    def _bodiless(self, answer: _Answer) -> bool:
        """A body byte would be read as the head of the next answer, whatever the headers say."""
        return self._request.method == "HEAD" or answer.status < 200 or answer.status in (204, 304)

    def _chunked(self, answer: _Answer | None) -> bool:
        if answer is None or self._bodiless(answer):
            return False
        return answer.content_length is None and self._request.version >= (1, 1)

    def _ends_by_close(self, answer: _Answer) -> bool:
        """Nothing but the end of the connection tells a client of HTTP/1.0 that this body is complete."""
        return answer.content_length is None and self._request.version < (1, 1) and not self._bodiless(answer)

    def _settle(self, callback: Callable[[], None] | None) -> None:
        """Once: the request is over for the client."""
        if self._settled:
            return
        self._settled = True
        self._queue.clear()
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        if callback is not None:
            callback()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _stirred(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake


def _broken(answer: _Answer | None) -> _Answer:
    answer = answer or _Answer()
    answer.broken = True
    return answer
