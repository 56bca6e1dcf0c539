"""Answers that are slow, in time and too late, or oddly written, and well (B16, B29, B40)."""

from collections.abc import Sequence
from typing import Any

from conformance.faults import LATE, SOON, sends, unframed
from conformance.house import House
from conformance.rows import Row, WrongError, ask, until
from conformance.seen import ON, WELL, Seen
from conformance.speech import Way
from conformance.turns import JSON, SSE, Fault, Turn

GROUP = "Slow, odd and well"


def _pings(turn: Turn) -> Any:
    for _ in range(14):
        yield b": ping\n\n"
        yield LATE / 10
    yield from turn.speech.events


def _rhythm(pause: float) -> Any:
    def make(turn: Turn) -> Any:
        for part in turn.speech.events if turn.stream else [turn.speech.whole[:40], turn.speech.whole[40:]]:
            yield part
            yield pause / (4 if turn.stream else 1)

    return make


def _dribbling(turn: Turn) -> Any:
    data = b"".join(turn.parts)
    yield from (data[at : at + 5] for at in range(0, len(data), 5))


def _crlf(turn: Turn) -> Any:
    yield from (part.replace(b"\n", b"\r\n") for part in turn.parts)


def _untidy(turn: Turn) -> Any:
    """A mark at the beginning, comments, fields that mean nothing here, an event over two lines."""
    yield b"\xef\xbb\xbf: hello\n\nretry: 10\n\nid: 7\n"
    for part in turn.speech.events:
        yield part.replace(b"data: {", b"data:{\ndata: ", 1) if part.startswith(b"data: {") else part
        yield b": comment\n\n"


async def _untyped(turn: Turn) -> None:
    turn.head(200)
    for part in turn.parts:
        await turn.part(part)
    turn.end()


def _old(turn: Turn) -> list[bytes]:
    """Neither a length nor chunks: the end is where the connection ends."""
    kind = SSE if turn.stream else JSON
    return [f"HTTP/1.0 200 OK\r\n{kind[0]}: {kind[1]}\r\n\r\n".encode(), *turn.parts]


def _behind(turn: Turn) -> list[bytes]:
    """A chunked answer, and a moment later more bytes that belong to nothing."""
    kind = SSE if turn.stream else JSON
    head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    answer = head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in turn.parts) + b"0\r\n\r\n"
    return [answer, b"more"]


async def _rests(house: House, way: Way, row: Row) -> Seen:
    """What comes while a connection idles ends it: the next request has another one."""
    await house.turn("primary", row.primary)
    _, _, seen = await ask(house, way, row)
    await until(lambda: not house.primary.wires, "the connection ends")
    house.primary.fault = None
    _, _, after = await ask(house, way, row)
    if after.words != WELL or after.wrong or house.backup.asks:
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


def _row(name: str, whole: str | None, stream: str | None, fault: Fault, **more: Any) -> Row:
    return Row(name, GROUP, whole, stream, fault, **more)


def _well(name: str, fault: Fault, whole: str | None = WELL, stream: str | None = WELL, **more: Any) -> Row:
    return Row(name, GROUP, whole, stream, fault, blame="none", **more)


ROWS: Sequence[Row] = (
    _well(
        "the first token just in time",
        sends(lambda turn: [b": wait\n\n" if turn.stream else b" ", SOON, *turn.parts]),
        more=2,
    ),
    _row("the first token too late, silently", None, ON, sends(lambda turn: [b"", LATE, *turn.parts])),
    _row("the first token too late, with pings", None, ON, sends(_pings)),
    _well("the next token just in time", sends(_rhythm(SOON)), more=2),
    _well("five bytes at a time", sends(_dribbling)),
    _well("lines that end with CRLF", sends(_crlf)),
    _well("marks, comments, ids, events over two lines", sends(_untidy), whole=None),
    _well("ended by close, whole", sends(lambda turn: turn.parts, framing="close")),
    _well("speaks HTTP/1.0", unframed(_old, "fin"), more=2),
    _well("no content-type", Fault(_untyped)),
    _row(
        "a stream that says it is text/plain", None, ON, sends(lambda turn: turn.parts, ("content-type", "text/plain"))
    ),
    _well("bytes behind the last chunk, when nobody has asked again", unframed(_behind, "end"), play=_rests),
    _row("bytes behind the last chunk, in one piece with it", ON, ON, unframed(lambda turn: b"".join(_behind(turn)))),
    _well("text/plain", sends(lambda turn: turn.parts, ("content-type", "text/plain")), stream=None),
)
