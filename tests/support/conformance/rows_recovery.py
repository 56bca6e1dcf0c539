"""Streams that break in the middle and go on at another target, or do not (B26)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from conformance.house import House
from conformance.provider import SSE, Fault, Turn
from conformance.rows import Row, WrongError, ask
from conformance.rows_body import BROKEN, STALLED, breaks
from conformance.rows_status import answers, said
from conformance.seen import Seen
from conformance.speech import Way

GROUP = "Recovery"
WHOLE = "primary, 1 ask"


async def _once(house: House, way: Way, row: Row) -> Seen:
    """One request; then the provider is well, and asked again."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    _, _, seen = await ask(house, way, row)
    asked = [len(provider.asks) for provider in house.providers.values()]
    if max(asked) > 1:
        raise WrongError(f"{seen.words}, and asked {asked}")
    await house.turn("primary", None)
    await house.turn("backup", None)
    await asyncio.sleep(0)
    _, _, after = await ask(house, way, row)
    if after.who != "primary":
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


async def _errs(turn: Turn) -> None:
    turn.head(200, (SSE,))
    for event in [*turn.speech.until("middle"), turn.speech.error_event()]:
        await turn.part(event)
    turn.end()


def _row(name: str, ways: tuple[str, ...], seen: str, primary: Fault, backup: Fault | None = None, **more: Any) -> Row:
    """The Responses API is not recovered; it has rows of its own."""
    more = {"alike": True, "operations": ("chat", "completions"), **more}
    return Row(f"{name}", GROUP, None, seen, primary, backup, pool={"recovery": ways}, play=_once, **more)


CUT, RESET, STALL = breaks("middle", "fin"), breaks("middle", "rst"), breaks("middle", "stall")
REPLAY, CONTINUE, BOTH = ("Replay",), ("Continue",), ("Continue", "Replay")

ROWS: Sequence[Row] = (
    _row("cut by FIN, Continue", CONTINUE, WHOLE, CUT, prefill=True),
    _row("cut by RST, Continue", CONTINUE, WHOLE, RESET, prefill=True),
    _row("cut inside an event, Continue", CONTINUE, WHOLE, breaks("inside an event", "fin"), prefill=True),
    _row("stalled, Continue", CONTINUE, WHOLE, STALL, prefill=True),
    _row("an error event, Continue", CONTINUE, WHOLE, Fault(_errs), prefill=True),
    _row("cut by FIN, Replay", REPLAY, WHOLE, CUT),
    _row("cut inside an event, Replay", REPLAY, WHOLE, breaks("inside an event", "fin")),
    _row("stalled, Replay", REPLAY, WHOLE, STALL),
    _row("an error event, Replay", REPLAY, WHOLE, Fault(_errs)),
    _row("Continue, and no target takes a prefill", CONTINUE, BROKEN, CUT),
    _row("Continue before Replay, and no target takes a prefill", BOTH, WHOLE, CUT),
    _row("Replay, and the other target says something else", REPLAY, BROKEN, CUT, alike=False),
    _row("Replay, and the other target answers 500", REPLAY, BROKEN, CUT, answers(500, said("e"))),
    _row("Replay, and the other target is cut at the same place", REPLAY, BROKEN, CUT, CUT),
    _row("Replay, and the other target stalls, too", REPLAY, STALLED, STALL, STALL),
    _row(
        "Continue, and the other target is cut, too", CONTINUE, BROKEN, CUT, breaks("first token", "fin"), prefill=True
    ),
    _row("cut by FIN, of the Responses API", BOTH, BROKEN, CUT, operations=("responses",), prefill=True),
)
