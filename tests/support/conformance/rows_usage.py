"""The usage of a stream: asked for by us, told to who asked, and not waited for too long (B27, B32)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conformance.faults import sends
from conformance.house import House, heard
from conformance.rows import Row, WrongError
from conformance.seen import Seen, judge
from conformance.speech import Way
from conformance.turns import Fault, Turn

GROUP = "Usage"
DONE_WITHIN_SECONDS = 3.0
ASKED = {"stream_options": {"include_usage": True}}


def _told(*, asks: bool, comes: bool) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    """`asks`: the client wants it. `comes`: it must have it in the end."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident, client = house.ident(), house.client()
        began = asyncio.get_running_loop().time()
        got = await client.ask(way.path, way.body(ident, **(ASKED if asks else {})))
        took = asyncio.get_running_loop().time() - began
        if took > DONE_WITHIN_SECONDS:
            raise WrongError(f"the end came after {took:.1f} s")
        if not house.primary.asks[0].usage:
            raise WrongError("the provider was not asked for the usage")
        if heard(way, got).usage != comes:
            raise WrongError("the usage is missing" if comes else "nobody asked for that usage")
        seen = judge(way, ident, got)
        if not seen.wrong and seen.who == "primary":
            return Seen("the answer, with its usage" if comes else "the answer, without")
        return seen

    return play


def _row(name: str, fault: Fault, *, asks: bool, comes: bool) -> Row:
    seen = "the answer, with its usage" if comes else "the answer, without"
    operations: Any = ("chat", "completions")
    return Row(name, GROUP, None, seen, fault, play=_told(asks=asks, comes=comes), operations=operations)


WELL = Fault(Turn.well)
NO_END = sends(lambda turn: turn.speech.events[:-1], how="stall")
NO_USAGE = sends(lambda turn: [*turn.speech.until("finish"), turn.speech.ending[-1]])
NEITHER = sends(lambda turn: turn.speech.until("finish"), how="stall")

ROWS: Sequence[Row] = (
    _row("the client asks for it", WELL, asks=True, comes=True),
    _row("the client does not ask, the sidecar does", WELL, asks=False, comes=False),
    _row("the client asks, and the end is missing", NO_END, asks=True, comes=True),
    _row("the sidecar asks, and the end is missing", NO_END, asks=False, comes=False),
    _row("the client asks, and it does not come", NO_USAGE, asks=True, comes=False),
    _row("the client asks, and neither it nor the end comes", NEITHER, asks=True, comes=False),
)
