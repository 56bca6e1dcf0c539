"""Places at pools, targets and providers, and the queue for them, while faults hold them (B8 to B12, B31, B39)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from builders import a_target
from conformance.client import Client
from conformance.faults import FIRST, answers, breaks, later, said, silence
from conformance.house import House
from conformance.rows import Row, WrongError, ask, until
from conformance.rows_leaving import NOTICED_SECONDS
from conformance.seen import BROKEN, ON, STALLED, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import JSON, Fault, Turn

GROUP = "Places and the queue"
TURN = "its turn comes, with a whole answer"
EACH = "an answer to each, and no hammering"
FULL = "429 concurrency_exceeded, 0 asks"
BEARS, AT_ONCE, ROUNDS = 3, 10, 6
"""How many requests the provider bears; how many come, and how often."""

Play = Callable[[House, Way, Row], Awaitable[Seen]]


def _queue(timeout: int = 4_000, size: int = 4, **more: Any) -> Mapping[str, Any]:
    return {"limits": {"concurrency": {"max": 1, "queue": {"max": size, "timeout": timeout}}}, **more}


async def _holds(house: House, way: Way, row: Row) -> tuple[Client, str]:
    """A request that has the only place, and meets the fault."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    client, ident = house.client(), house.ident()
    await client.post(way.path, way.body(ident))
    await until(lambda: house.primary.asked(ident), "the first is at work")
    await house.turn("primary", None)
    return client, ident


async def _gives_up(house: House, way: Way, row: Row) -> Seen:
    """It waits while the holder of the place stalls, and longer than it may; afterwards the place is free again."""
    holder, first = await _holds(house, way, row)
    ident = house.ident()
    began = asyncio.get_running_loop().time()
    got = await house.client().ask(way.path, way.body(ident))
    took = asyncio.get_running_loop().time() - began
    seen = judge(way, ident, got)
    if house.primary.asked(ident) or took < 0.25:
        raise WrongError(f"{seen.words} after {took:.2f} s, asked {house.primary.asked(ident)}")
    held = judge(way, first, await holder.answer())
    if held.wrong:
        raise WrongError(f"the holder: {held.words} {held.wrong}")
    _, _, after = await ask(house, way, row)
    if after.who is None or after.wrong:
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


async def _is_too_many(house: House, way: Way, row: Row) -> Seen:
    """One holds the place, one waits, the next one is told at once; who waits has its turn."""
    holder, first = await _holds(house, way, row)
    second, third = house.ident(), house.ident()
    waits = house.client()
    await waits.post(way.path, way.body(second))
    await until(lambda: house.sidecar.waiting == 1, "the second waits")
    seen = judge(way, third, await house.client().ask(way.path, way.body(third)))
    if house.primary.asked(third):
        raise WrongError("the provider was asked")
    for client, ident in ((holder, first), (waits, second)):
        other = judge(way, ident, await client.answer())
        if other.wrong or (ident == second and other.who is None):
            raise WrongError(f"another one: {other.words} {other.wrong}")
    return seen


