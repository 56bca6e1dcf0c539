"""Answers that are cut or that stall, in every phase of an answer (B25, B27, B34)."""

from collections.abc import Sequence
from typing import Any

from conformance.faults import breaks
from conformance.rows import MORE, Row
from conformance.seen import BROKEN, ON, STALLED, WELL

CUT = "Cut and stalled"
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


def _breaking() -> Sequence[Row]:
    rows = []
    for how, cut in HOW.items():
        broken = STALLED if how == "stall" else BROKEN
        for phase, where in WHERE.items():
            name, fault = f"{cut} {where}", breaks(phase, how)
            if phase == "finish":
                rest: Any = {"blame": "none", "more": 2 if how == "stall" else MORE}
                rows.append(Row(name, CUT, None, WELL, fault, operations=("chat", "completions"), **rest))
                rows.append(Row(name, CUT, None, broken, fault, operations=("responses",)))
            else:
                whole = ON if phase in ("head", "middle") else None
                rows.append(Row(name, CUT, whole, ON if phase in ("head", "preamble") else broken, fault))
    return rows


ROWS: Sequence[Row] = (*_breaking(),)
