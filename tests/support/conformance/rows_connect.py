"""Faults before the head of an answer: connections, names, TLS, silence, heads that are none (B16, B17, B42)."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from conformance.provider import JSON, SSE, Fault, Turn, Wire
from conformance.rows import Row
from conformance.rows_status import ON

LATE = 1.4
"""Seconds: later than the deadline of the head, of the first token, of the next one."""
SOON = 0.3
"""Seconds: sooner than that, also on a busy machine."""


def _sends(data: bytes, then: str = "stall") -> Fault:
    """These bytes for a head; then an end, or nothing more."""

    async def play(turn: Turn) -> None:
        turn.wire.send(data)
        await asyncio.sleep(0)
        await (turn.stall() if then == "stall" else _ends(turn.wire, then))

    return Fault(play)


async def _ends(wire: Wire, how: str) -> None:
    if how == "rst":
        wire.rst()
    else:
        wire.fin()


def at_connect(how: str) -> Fault:
    async def connect(wire: Wire) -> None:
        await _ends(wire, how)

    return Fault(connect=connect)


def silence() -> Fault:
    """No word, and the connection stays."""
    return _sends(b"")


async def _no_tls(wire: Wire) -> None:
    """The connection ends in the handshake's place: nothing of TLS was said."""
    wire.rst()


def delayed(seconds: float) -> Fault:
    async def play(turn: Turn) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await turn.stall()
        if not turn.wire.gone.is_set():
            await turn.well()

    return Fault(play)


def _trickling(pause: float) -> Fault:
    """A head that comes in seven pieces."""

    async def play(turn: Turn) -> None:
        kind = SSE if turn.stream else JSON
        head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        size = len(head) // 6
        for start in range(0, len(head), size):
            turn.wire.send(head[start : start + size])
            await asyncio.sleep(pause)
        for part in turn.speech.events if turn.stream else [turn.speech.whole]:
            await turn.part(part)
        turn.end()

    return Fault(play)


def _early(status: int, code: str, *headers: tuple[str, str], then: str = "stall") -> Fault:
    """Answers with the head of the request, and reads no further."""

    async def early(turn: Turn) -> None:
        body = b'{"error": {"message": "words", "type": "t", "code": "%b"}}' % code.encode()
        await turn.whole(status, body, JSON, *headers)
        if then == "stall":
            await asyncio.sleep(SOON)
            await turn.swallow()  # a socket that is not read does not tell that the other side has left
        else:
            await _ends(turn.wire, then)

    return Fault(early=early)


def _row(name: str, seen: str, fault: Fault, blame: str = "counts", **more: Any) -> Row:
    return Row(name, "Connections and heads", seen, seen, fault, blame=blame, **more)  # type: ignore[arg-type]


UPLOAD = {"padding": 5 * 1024 * 1024, "more": 2, "timeouts": {"head": 2_500, "first_token": 2_500}}

ROWS: Sequence[Row] = (
    _row("refused", ON, Fault(door=True)),
    _row("the name is unknown", ON, Fault(dns=True), lasting=False),
    _row("the certificate is not trusted", ON, Fault(tls=True), tls=True),
    _row("closed in the handshake of TLS", ON, Fault(connect=_no_tls), tls=True),
    _row("no TLS at all", ON, Fault(door=False, plain=True), tls=True),
    _row("closed at connect", ON, at_connect("fin")),
    _row("reset at connect", ON, at_connect("rst")),
    _row("closed once the request was read", ON, _sends(b"", "fin")),
    _row("reset once the request was read", ON, _sends(b"", "rst")),
    _row("silence", ON, silence()),
    _row("half a head, then closed", ON, _sends(b"HTTP/1.1 200 OK\r\ncontent-", "fin")),
    _row("half a head, then reset", ON, _sends(b"HTTP/1.1 200 OK\r\ncontent-", "rst")),
    _row("half a head, then silence", ON, _sends(b"HTTP/1.1 200 OK\r\ncontent-")),
    _row("no HTTP at all", ON, _sends(b"220 mail.example ESMTP\r\n")),
    _row("an old HTTP", ON, _sends(b"HTTP/0.9 200 OK\r\n\r\n")),
    _row("a status that is none", ON, _sends(b"HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n")),
    _row("a header without end", ON, _sends(b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 100_000)),
    _row("a header that is none", ON, _sends(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n")),
    _row("a content-length that is none", ON, _sends(b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n")),
    _row("two content-lengths", ON, _sends(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")),
    _row(
        "a length and chunks",
        ON,
        _sends(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    _row("a slow head, in time", "primary, 1 ask", delayed(SOON), "none"),
    _row("a slow head, too late", ON, delayed(LATE)),
    _row("a head that trickles, in time", "primary, 1 ask", _trickling(SOON / 8), "none"),
    _row("a head that trickles, too late", ON, _trickling(LATE / 6)),
    _row("413 before a large upload is read", "413 too_big, 1 ask", _early(413, "too_big"), "none", **UPLOAD),
    _row("429 before a large upload is read", ON, _early(429, "slow"), "cools", **UPLOAD),
    _row("500 before a large upload is read", ON, _early(500, "e"), **UPLOAD),
    _row("500 before a large upload is read, then closed", ON, _early(500, "e", then="fin"), **UPLOAD),
    _row("reset before a large upload is read", ON, Fault(early=lambda turn: _ends(turn.wire, "rst")), **UPLOAD),
)
