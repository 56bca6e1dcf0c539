"""Faults behind a target that is a pool: what the inner one bears, where the outer one goes on (B7, B9, B23 to B26)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from builders import a_pool_target, a_target
from conformance.faults import (
    FIRST,
    REFUSED,
    SECOND,
    answers,
    breaks,
    delayed,
    said,
    silence,
)
from conformance.house import House
from conformance.rows import Row, WrongError, ask, once, until
from conformance.rows_leaving import LEFT, close, leaves
from conformance.seen import BROKEN, ON, STALLED, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import Fault

GROUP = "Pools in pools"
INNER = {"targets": [a_target("primary"), a_target("backup", priority=1)]}
OUTER: Mapping[str, Any] = {
    "targets": [a_target("spare", priority=1)],
    "pool_targets": (a_pool_target("inner"),),
    "fallback": {"max_attempts": 4},
}
AT_MOST_THREE = {"fallback": {"max_attempts": 3}}
SPARE = "spare, 3 asks"
ALONE = "spare, 1 ask"
THIRD = answers(529, said("third"))
LIMITED = answers(429, said("rate_limit_exceeded"), ("retry-after", "2"))


async def _three(house: House, way: Way, row: Row) -> Seen:
    """Nobody is well."""
    await house.turn("spare", THIRD)
    seen = await _one(house, way, row)
    await house.turn("spare", None)
    return seen


async def _one(house: House, way: Way, row: Row) -> Seen:
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    ident, _, seen = await ask(house, way, row)
    asked = {name: provider.asked(ident) for name, provider in house.providers.items()}
    if max(asked.values()) > 1:
        raise WrongError(f"{seen.words}, and asked {asked}")
    return seen


async def _then_the_next(house: House, way: Way, row: Row) -> Seen:
    """The inner pool is down and known to be: the outer one does not ask it again."""
    seen = await _one(house, way, row)
    if seen.words != SPARE or seen.wrong:
        return seen
    asked = len(house.primary.asks) + len(house.backup.asks)
    for _ in range(3):
        _, _, seen = await ask(house, way, row)
        if seen.words != ALONE or seen.wrong:
            raise WrongError(f"a later request: {seen.words} {seen.wrong}")
    if len(house.primary.asks) + len(house.backup.asks) != asked:
        raise WrongError("targets that have to rest were asked")
    return seen


async def _full(house: House, way: Way, row: Row) -> Seen:
    """The inner pool has no place: the next request goes past it, and the place is free again afterwards."""
    await house.turn("primary", row.primary)
    idents, clients = [house.ident(), house.ident()], [house.client(), house.client()]
    await clients[0].post(way.path, way.body(idents[0]))
    await until(lambda: house.primary.asked(idents[0]), "the first is at work")
    past = judge(way, idents[1], await clients[1].ask(way.path, way.body(idents[1])))
    first = judge(way, idents[0], await clients[0].answer())
    await house.turn("primary", None)
    _, _, after = await ask(house, way, row)
    if (first.words, after.words) != (WELL, WELL) or first.wrong or after.wrong:
        raise WrongError(f"the first: {first.words} {first.wrong}, afterwards: {after.words} {after.wrong}")
    return past


async def _leaves_and_asks(house: House, way: Way, row: Row) -> Seen:
    """Who left the inner pool's stream left no place of it taken."""
    seen = await leaves(close, received=True)(house, way, row)
    await house.turn("primary", None)
    await asyncio.sleep(0)
    _, _, after = await ask(house, way, row)
    if after.words != WELL or after.wrong:
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


def _row(name: str, seen: str, fault: Fault, backup: Fault | None = None, **more: Any) -> Row:
    more = {"whole": seen, "pool": OUTER, "pools": {"inner": INNER}, **more}
    return Row(name, GROUP, stream=seen, primary=fault, backup=backup, **more)


def _deep() -> Mapping[str, Mapping[str, Any]]:
    """Two pools between `chat` and the targets."""
    middle = {"targets": (), "pool_targets": (a_pool_target("inmost"),), "fallback": {"max_attempts": 4}}
    return {"inner": middle, "inmost": INNER}


ONE_PLACE = {"inner": {**INNER, "limits": {"concurrency": {"max": 1}}}}

ROWS: Sequence[Row] = (
    _row("500 in the inner pool", ON, FIRST),
    _row("refused in the inner pool", ON, REFUSED),
    _row("silence in the inner pool", ON, silence()),
    _row("429 in the inner pool", ON, answers(429, said(None)), blame="cools"),
    _row("401 in the inner pool", ON, answers(401, said("invalid_api_key")), blame="long"),
    _row("a client's error in the inner pool", "400 bad, 1 ask", answers(400, said("bad")), blame="none"),
    _row("500, two pools deep", ON, FIRST, pools=_deep()),
    _row("cut before the first token in the inner pool", ON, breaks("preamble", "fin"), whole=None),
    _row("cut in the middle in the inner pool", BROKEN, breaks("middle", "fin"), whole=ON),
    _row("stalled in the middle in the inner pool", STALLED, breaks("middle", "stall"), whole=ON, more=2),
    _row("all of the inner pool fails", SPARE, FIRST, SECOND, play=once),
    _row("all of the inner pool refuses connections", SPARE, REFUSED, REFUSED, play=once),
    _row("all of the inner pool is silent", SPARE, silence(), silence(), play=once),
    _row("all of the inner pool is limited, and rests", ALONE, LIMITED, LIMITED, play=_then_the_next),
    _row(
        "all of the inner pool, and the outer's next target",
        "529 third, 3 asks",
        FIRST,
        SECOND,
        play=_three,
        pool={**OUTER, **AT_MOST_THREE},
    ),
    _row("all of the inner pool fails, two pools deep", SPARE, FIRST, SECOND, play=once, pools=_deep()),
    _row("the inner pool has no place", ALONE, delayed(0.5), play=_full, pools=ONE_PLACE),
    _row(
        "the client leaves in the middle of the inner pool's answer",
        LEFT,
        breaks("middle", "stall"),
        play=_leaves_and_asks,
        pools=ONE_PLACE,
    ),
    _row(
        "cut in the middle in the inner pool, and the outer pool says Replay",
        WELL,
        breaks("middle", "fin"),
        whole=None,
        play=once,
        alike=True,
        pool={**OUTER, "recovery": ("Replay",)},
        operations=("chat", "completions"),
    ),
    _row(
        "silence in the inner pool, and the outer pool hedges",
        ON,
        silence(),
        play=once,
        pool={**OUTER, "hedging": {"percentile": None, "delay": 150, "max_percent": 100}},
    ),
    _row(
        "cut in the middle in the inner pool, and the outer pool commits when complete",
        ON,
        breaks("middle", "fin"),
        whole=None,
        play=once,
        pool={**OUTER, "streaming": {"commit": "Complete"}},
    ),
)
