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
from multidict import CIMultiDict

from modelpool_sidecar import framing
from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.framing import Answer
from modelpool_sidecar.patience import STALL_SECONDS, Patience
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.sendqueue import unsent_bytes

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024
"""`write` returns False above the first; `on_writable` is called below the second."""
FAIL_SECONDS = 2.0
"""How long a fault's event may take to reach the client before the connection is cut all the same (B25)."""
_POLL_SECONDS = 0.005
_SERVER = "modelpool"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


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
        `stall_seconds`: see `patience`."""
        self._patience = Patience(stall_seconds, self._look)
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.on_drain_deadline: Callable[[], None] | None = None
        self._request, self._lease = request, lease
        self._closing = closing
        self._answer: Answer | None = None
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
        answer = Answer(status=status, headers=fields)
        if self._closing() or framing.ends_by_close(self._request, answer):
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
            self._patience.begin()
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
            if sock is not None and not framing.is_chunked(self._request, self._answer):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()
        self._settle(self.on_delivered)

    async def run(self) -> web.StreamResponse:
        """Deliver the answer. What this returns, the request's handler returns."""
        try:
            return await self._deliver()
        except ConnectionError:
            self.left()
            return framing.broken(self._answer)
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
            return framing.broken(answer)
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
        return framing.broken(answer)

    async def _flush(self, answer: Answer, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand everything that is queued to the connection, in one piece; wait for room."""
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self._body_bytes += len(data)
        if len(data) > HIGH_WATER_BYTES:  # joining the head to so much would copy it
            answer.send_head()
        await send(b"" if framing.is_bodiless(self._request, answer) else data)
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
        self._patience.begin()
        transport.set_write_buffer_limits(high=0)
        await self._request.writer.drain()
        transport.set_write_buffer_limits()

    def _look(self) -> None:
        transport = self._request.transport
        if self._settled or transport is None:
            return
        if self._patience.is_spent(transport, self._body_bytes):
            self.left()
            self.cut()
        elif self._full or transport.get_write_buffer_size():
            self._patience.begin()

    async def _acknowledged(self) -> None:
        """Wait until the kernel has nothing of ours either. It sends no event for that; `_timer` bounds the wait."""
        transport = self._request.transport
        sock = transport and transport.get_extra_info("socket")
        while sock and unsent_bytes(sock.fileno()):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(_POLL_SECONDS)

    def _missing_bytes(self, answer: Answer) -> bool:
        """The head promised more than came: the next answer on this connection would be taken for the rest."""
        declared = answer.content_length
        given = self._body_bytes + sum(map(len, self._queue))
        return declared is not None and not framing.is_bodiless(self._request, answer) and given != declared

    def _settle(self, callback: Callable[[], None] | None) -> None:
        """Once: the request is over for the client."""
        if self._settled:
            return
        self._settled = True
        self._queue.clear()
        self._patience.end()
        if self._timer is not None:
            self._timer.cancel()
        if callback is not None:
            callback()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _stirred(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake
