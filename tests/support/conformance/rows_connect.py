"""Faults before the head of an answer: connections, names, TLS, silence, heads that are none (B16, B17, B42)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from conformance.faults import FULL, LATE, REFUSED, SOON, at_connect, delayed, ends, says, silence
from conformance.house import House
from conformance.rows import Row, WrongError, ask
from conformance.seen import ON, WELL, Seen
from conformance.speech import Way
from conformance.turns import JSON, SSE, Fault, Turn
from conformance.wires import Wire


async def _no_tls(wire: Wire) -> None:
    """The connection ends in the handshake's place: nothing of TLS was said."""
    wire.rst()


def _trickling(pause: float) -> Fault:
    """A head that comes in seven pieces."""

    async def play(turn: Turn) -> None:
        kind = SSE if turn.stream else JSON
        head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        size = len(head) // 6
        for start in range(0, len(head), size):
            turn.wire.send(head[start : start + size])
            await asyncio.sleep(pause)
        for part in turn.parts:
            await turn.part(part)
        turn.end()

    return Fault(play)


def _kept(how: str) -> Fault:
    """Well, and its connection stays; with the second request over it, that connection ends instead."""

    async def play(turn: Turn) -> None:
        await (turn.well() if turn.wire.asked == 1 else ends(turn.wire, how))

    return Fault(play)


async def _second(house: House, way: Way, row: Row) -> Seen:
    """What is sent over a connection that was kept too long was not read: it is sent again, and that is no attempt."""
    await house.turn("primary", row.primary)
    _, _, first = await ask(house, way, row)
    ident, _, seen = await ask(house, way, row)
    if first.words != WELL or house.primary.asked(ident) != 2 or house.primary.accepted != 2 or house.backup.asks:
        raise WrongError(f"{first.words}, {seen.words}, {house.primary.asked(ident)} asks")
    return seen


def _early(status: int, code: str, *headers: tuple[str, str], then: str = "stall") -> Fault:
    """Answers with the head of the request, and reads no further."""

    async def early(turn: Turn) -> None:
        body = b'{"error": {"message": "words", "type": "t", "code": "%b"}}' % code.encode()
        await turn.whole(status, body, JSON, *headers)
        if then == "stall":
            await asyncio.sleep(SOON)
            await turn.swallow()  # a socket that is not read does not tell that the other side has left
        else:
            await ends(turn.wire, then)

    return Fault(early=early)


def _row(name: str, seen: str, fault: Fault, blame: str = "counts", **more: Any) -> Row:
    return Row(name, "Connections and heads", seen, seen, fault, blame=blame, **more)  # type: ignore[arg-type]


QUICK = {"connect": 700, "head": 60_000, "first_token": 60_000}
"""The deadline of the connection is the only one that may end it."""
UPLOAD = {"padding": 5 * 1024 * 1024, "more": 2, "timeouts": {"head": 2_500, "first_token": 2_500}}

ROWS: Sequence[Row] = (
    _row("refused", ON, REFUSED),
    _row("not answered: the line of those that nobody let in is full", ON, FULL, pool={"total": 2_500}, timeouts=QUICK),
    _row("the name is unknown", ON, Fault(dns=True), lasting=False),
    _row("the certificate is not trusted", ON, Fault(tls=True), tls=True),
    _row("closed in the handshake of TLS", ON, Fault(connect=_no_tls), tls=True),
    _row("no TLS at all", ON, Fault(plain=True), tls=True),
    _row("closed at connect", ON, at_connect("fin")),
    _row("reset at connect", ON, at_connect("rst")),
    _row("closed once the request was read", ON, says(b"", "fin")),
    _row("reset once the request was read", ON, says(b"", "rst")),
    _row("a kept connection closed as the next request comes", WELL, _kept("fin"), play=_second),
    _row("a kept connection reset as the next request comes", WELL, _kept("rst"), play=_second),
    _row("silence", ON, silence()),
    _row("half a head, then closed", ON, says(b"HTTP/1.1 200 OK\r\ncontent-", "fin")),
    _row("half a head, then reset", ON, says(b"HTTP/1.1 200 OK\r\ncontent-", "rst")),
    _row("half a head, then silence", ON, says(b"HTTP/1.1 200 OK\r\ncontent-")),
    _row("no HTTP at all", ON, says(b"220 mail.example ESMTP\r\n")),
    _row("an old HTTP", ON, says(b"HTTP/0.9 200 OK\r\n\r\n")),
    _row("a status that is none", ON, says(b"HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n")),
    _row("a header without end", ON, says(b"HTTP/1.1 200 OK\r\nx-long: " + b"x" * 100_000)),
    _row("a header that is none", ON, says(b"HTTP/1.1 200 OK\r\nno header\r\n\r\n")),
    _row("a content-length that is none", ON, says(b"HTTP/1.1 200 OK\r\ncontent-length: ten\r\n\r\n")),
    _row("two content-lengths", ON, says(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")),
    _row(
        "a length and chunks",
        ON,
        says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    _row("a slow head, in time", WELL, delayed(SOON), "none", more=2),
    _row("a slow head, too late", ON, delayed(LATE)),
    _row("a head that trickles, in time", WELL, _trickling(SOON / 8), "none", more=2),
    _row("a head that trickles, too late", ON, _trickling(LATE / 6)),
    _row("413 before a large upload is read", "413 too_big, 1 ask", _early(413, "too_big"), "none", **UPLOAD),
    _row("429 before a large upload is read", ON, _early(429, "slow"), "cools", **UPLOAD),
    _row("500 before a large upload is read", ON, _early(500, "e"), **UPLOAD),
    _row("500 before a large upload is read, then closed", ON, _early(500, "e", then="fin"), **UPLOAD),
    _row("reset before a large upload is read", ON, Fault(early=lambda turn: ends(turn.wire, "rst")), **UPLOAD),
)
