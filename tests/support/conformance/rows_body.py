"""Answers with status 200 whose body is none, or is not what its framing promised (B17, B28)."""

import gzip
import json
from collections.abc import Sequence
from typing import Any

from conformance.faults import HTML, declared, sends, unframed, with_body
from conformance.rows import Row
from conformance.seen import BROKEN, ON, WELL
from conformance.turns import JSON, SSE, Fault, Turn

GROUP = "Bodies that are none"
ERROR = json.dumps({"error": {"message": "words", "type": "server_error", "code": "server_error"}}).encode()
PAGE = b"<html><body>Welcome to the hotel's network</body></html>"


def _chunks(turn: Turn, spoil: bytes, *, after: int = 0) -> list[bytes]:
    """A chunked 200 that goes wrong after so many pieces."""
    kind = SSE if turn.stream else JSON
    head = f"HTTP/1.1 200 OK\r\n{kind[0]}: {kind[1]}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    parts = turn.parts[:after]
    return [head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), spoil]


def _halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


def _too_short(turn: Turn) -> list[bytes]:
    """Half the length is declared."""
    return _halves(declared(turn, -len(b"".join(turn.parts)) // 2))


def _gzipped(turn: Turn) -> list[bytes]:
    return [gzip.compress(b"".join(turn.parts))]


def _sse(turn: Turn) -> list[bytes]:
    return turn.speech.events


def _whole(turn: Turn) -> list[bytes]:
    return [turn.speech.whole]


def _row(name: str, whole: str | None, stream: str | None, fault: Fault, **more: Any) -> Row:
    return Row(name, GROUP, whole, stream, fault, **more)


def _well(name: str, fault: Fault, whole: str | None = WELL, stream: str | None = WELL, **more: Any) -> Row:
    return Row(name, GROUP, whole, stream, fault, blame="none", **more)


ROWS: Sequence[Row] = (
    _row("200 with no bytes", ON, ON, with_body(b"")),
    _row("200 with no bytes, chunked", ON, ON, sends(lambda turn: [])),
    _row("200 with white space", ON, ON, with_body(b" \r\n\r\n ")),
    _row("200 with {}", ON, ON, with_body(b"{}")),
    _row("200 with null", ON, ON, with_body(b"null")),
    _row("200 with no choices", ON, None, with_body(b'{"choices": []}'), operations=("chat", "completions")),
    _row("200 with an error in JSON", ON, ON, with_body(ERROR, JSON)),
    _row("200 with a page of HTML", ON, ON, with_body(PAGE, HTML)),
    _row("200 with HTML that says it is what was asked for", ON, ON, with_body(PAGE)),
    _row("gzip although identity was asked for", ON, ON, sends(_gzipped, ("content-encoding", "gzip"))),
    _row("gzip that is not declared", ON, ON, sends(_gzipped)),
    _row("a stream where none was asked for", ON, None, sends(_sse, SSE)),
    _row("JSON where a stream was asked for", None, ON, sends(_whole, JSON)),
    _row("more bytes declared than come, then FIN", ON, None, unframed(lambda turn: declared(turn, 10), "fin")),
    _well("more bytes declared than come, then FIN", unframed(lambda turn: declared(turn, 10), "fin"), whole=None),
    _row("more bytes declared than come, then nothing", ON, None, unframed(lambda turn: declared(turn, 10))),
    _well("more bytes declared than come, then nothing", unframed(lambda turn: declared(turn, 10)), whole=None),
    _row("fewer bytes declared than come", ON, BROKEN, unframed(_too_short)),
    _row("a chunk whose size is none", ON, ON, unframed(lambda turn: _chunks(turn, b"zz\r\n"))),
    _row("a chunk whose size is negative", ON, ON, unframed(lambda turn: _chunks(turn, b"-5\r\nhello\r\n"))),
    _row("a chunk that does not end where it says", ON, ON, unframed(lambda turn: _chunks(turn, b"3\r\nhello\r\n"))),
    _row(
        "a chunk whose size is none, in the middle",
        None,
        BROKEN,
        unframed(lambda turn: _chunks(turn, b"zz\r\n", after=4)),
    ),
    _row(
        "a chunk cut by FIN, in the middle",
        None,
        BROKEN,
        unframed(lambda turn: _chunks(turn, b"ff\r\nda", after=4), "fin"),
    ),
)
