"""Faults after the head of a 200: cuts, stalls, bodies and events that are none (B17, B25, B27 to B29, B34)."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

from conformance.provider import JSON, SSE, Fault, Framing, Turn
from conformance.rows import Row
from conformance.rows_connect import LATE, SOON
from conformance.rows_status import HTML, ON
from conformance.speech import DONE

WELL = "primary, 1 ask"
BROKEN = "error event upstream_error, 1 ask"
STALLED = "error event upstream_timeout, 1 ask"
CUT = "Cut and stalled"
BODIES = "Bodies that are none"
EVENTS = "Events"
SLOW = "Slow, odd and well"
HOW = {
    "fin": "cut by FIN",
    "rst": "cut by RST",
    "stall": "stalled",
    "end": "ended, by its framing",
    "close": "ended by close, without a length",
}
WHERE = {
    "head": "after the head",
    "preamble": "before the first token",
    "first token": "after the first token",
    "middle": "in the middle",
    "inside an event": "inside an event",
    "finish": "after the finish, before the end",
}


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
        await _stop(turn, how)

    return Fault(play)


async def _stop(turn: Turn, how: str) -> None:
    if how in ("fin", "close"):
        turn.wire.fin()
    elif how == "rst":
        await asyncio.sleep(0.02)  # a reset overtakes what is still on its way
        turn.wire.rst()
    elif how == "end":
        turn.end()
    else:
        await turn.stall()


def _breaking() -> Sequence[Row]:
    rows = []
    for how, cut in HOW.items():
        for phase, where in WHERE.items():
            late = phase not in ("head", "preamble")
            stream = (STALLED if how == "stall" else BROKEN) if late else ON
            blame, by = "counts", {}
            if phase == "finish":
                stream, blame = WELL, "none"
                by = {"responses": (None, STALLED if how == "stall" else BROKEN)}
            whole = ON if phase in ("head", "middle") else None
            name = f"{cut} {where}"
            operations = ("chat", "completions") if by else ("chat", "responses", "completions")
            rows.append(Row(name, CUT, whole, stream, breaks(phase, how), blame=blame, operations=operations))
            if by:
                row = Row(name, CUT, None, by["responses"][1], breaks(phase, how), operations=("responses",))
                rows.append(row)
    return rows


def sends(make: Any, *headers: tuple[str, str], framing: Framing = "chunked", how: str = "end") -> Fault:
    """A 200 with these parts: `make(turn)`."""

    async def play(turn: Turn) -> None:
        kinds = () if any(name == "content-type" for name, _ in headers) else (SSE if turn.stream else JSON,)
        turn.head(200, (*kinds, *headers), framing)
        for part in make(turn):
            if isinstance(part, float):
                await asyncio.sleep(part)
            else:
                await turn.part(part)
        await _stop(turn, how)

    return Fault(play)


def body(data: bytes, *headers: tuple[str, str]) -> Fault:
    """A 200 with that body and its length, streamed or not."""

    async def play(turn: Turn) -> None:
        kinds = () if any(name == "content-type" for name, _ in headers) else (SSE if turn.stream else JSON,)
        await turn.whole(200, data, *kinds, *headers)

    return Fault(play)


def _parts(turn: Turn) -> list[bytes]:
    return turn.speech.events if turn.stream else [turn.speech.whole]


def _raw(make: Any, how: str = "stall") -> Fault:
    """A 200 whose framing is in the bytes themselves: `make(turn)`."""

    async def play(turn: Turn) -> None:
        made = make(turn)
        for piece in made if isinstance(made, list) else [made]:
            turn.wire.send(piece)
            await asyncio.sleep(0.05)  # what comes with a fault in one piece may be lost with it
        await _stop(turn, how)

    return Fault(play)


def _chunks(turn: Turn, spoil: bytes, *, after: int = 0) -> list[bytes]:
    """A chunked 200 that goes wrong after so many pieces."""
    kind = SSE if turn.stream else JSON
    head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    parts = _parts(turn)[:after]
    return [head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), spoil]


def _length(turn: Turn, more: int) -> bytes:
    kind = SSE if turn.stream else JSON
    said = b"".join(_parts(turn))
    head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ncontent-length: {len(said) + more}\r\n\r\n".encode()
    return head + said


def _halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


def _too_short(turn: Turn) -> list[bytes]:
    """Half the length is declared."""
    return _halves(_length(turn, -len(b"".join(_parts(turn))) // 2))


def _surplus(turn: Turn) -> bytes:
    """A whole answer, and another one that nobody asked for."""
    return (
        _length(turn, 0)
        + b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"poison": 1}'
    )


def _events(make: Any, how: str = "end") -> Fault:
    """A stream of the events that `make(speech)` gives."""
    return sends(lambda turn: make(turn.speech), how=how)


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
    data = b"".join(_parts(turn))
    yield from (data[at : at + 5] for at in range(0, len(data), 5))


def _crlf(turn: Turn) -> Any:
    yield from (part.replace(b"\n", b"\r\n") for part in _parts(turn))


def _untidy(turn: Turn) -> Any:
    """A mark at the beginning, comments, fields that mean nothing here, an event over two lines."""
    yield b"\xef\xbb\xbf: hello\n\nretry: 10\n\nid: 7\n"
    for part in turn.speech.events:
        yield part.replace(b"data: {", b"data:{\ndata: ", 1) if part.startswith(b"data: {") else part
        yield b": comment\n\n"


def _gzipped(turn: Turn) -> list[bytes]:
    return [gzip.compress(b"".join(_parts(turn)))]


def _sse(turn: Turn) -> list[bytes]:
    return turn.speech.events


def _whole(turn: Turn) -> list[bytes]:
    return [turn.speech.whole]


ERROR = json.dumps({"error": {"message": "words", "type": "server_error", "code": "server_error"}}).encode()
PAGE = b"<html><body>Welcome to the hotel's network</body></html>"
BIG = 1024 * 1024 + 100


def _row(
    name: str, group: str, whole: str | None, stream: str | None, fault: Fault, blame: Any = "counts", **more: Any
) -> Row:
    return Row(name, group, whole, stream, fault, blame=blame, **more)


def _well(name: str, fault: Fault, whole: str | None = WELL, stream: str | None = WELL, **more: Any) -> Row:
    return Row(name, more.pop("group", SLOW), whole, stream, fault, blame="none", **more)


ROWS: Sequence[Row] = (
    *_breaking(),
    _row("200 with no bytes", BODIES, ON, ON, body(b"")),
    _row("200 with no bytes, chunked", BODIES, ON, ON, sends(lambda turn: [])),
    _row("200 with white space", BODIES, ON, ON, body(b" \r\n\r\n ")),
    _row("200 with {}", BODIES, ON, ON, body(b"{}")),
    _row("200 with null", BODIES, ON, ON, body(b"null")),
    _row("200 with no choices", BODIES, ON, None, body(b'{"choices": []}'), operations=("chat", "completions")),
    _row("200 with an error in JSON", BODIES, ON, ON, body(ERROR, JSON)),
    _row("200 with a page of HTML", BODIES, ON, ON, body(PAGE, HTML)),
    _row("200 with HTML that says it is what was asked for", BODIES, ON, ON, body(PAGE)),
    _row("gzip although identity was asked for", BODIES, ON, ON, sends(_gzipped, ("content-encoding", "gzip"))),
    _row("gzip that is not declared", BODIES, ON, ON, sends(_gzipped)),
    _row("a stream where none was asked for", BODIES, ON, None, sends(_sse, SSE)),
    _row("JSON where a stream was asked for", BODIES, None, ON, sends(_whole, JSON)),
    _row("more bytes declared than come, then FIN", BODIES, ON, None, _raw(lambda turn: _length(turn, 10), "fin")),
    _well(
        "more bytes declared than come, then FIN", _raw(lambda turn: _length(turn, 10), "fin"), whole=None, group=BODIES
    ),
    _row("more bytes declared than come, then nothing", BODIES, ON, None, _raw(lambda turn: _length(turn, 10))),
    _well(
        "more bytes declared than come, then nothing", _raw(lambda turn: _length(turn, 10)), whole=None, group=BODIES
    ),
    _row("fewer bytes declared than come", BODIES, ON, BROKEN, _raw(_too_short)),
    _row("a chunk whose size is none", BODIES, ON, ON, _raw(lambda turn: _chunks(turn, b"zz\r\n"))),
    _row("a chunk whose size is negative", BODIES, ON, ON, _raw(lambda turn: _chunks(turn, b"-5\r\nhello\r\n"))),
    _row(
        "a chunk that does not end where it says", BODIES, ON, ON, _raw(lambda turn: _chunks(turn, b"3\r\nhello\r\n"))
    ),
    _row(
        "a chunk whose size is none, in the middle",
        BODIES,
        None,
        BROKEN,
        _raw(lambda turn: _chunks(turn, b"zz\r\n", after=4)),
    ),
    _row(
        "a chunk cut by FIN, in the middle",
        BODIES,
        None,
        BROKEN,
        _raw(lambda turn: _chunks(turn, b"ff\r\nda", after=4), "fin"),
    ),
    _row("an error as the first event", EVENTS, None, ON, _events(lambda said: [said.error_event()])),
    _row(
        "an error before the first token",
        EVENTS,
        None,
        ON,
        _events(lambda said: [*said.until("preamble"), said.error_event()]),
    ),
    _row(
        "an error in the middle",
        EVENTS,
        None,
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event()]),
    ),
    _row(
        "an error in the middle, and then [DONE]",
        EVENTS,
        None,
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event(), DONE]),
    ),
    _row(
        "an error in the middle, and then more text",
        EVENTS,
        None,
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event(), *said.deltas[4:], *said.ending]),
    ),
    _row(
        "an event without end, first", EVENTS, None, ON, _events(lambda said: [b"data: " + b"x" * BIG], "stall"), more=3
    ),
    _row(
        "an event without end, in the middle",
        EVENTS,
        None,
        BROKEN,
        _events(lambda said: [*said.until("middle"), b"data: " + b"x" * BIG], "stall"),
        more=3,
    ),
    _well(
        "the end is missing, the connection stays",
        _events(lambda said: said.until("finish"), "stall"),
        whole=None,
        group=EVENTS,
        operations=("chat", "completions"),
        more=1,
    ),
    _well(
        "the finish is missing, the end is there",
        _events(lambda said: [*said.preamble, *said.deltas, *said.ending]),
        whole=None,
        group=EVENTS,
    ),
    _well(
        "more events after the end", _events(lambda said: [*said.events, *said.deltas, DONE]), whole=None, group=EVENTS
    ),
    _well(
        "the connection stays open after the end", _events(lambda said: said.events, "stall"), whole=None, group=EVENTS
    ),
    _well(
        "no line end after the last event",
        sends(lambda turn: [b"".join(turn.speech.events).rstrip()]),
        whole=None,
        group=EVENTS,
    ),
    _well("an answer that nobody asked for behind the first one", _raw(_surplus), group=EVENTS),
    _well(
        "the first token just in time",
        sends(lambda turn: [b": wait\n\n" if turn.stream else b" ", SOON, *_parts(turn)]),
    ),
    _row("the first token too late, silently", SLOW, None, ON, sends(lambda turn: [b"", LATE, *_parts(turn)])),
    _row("the first token too late, with pings", SLOW, None, ON, sends(_pings)),
    _well("the next token just in time", sends(_rhythm(SOON))),
    _well("five bytes at a time", sends(_dribbling)),
    _well("lines that end with CRLF", sends(_crlf)),
    _well("marks, comments, ids, events over two lines", sends(_untidy), whole=None),
    _well("ended by close, whole", sends(_parts, framing="close")),
    _well("text/plain", sends(_parts, ("content-type", "text/plain")), stream=None),
)
