"""The usage of a stream: asked for by us, told to who asked, and not waited for too long (B27, B32)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conformance.faults import answers, breaks, said, sends
from conformance.hearing import heard
from conformance.house import House
from conformance.rows import Row, WrongError, ask
from conformance.seen import BROKEN, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import JSON, Fault, Turn

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


async def _refused(house: House, way: Way, row: Row) -> Seen:
    """The first request is asked again without the option, the next ones never have it."""
    await house.turn("primary", row.primary)
    words = []
    for _ in range(2):
        _, _, seen = await ask(house, way, row)
        if seen.wrong:
            return seen
        words.append(seen.words)
    asked = [each.usage for each in house.primary.asks]
    if asked != [True, False, False] or house.backup.asks:
        raise WrongError(f"{words}, asked for the usage {asked}, the backup {len(house.backup.asks)} times")
    return seen


async def _not_asked_again(house: House, way: Way, row: Row) -> Seen:
    """The refusal is the client's: it is told, and nobody is asked in its place."""
    await house.turn("primary", row.primary)
    ident = house.ident()
    seen = judge(way, ident, await house.client().ask(way.path, way.body(ident, **row.body)))
    if len(house.primary.asks) != 1 or house.backup.asks:
        raise WrongError(f"{len(house.primary.asks)} asks, the backup {len(house.backup.asks)}")
    await house.turn("primary", None)
    _, _, after = await ask(house, way, row)
    if after.words != WELL or not house.primary.asks[-1].usage:
        raise WrongError(f"afterwards: {after.words}, asked for the usage: {house.primary.asks[-1].usage}")
    return seen


def _refuses(fault: Fault, otherwise: Fault | None = None) -> Fault:
    """That, where the option is there; else well, or another fault."""

    async def play(turn: Turn) -> None:
        chosen = fault if turn.ask.usage else otherwise
        await (turn.well() if chosen is None or chosen.play is None else chosen.play(turn))

    return Fault(play)


def _names_it(status: int = 400) -> Fault:
    message = "Unrecognized request argument supplied: stream_options"
    return answers(status, {**said("unknown_parameter"), "message": message})


async def _endless(turn: Turn) -> None:
    turn.head(400, (JSON, ("content-length", "10000")), "length")
    await turn.part(b'{"error": {"message": "Unrecognized request argument supplied: stream_options", ')
    await turn.stall()


def _option(name: str, seen: str, fault: Fault, play: Any = _refused, **more: Any) -> Row:
    return Row(name, GROUP, None, seen, fault, play=play, operations=("chat", "completions"), **more)


def _row(name: str, fault: Fault, *, asks: bool, comes: bool) -> Row:
    seen = "the answer, with its usage" if comes else "the answer, without"
    operations: Any = ("chat", "completions")
    return Row(name, GROUP, None, seen, fault, play=_told(asks=asks, comes=comes), operations=operations)


AS_EVER = Fault(Turn.well)
NO_END = sends(lambda turn: turn.speech.events[:-1], how="stall")
NO_USAGE = sends(lambda turn: [*turn.speech.until("finish"), turn.speech.ending[-1]])
NEITHER = sends(lambda turn: turn.speech.until("finish"), how="stall")

ROWS: Sequence[Row] = (
    _row("the client asks for it", AS_EVER, asks=True, comes=True),
    _row("the client does not ask, the sidecar does", AS_EVER, asks=False, comes=False),
    _row("the client asks, and the end is missing", NO_END, asks=True, comes=True),
    _row("the sidecar asks, and the end is missing", NO_END, asks=False, comes=False),
    _row("the client asks, and it does not come", NO_USAGE, asks=True, comes=False),
    _row("the client asks, and neither it nor the end comes", NEITHER, asks=True, comes=False),
    _option("the provider refuses the option", WELL, _refuses(_names_it())),
    _option("the provider refuses the option, with a 422", WELL, _refuses(_names_it(422))),
    _option("the provider refuses the option, and its words never end", WELL, _refuses(Fault(_endless))),
    _option(
        "the provider refuses the option, and cuts the stream", BROKEN, _refuses(_names_it(), breaks("middle", "fin"))
    ),
    _option("the provider refuses something else", "400 bad, 1 ask", answers(400, said("bad")), _not_asked_again),
    _option(
        "the provider refuses what the client asked for",
        "400 unknown_parameter, 1 ask",
        _names_it(),
        _not_asked_again,
        body=ASKED,
    ),
)
