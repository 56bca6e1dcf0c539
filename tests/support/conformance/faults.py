"""The faults that several groups of rows share, each made from what sets it apart."""

import asyncio
import contextlib
import json
from typing import Any

from conformance.turns import JSON, SSE, Fault, Framing, Headers, Turn
from conformance.wires import Wire

LATE = 1.4
"""Seconds: later than the deadline of the head, of the first token, of the next one."""
SOON = 0.3
"""Seconds: sooner than that, also on a busy machine."""
HTML = ("content-type", "text/html")
REFUSED, FULL = Fault(door="refused"), Fault(door="full")


def answers(status: int, body: bytes | dict[str, Any] = b"", *headers: tuple[str, str]) -> Fault:
    """That answer, complete."""
    raw = json.dumps({"error": body}).encode() if isinstance(body, dict) else body
    kinds = () if any(name == "content-type" for name, _ in headers) else (JSON,)

    async def play(turn: Turn) -> None:
        await turn.whole(status, raw, *kinds, *headers)

    return Fault(play)


def said(code: str | None, kind: str = "some_error") -> dict[str, Any]:
    """An error body of the OpenAI shape."""
    return {"message": "words", "type": kind, "code": code, "param": None}


def says(data: bytes, then: str = "stall") -> Fault:
    """These bytes for a head; then an end, or nothing more."""

    async def play(turn: Turn) -> None:
        turn.wire.send(data)
        await asyncio.sleep(0)
        await (turn.stall() if then == "stall" else ends(turn.wire, then))

    return Fault(play)


def at_connect(how: str) -> Fault:
    """The connection ends as soon as it is there."""

    async def connect(wire: Wire) -> None:
        await ends(wire, how)

    return Fault(connect=connect)


def silence() -> Fault:
    """No word, and the connection stays."""
    return says(b"")


def delayed(seconds: float) -> Fault:
    """A good answer, after so long."""

    async def play(turn: Turn) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await turn.stall()
        if not turn.wire.gone.is_set():
            await turn.well()

    return Fault(play)


def breaks(phase: str, how: str) -> Fault:
    """All until that point, then that."""

    async def play(turn: Turn) -> None:
        framing: Framing = "close" if how == "close" else "chunked"
        turn.head(200, (SSE if turn.stream else JSON,), framing)
        if turn.stream:
            parts = turn.speech.until(phase)
        else:
            parts = [] if phase == "head" else [turn.speech.whole[: len(turn.speech.whole) // 2]]
        for part in parts:
            await turn.part(part)
        await stop(turn, how)

    return Fault(play)


def sends(make: Any, *headers: tuple[str, str], framing: Framing = "chunked", how: str = "end") -> Fault:
    """A 200 with these parts: `make(turn)`."""

    async def play(turn: Turn) -> None:
        turn.head(200, (*_kind(turn, headers), *headers), framing)
        for part in make(turn):
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                await turn.part(part)
        await stop(turn, how)

    return Fault(play)


def with_body(data: bytes, *headers: tuple[str, str]) -> Fault:
    """A 200 with that body and its length, streamed or not."""

    async def play(turn: Turn) -> None:
        await turn.whole(200, data, *_kind(turn, headers), *headers)

    return Fault(play)


def unframed(make: Any, how: str = "stall") -> Fault:
    """A 200 whose framing is in the bytes themselves: `make(turn)`."""

    async def play(turn: Turn) -> None:
        made = make(turn)
        for piece in made if isinstance(made, list) else [made]:
            turn.wire.send(piece)
            await asyncio.sleep(0.05)  # what comes with a fault in one piece may be lost with it
        await stop(turn, how)

    return Fault(play)


def _kind(turn: Turn, headers: Headers) -> Headers:
    """The content type, where these do not bring one."""
    return () if any(name == "content-type" for name, _ in headers) else (SSE if turn.stream else JSON,)


def later(seconds: float, fault: Fault) -> Fault:
    """The same, after so long."""

    async def play(turn: Turn) -> None:
        await asyncio.sleep(seconds)
        assert fault.play is not None
        await fault.play(turn)

    return Fault(play)


def declared(turn: Turn, more: int) -> bytes:
    """A good answer that declares so many bytes more than it has."""
    kind = SSE if turn.stream else JSON
    told = b"".join(turn.parts)
    head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ncontent-length: {len(told) + more}\r\n\r\n".encode()
    return head + told


def filtered(*, text: bool) -> Fault:
    """An answer that the content filter ended, after all of the text or before any."""

    def parts(turn: Turn) -> list[bytes]:
        speech = turn.speech.filtered(text=text)
        return speech.events if turn.stream else [speech.whole]

    return sends(parts)


async def stop(turn: Turn, how: str) -> None:
    """How an answer ends: `how` is a word of `rows_cuts`."""
    if how in ("fin", "close"):
        turn.wire.fin()
    elif how == "rst":
        await asyncio.sleep(0.02)  # a reset overtakes what is still on its way
        turn.wire.rst()
    elif how == "end":
        turn.end()
    else:
        await turn.stall()


async def ends(wire: Wire, how: str) -> None:
    """How a connection ends: `fin` or `rst`."""
    if how == "rst":
        wire.rst()
    else:
        wire.fin()


ERRS = sends(lambda turn: [*turn.speech.until("middle"), turn.speech.error_event()])
"""A stream that says in the middle that it failed."""
FIRST, SECOND = answers(500, said("first")), answers(503, said("second"))
LATER = 0.4
"""Seconds: when a head is out, or a hedge on its way, but nothing is too late yet."""
