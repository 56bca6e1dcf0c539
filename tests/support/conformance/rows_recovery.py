"""Streams that break in the middle and go on at another target, or do not (B26)."""

from collections.abc import Sequence
from typing import Any

from conformance.faults import ERRS, answers, breaks, said
from conformance.rows import Row, once
from conformance.seen import BROKEN, STALLED, WELL
from conformance.turns import Fault

GROUP = "Recovery"


def _row(name: str, ways: tuple[str, ...], seen: str, primary: Fault, backup: Fault | None = None, **more: Any) -> Row:
    """The Responses API is not recovered; it has rows of its own."""
    more = {"alike": True, "operations": ("chat", "completions"), **more}
    return Row(name, GROUP, None, seen, primary, backup, pool={"recovery": ways}, play=once, **more)


CUT, RESET, STALL = breaks("middle", "fin"), breaks("middle", "rst"), breaks("middle", "stall")
REPLAY, CONTINUE, BOTH = ("Replay",), ("Continue",), ("Continue", "Replay")

ROWS: Sequence[Row] = (
    _row("cut by FIN, Continue", CONTINUE, WELL, CUT, prefill=True),
    _row("cut by RST, Continue", CONTINUE, WELL, RESET, prefill=True),
    _row("cut inside an event, Continue", CONTINUE, WELL, breaks("inside an event", "fin"), prefill=True),
    _row("stalled, Continue", CONTINUE, WELL, STALL, prefill=True),
    _row("an error event, Continue", CONTINUE, WELL, ERRS, prefill=True),
    _row("cut by FIN, Replay", REPLAY, WELL, CUT),
    _row("cut inside an event, Replay", REPLAY, WELL, breaks("inside an event", "fin")),
    _row("stalled, Replay", REPLAY, WELL, STALL),
    _row("an error event, Replay", REPLAY, WELL, ERRS),
    _row("Continue, and no target takes a prefill", CONTINUE, BROKEN, CUT),
    _row("Continue before Replay, and no target takes a prefill", BOTH, WELL, CUT),
    _row("Replay, and the other target says something else", REPLAY, BROKEN, CUT, alike=False),
    _row("Replay, and the other target answers 500", REPLAY, BROKEN, CUT, answers(500, said("e"))),
    _row("Replay, and the other target is cut at the same place", REPLAY, BROKEN, CUT, CUT),
    _row("Replay, and the other target stalls, too", REPLAY, STALLED, STALL, STALL),
    _row(
        "Continue, and the other target is cut, too", CONTINUE, BROKEN, CUT, breaks("first token", "fin"), prefill=True
    ),
    _row("cut by FIN, of the Responses API", BOTH, BROKEN, CUT, operations=("responses",), prefill=True),
)
