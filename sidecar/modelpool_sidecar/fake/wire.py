"""One connection of a fake provider: reads requests, plays answers byte by byte, and notes who left when.

Theory: a connection is idle, reading a request, or in an exchange; one exchange at a time, pipelined requests wait in
the reader. An exchange is a task that plays one answer; what ends it from outside (the client leaves, the provider
stops) cancels the task. Whoever ends an exchange says so in its attempt, exactly once, in `_end`.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal, Protocol, cast

from modelpool_sidecar.fake import question
from modelpool_sidecar.fake.http1 import Head, MalformedError, RequestReader
from modelpool_sidecar.fake.log import Ended, FakeAttempt, Log
from modelpool_sidecar.fake.raw import Ending, Gate, RawAnswer

Silent = Literal["Refuse", "Reset", "Hang"]
"""The faults that send no answer at all."""

_LATE = 0.1  # seconds that the pace of a stream may catch up after it was held back
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_FAULT_OF: dict[Ending, Ended] = {"clean": "Answered", "cut": "Cut", "reset": "Reset", "stall": "Stall"}


class Host(Protocol):
    """What a connection asks of its provider."""

    log: Log
    connections: "set[Connection]"

    def refuses(self) -> bool:
        """Whether a connection is closed at once now."""
        ...

    def answer(self, attempt: FakeAttempt, body: bytes) -> RawAnswer | Silent:
        """What this request meets; asked once for each, it counts in the script."""
        ...

    def changed(self, ended: FakeAttempt | None = None) -> None:
        """Something happened: an attempt began or moved on, `ended` is over, a connection came or went."""


class Connection(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, host: Host, number: int, now: Callable[[], float]) -> None:
        self._host, self._number, self._now = host, number, now
        self._transport: asyncio.Transport | None = None
        self._reader = RequestReader()
        self._head: Head | None = None  # of the request that is being read or answered
        self._attempt: FakeAttempt | None = None  # likewise
        self._task: asyncio.Task[None] | None = None  # the exchange
        self._writable = asyncio.Event()
        self._writable.set()
        self._deaf = False  # we are closing: nothing more is read

    def __repr__(self) -> str:
        return f"<Connection {self._number}: {self._attempt or 'idle'}>"

    @property
    def idle(self) -> bool:
        """Whether no request is under way on it."""
        return self._attempt is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._host.connections.add(self)
        if self._host.refuses():
            self._refuse()
        self._host.changed()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self.idle and self._host.refuses():
            self._refuse()
            return
        self._reader.feed(data)
        if self._task is None:
            self._read()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> None:
        self._left()  # a client that closes its half has left

    def connection_lost(self, exc: Exception | None) -> None:
        self._left()
        self._deaf = True
        self._host.connections.discard(self)
        self._host.changed()

    def close(self) -> None:
        """Close it if it is idle."""
        if self.idle:
            self._hang_up("close")

    def stop(self) -> asyncio.Task[None] | None:
        """Drop it, whatever it does; what is still to be awaited."""
        task = self._task
        if task is not None:
            task.cancel()
        self._end("Stopped")
        self._hang_up("abort")
        return task

    def _read(self) -> None:
        """As far as the bytes reach: the next head, its body, the exchange."""
        try:
            if self._head is None:
                self._head = self._reader.head()
                if self._head is None:
                    return
                self._begin(self._head)
            body = self._reader.body()
        except MalformedError as error:
            self._reject(error)
            return
        if body is None:
            return
        assert self._attempt is not None
        self._host.log.keep_body(self._attempt, body)
        self._attempt.model, self._attempt.stream = question.peek(body)
        self._attempt.read = self._now()
        self._host.changed()
        self._task = asyncio.get_running_loop().create_task(self._exchange(self._attempt, self._head, body))
        self._task.add_done_callback(self._exchanged)

    def _begin(self, head: Head) -> None:
        attempt = self._host.log.start(self._number, self._now())
        attempt.method, attempt.target, attempt.headers = head.method, head.target, head.headers
        attempt.path, _, attempt.query = head.target.partition("?")
        self._attempt = attempt
        if head.expects_continue:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._host.changed()

    async def _exchange(self, attempt: FakeAttempt, head: Head, body: bytes) -> None:
        answer = self._host.answer(attempt, body)
        if answer == "Refuse" or answer == "Reset":
            self._end(answer)
            self._hang_up("reset")
        elif answer == "Hang":
            attempt.outcome = "Hang"
            self._host.changed()
            await asyncio.get_running_loop().create_future()
        else:
            await self._play(answer, attempt, head)

    async def _play(self, answer: RawAnswer, attempt: FakeAttempt, head: Head) -> None:
        framing = answer.framing
        if framing == "chunked" and head.version == (1, 0):
            framing = "close"
        body = list(answer.body) if framing == "length" and answer.content_length is None else answer.body
        pace = _Pace(self._now)
        await pace.wait(answer.before)
        stays = head.keeps_alive and framing != "close" and answer.ends in {"clean", "stall"}
        length = None
        if framing == "length":
            length = answer.content_length
            if length is None:
                length = sum(len(part) for part in body if isinstance(part, bytes))
        attempt.status, attempt.head_sent = answer.status, self._now()
        self._write(answer.head if answer.head is not None else render_head(answer, framing, length, stays=stays))
        self._host.changed()
        for part in body:
            if not isinstance(part, bytes):
                await pace.wait(part)
            elif part:
                await asyncio.sleep(0)
                await self._writable.wait()
                self._write(b"%x\r\n%b\r\n" % (len(part), part) if framing == "chunked" else part)
                attempt.sent_bytes += len(part)
                self._host.changed()
        await self._finish(answer.ends, attempt, framing, stays=stays)

    async def _finish(self, ends: Ending, attempt: FakeAttempt, framing: str, *, stays: bool) -> None:
        if ends == "stall":
            attempt.outcome = "Stall"
            self._host.changed()
            await asyncio.get_running_loop().create_future()
        if ends == "clean" and framing == "chunked":
            self._write(b"0\r\n\r\n")  # in one go with the last part: clients close right after the last event
        await self._writable.wait()
        self._end(_FAULT_OF[ends])
        if ends == "reset" or (ends == "cut" and framing == "close"):
            self._hang_up("reset")  # where the end of the connection ends the body, only a reset is no clean end
        elif not stays or self._host.refuses():
            self._hang_up("close")

    def _exchanged(self, task: asyncio.Task[None]) -> None:
        """The exchange is over: what was pipelined comes next."""
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            context: dict[str, Any] = {"message": "a fake provider could not answer", "exception": error, "task": task}
            self._end("Stopped")
            self._hang_up("abort")
            task.get_loop().call_exception_handler(context)
        if not self._deaf:
            self._read()

    def _left(self) -> None:
        """The client is gone; if it waited for something, note when and stop working for it."""
        if self._attempt is None:
            return
        self._attempt.client_left = self._now()
        if self._task is not None:
            self._task.cancel()
        self._deaf = True
        self._end("ClientLeft")

    def _end(self, outcome: Ended) -> None:
        """The exchange is over for us. A fault that was already under way keeps its word."""
        attempt, self._attempt, self._head = self._attempt, None, None
        if attempt is None:
            return
        if attempt.outcome == "Open":
            attempt.outcome = outcome
        attempt.ended = self._now()
        self._host.changed(attempt)

    def _refuse(self) -> None:
        self._attempt = self._host.log.start(self._number, self._now())
        self._host.answer(self._attempt, b"")
        self._end("Refuse")
        self._hang_up("reset")

    def _reject(self, error: MalformedError) -> None:
        if self._attempt is None:
            self._attempt = self._host.log.start(self._number, self._now())
        self._attempt.status = error.status
        answer = RawAnswer(status=error.status, headers=(("content-type", "text/plain"),))
        sentence = str(error).encode()
        self._write(render_head(answer, "length", len(sentence), stays=False) + sentence)
        self._end("Malformed")
        self._hang_up("close")

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _hang_up(self, how: Literal["close", "abort", "reset"]) -> None:
        self._deaf = True
        transport = self._transport
        if transport is None or (transport.is_closing() and how == "close"):
            return
        if how == "close":
            if transport.get_write_buffer_size() == 0:
                # Now, not in the loop's next round: a client that looks before it uses an idle connection must see it.
                with contextlib.suppress(OSError):
                    transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
            transport.close()
            return
        if how == "reset":
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()


class _Pace:
    """Waits one after the other, so that small delays of the machine do not add up."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._due = now()

    async def wait(self, wait: float | Gate) -> None:
        if not isinstance(wait, int | float):
            await wait.wait()
        elif wait > 0:
            self._due = max(self._due, self._now() - _LATE) + wait
            await asyncio.sleep(self._due - self._now())


def render_head(answer: RawAnswer, framing: str, length: int | None, *, stays: bool) -> bytes:
    """Status line and headers; what the framing needs is added unless the answer says it itself."""
    reason = answer.reason if answer.reason is not None else _reason(answer.status)
    given = {name.lower() for name, _ in answer.headers}
    headers = list(answer.headers)
    if framing == "chunked" and "transfer-encoding" not in given:
        headers.append(("transfer-encoding", "chunked"))
    if framing == "length" and "content-length" not in given:
        headers.append(("content-length", str(length)))
    if not stays and framing != "none" and "connection" not in given and answer.ends == "clean":
        headers.append(("connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
