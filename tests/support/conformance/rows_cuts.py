"""Answers that are cut or that stall, in every phase of an answer (B25, B27, B34)."""

from collections.abc import Sequence

from conformance.faults import breaks
from conformance.rows import Row
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


ROWS: Sequence[Row] = (*_breaking(),)
