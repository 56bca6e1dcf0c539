"""Events of a stream that tell of an error, have no end, are missing or too many (B17, B25, B27, B29, B34)."""

from collections.abc import Sequence
from typing import Any

from conformance.faults import declared, sends, unframed
from conformance.rows import Row
from conformance.seen import BROKEN, ON, WELL
from conformance.speech import DONE, Speech
from conformance.turns import Fault, Turn

GROUP = "Events"
MEBIBYTE = 1024 * 1024


def _endless(said: Speech) -> bytes:
    """An event that is larger than any may be, without an end. One of a response may bring a picture."""
    return b"data: " + b"x" * ((16 if said.operation == "responses" else 1) * MEBIBYTE + 100)


def _surplus(turn: Turn) -> bytes:
    """A whole answer, and another one that nobody asked for."""
    return (
        declared(turn, 0)
        + b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"poison": 1}'
    )


def _events(make: Any, how: str = "end") -> Fault:
    """A stream of the events that `make(speech)` gives."""
    return sends(lambda turn: make(turn.speech), how=how)


def _row(name: str, stream: str, fault: Fault, **more: Any) -> Row:
    return Row(name, GROUP, None, stream, fault, **more)


def _well(name: str, fault: Fault, whole: str | None = None, **more: Any) -> Row:
    return Row(name, GROUP, whole, WELL, fault, blame="none", **more)


ROWS: Sequence[Row] = (
    _row("an error as the first event", ON, _events(lambda said: [said.error_event()])),
    _row(
        "an error before the first token",
        ON,
        _events(lambda said: [*said.until("preamble"), said.error_event()]),
    ),
    *(
        _row(f"{what} as the first event", ON, _events(lambda said, code=code: [said.error_event(code)]), blame=blame)
        for what, code, blame in (
            ("a rate limit", "rate_limit_exceeded", "counts"),
            ("a used up quota", "insufficient_quota", "counts"),
            ("a context that is too long", "context_length_exceeded", "counts"),
        )
    ),
    _row(
        "an error in the middle",
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event()]),
    ),
    _row(
        "an error in the middle, and then [DONE]",
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event(), DONE]),
    ),
    _row(
        "an error in the middle, and then more text",
        "error event server_error, 1 ask",
        _events(lambda said: [*said.until("middle"), said.error_event(), *said.deltas[4:], *said.ending]),
    ),
    _row("an event without end, first", ON, _events(lambda said: [_endless(said)], "stall"), more=3),
    _row(
        "an event without end, in the middle",
        BROKEN,
        _events(lambda said: [*said.until("middle"), _endless(said)], "stall"),
        more=3,
    ),
    _well(
        "the end is missing, the connection stays",
        _events(lambda said: said.until("finish"), "stall"),
        operations=("chat", "completions"),
        more=1,
    ),
    _well(
        "the finish is missing, the end is there",
        _events(lambda said: [*said.preamble, *said.deltas, *said.ending]),
    ),
    _row("neither the finish nor the end", BROKEN, _events(lambda said: [*said.preamble, *said.deltas])),
    _well("more events after the end", _events(lambda said: [*said.events, *said.deltas, DONE])),
    _well("the connection stays open after the end", _events(lambda said: said.events, "stall")),
    _well(
        "no line end after the last event",
        sends(lambda turn: [b"".join(turn.speech.events).rstrip()]),
    ),
    _well("an answer that nobody asked for behind the first one", unframed(_surplus), whole=WELL),
)