def _turn(held: str | None, stream: str | None = None) -> Play:
    """The holder's request ends by its fault (None: its client leaves); who waited goes next."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        holder, first = await _holds(house, way, row)
        ident, client = house.ident(), house.client()
        await client.post(way.path, way.body(ident))
        await until(lambda: house.sidecar.waiting == 1, "the second waits")
        if held is None:
            holder.close()
            await until(lambda: house.sidecar.waiting == 0, "its turn comes", NOTICED_SECONDS)
        else:
            other = judge(way, first, await holder.answer())
            if other.wrong or other.words != (stream if way.stream and stream else held):
                raise WrongError(f"the holder: {other.words} {other.wrong}")
        seen = judge(way, ident, await client.answer())
        return Seen(TURN) if seen.words == WELL and not seen.wrong else seen

    return play


async def _is_past(house: House, way: Way, row: Row) -> Seen:
    """A target without a place is passed by, and that is no attempt (B17); then it has one again."""
    holder, first = await _holds(house, way, row)
    _, _, seen = await ask(house, way, row)
    other = judge(way, first, await holder.answer())
    if other.wrong:
        raise WrongError(f"the holder: {other.words} {other.wrong}")
    return seen


async def _nobody_has_a_place(house: House, way: Way, row: Row) -> Seen:
    """Each target is at its cap: refused at once, and nothing is taken by that."""
    holder, first = await _holds(house, way, row)
    await house.turn("backup", row.primary)
    more, second = house.client(), house.ident()
    await more.post(way.path, way.body(second))
    await until(lambda: house.backup.asked(second), "the second is at work")
    await house.turn("backup", None)
    _, _, seen = await ask(house, way, row)
    for client, ident in ((holder, first), (more, second)):
        other = judge(way, ident, await client.answer())
        if other.wrong:
            raise WrongError(f"another one: {other.words} {other.wrong}")
    return seen


async def _many(house: House, way: Way, row: Row) -> Seen:
    """More at once than the provider bears, again and again: what it refuses becomes less than what it takes."""
    await house.turn("primary", row.primary)

    wrong: list[str] = []

    async def one() -> None:
        for _ in range(ROUNDS):
            _, _, seen = await ask(house, way, row)
            if seen.who is None or seen.wrong:
                wrong.append(f"{seen.words} {seen.wrong}")

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    beyond = sum(each.beside > BEARS for each in house.primary.asks)
    if wrong or beyond > len(house.primary.asks) / 2:
        raise WrongError(f"{beyond} of {len(house.primary.asks)} asks were beyond what it bears, {wrong}")
    return Seen(EACH)


def _bears(status: int) -> Fault:
    """Well, and a little slow; that status where it has too much to do."""

    async def play(turn: Turn) -> None:
        if turn.ask.beside > BEARS:
            await turn.whole(status, b"{}", JSON)
        else:
            await asyncio.sleep(0.04)
            await turn.well()

    return Fault(play)


def _targets(*caps: Mapping[str, Any]) -> Mapping[str, Any]:
    """The two targets, each with a cap, where there is one for it."""
    made = [a_target("primary"), a_target("backup", priority=1)]
    return {
        "targets": [{**target, "limits": {"concurrency": cap}} for target, cap in zip(made, caps, strict=False)]
        + made[len(caps) :]
    }


def _row(name: str, seen: str, fault: Fault, **more: Any) -> Row:
    more = {"whole": seen, "stream": seen, **more}
    return Row(name, GROUP, primary=fault, **more)


ONE, ADAPTIVE = {"max": 1}, {"max": 16, "mode": "Adaptive"}
STALL, CUT = breaks("middle", "stall"), breaks("middle", "fin")
ADAPTS = {**_targets(ADAPTIVE), "limits": {}}
TIRELESS = {"failures": 1_000, "min_requests": 1_000}
SLOWLY = later(0.3, CUT)

ROWS: Sequence[Row] = (
    _row(
        "waits longer than it may, while the holder stalls",
        "429 queue_timeout, 0 asks",
        STALL,
        play=_gives_up,
        pool=_queue(300),
    ),
    _row(
        "waits longer than it may, while the holder hears nothing",
        "429 queue_timeout, 0 asks",
        silence(),
        play=_gives_up,
        pool=_queue(300),
    ),
    _row(
        "the deadline ends in the queue",
        "429 queue_timeout, 0 asks",
        STALL,
        play=_gives_up,
        pool=_queue(total=600),
        whole=None,
        timeouts={"idle": 1_500},
    ),
    _row("the queue is full, while the holder stalls", FULL, STALL, play=_is_too_many, pool=_queue(size=1)),
    _row("the queue is full, while the holder's answer is cut", FULL, SLOWLY, play=_is_too_many, pool=_queue(size=1)),
    _row("the holder's answer is cut", TURN, SLOWLY, play=_turn(ON, BROKEN), pool=_queue()),
    _row("the holder's answer stalls", TURN, STALL, play=_turn(ON, STALLED), pool=_queue()),
    _row("the holder gets 500", TURN, later(0.3, FIRST), play=_turn(ON), pool=_queue()),
    _row("the holder leaves", TURN, STALL, play=_turn(None), pool=_queue()),
    _row("the target has no place, its holder stalls", "backup, 1 ask", STALL, play=_is_past, pool=_targets(ONE)),
    _row(
        "no target has a place, the holders stall",
        "429 all_limited, 0 asks",
        STALL,
        play=_nobody_has_a_place,
        pool=_targets(ONE, ONE),
    ),
    _row("500 from a target whose places adapt", ON, FIRST, pool=ADAPTS),
    _row("429 from a target whose places adapt", ON, answers(429, said(None)), blame="cools", pool=ADAPTS),
    _row("silence from a target whose places adapt", ON, silence(), pool=ADAPTS),
    _row("cut in the middle at a target whose places adapt", ON, CUT, stream=BROKEN, pool=ADAPTS),
    _row("the target bears three at once, ten come: 503", EACH, _bears(503), play=_many, pool=ADAPTS, health=TIRELESS),
    _row("the target bears three at once, ten come: 529", EACH, _bears(529), play=_many, pool=ADAPTS, health=TIRELESS),
)
