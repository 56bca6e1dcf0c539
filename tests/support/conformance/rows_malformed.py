"""Events that cannot be read: left out of plain text, a fault elsewhere (B28)."""

import json
from collections.abc import Sequence
from typing import Any

from conformance.faults import sends
from conformance.rows import Row
from conformance.seen import BROKEN, ON, WELL
from conformance.speech import Speech
from conformance.turns import Fault

GROUP = "Events that cannot be read"
TORN, NUMBER, BYTES = b'data: {"id": "x", "cho\n\n', b"data: 42\n\n", b'data: {"id": "\xff\xfe"}\n\n'
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


def _between(event: bytes) -> Fault:
    return sends(lambda turn: [*turn.speech.until("middle"), event, *turn.speech.events[_count(turn.speech) :]])


def _count(speech: Speech) -> int:
    return len(speech.until("middle"))


def _instead(turn: Any) -> list[bytes]:
    """A delta in the middle is torn."""
    events = list(turn.speech.events)
    place = _count(turn.speech)
    events[place] = events[place][: len(events[place]) // 2] + b"\n\n"
    return events


def _first(event: bytes) -> Fault:
    return sends(lambda turn: [event, *turn.speech.events])


def _last(event: bytes) -> Fault:
    return sends(lambda turn: [*turn.speech.until("finish"), event, *turn.speech.ending])


def _tool(turn: Any) -> list[bytes]:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    event = f"data: {json.dumps({**chunk, 'choices': [choice]})}\n\n".encode()
    return [*turn.speech.preamble, event, TORN, *turn.speech.finish, *turn.speech.ending]


def _row(name: str, seen: str, fault: Fault, **more: Any) -> Row:
    blame: Any = "none" if seen == WELL else "counts"
    return Row(name, GROUP, None, seen, fault, blame=blame, **more)


ROWS: Sequence[Row] = (
    _row("half an object, in the middle", WELL, _between(TORN)),
    _row("a number, in the middle", WELL, _between(NUMBER)),
    _row("bytes that are no text, in the middle", WELL, _between(BYTES)),
    _row("a delta that is torn: it is lost, and nothing else", WELL, sends(_instead), partial=True),
    _row("half an object, first", ON, _first(TORN)),
    _row("half an object, twice in a row", BROKEN, _between(TORN + TORN)),
    _row("half an object, after the finish", WELL, _last(TORN)),
    _row("half an object, in a tool call", BROKEN, sends(_tool), operations=("chat",)),
    _row(
        "half an object, in an answer by a JSON schema",
        BROKEN,
        _between(TORN),
        operations=("chat",),
        body={"response_format": SCHEMA},
    ),
)
