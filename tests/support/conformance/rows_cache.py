"""Faults in a pool that keeps its answers: none of them is kept, and who shares a call is not left alone (B53)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from conformance.client import Client
from conformance.faults import SOON, answers, breaks, delayed, later, said, silence
from conformance.house import House
from conformance.rows import Row, WrongError
from conformance.seen import Seen, judge
from conformance.speech import Way
from conformance.turns import Fault

GROUP = "The cache"
KEPT = {"cache": {"ttl": 60_000, "max_entries": 100, "max_bytes": 1 << 20}}
FORGOTTEN = "the fault is not kept, the good answer is"
BOTH = "one call, a whole answer to both"
LEFT = "the other one has the whole answer"


def _body(way: Way, ident: str) -> bytes:
    more = {"store": False} if way.operation == "responses" else {}
    return way.body(ident, temperature=0, **more)


async def _again(house: House, way: Way, row: Row) -> Seen:
    """Under the fault, then well, then from the cache: always the same question."""
    ident = house.ident()
    asked: list[int] = []
    words: list[str] = []
    await house.turn("primary", row.primary)
    await house.turn("backup", row.primary)
    for _ in range(3):
        got = await house.client().ask(way.path, _body(way, ident))
        seen = judge(way, ident, got)
        if seen.wrong:
            raise WrongError(f"{seen.words}: {seen.wrong}")
        words.append(got.headers.get("x-modelpool-cache", "none") if seen.who else "fault")
        asked.append(house.primary.asked(ident) + house.backup.asked(ident))
        await house.turn("primary", None)
        await house.turn("backup", None)
    if words != ["fault", "miss", "hit"] or asked[2] != asked[1]:
        raise WrongError(f"{words}, asked {asked}")
    return Seen(FORGOTTEN)


def _shared(leaves: str | None) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident = house.ident()
        clients = {"first": house.client(), "second": house.client()}
        for client in clients.values():
            await client.post(way.path, _body(way, ident))
            await asyncio.sleep(SOON / 3)
        if leaves is not None:
            clients.pop(leaves).close()
        for client in clients.values():
            seen = judge(way, ident, await client.answer())
            if seen.who != "primary" or seen.wrong:
                raise WrongError(f"{seen.words} {seen.wrong}")
        if house.primary.asked(ident) != 1:
            raise WrongError(f"{house.primary.asked(ident)} asks")
        return Seen(BOTH if leaves is None else LEFT)

    return play


async def _all_leave(house: House, way: Way, row: Row) -> Seen:
    await house.turn("primary", row.primary)
    ident = house.ident()
    clients: list[Client] = [house.client(), house.client()]
    for client in clients:
        await client.post(way.path, _body(way, ident))
    await asyncio.sleep(SOON)
    for client in clients:
        client.close()
    await asyncio.sleep(SOON)
    if house.primary.asked(ident) != 1 or house.primary.asks[0].left is None or house.backup.asks:
        raise WrongError(f"{house.primary.asked(ident)} asks, left: {house.primary.asks[0].left}")
    return Seen("the provider is left")


async def _fails_both(house: House, way: Way, row: Row) -> Seen:
    """Two share a call that fails: an error each, and no call for each."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.primary)
    ident = house.ident()
    clients = [house.client(), house.client()]
    for client in clients:
        await client.post(way.path, _body(way, ident))
    seen = [judge(way, ident, await client.answer()) for client in clients]
    asked = house.primary.asked(ident) + house.backup.asked(ident)
    if any(each.wrong or each.who for each in seen) or asked > 2:
        raise WrongError(f"{[each.words for each in seen]}, {asked} asks")
    return Seen("the error to both, after one walk")


def _row(name: str, seen: str, fault: Fault, play: Callable[[House, Way, Row], Awaitable[Seen]]) -> Row:
    return Row(name, GROUP, seen, seen, fault, play=play, pool=KEPT)


ROWS: Sequence[Row] = (
    _row("500", FORGOTTEN, answers(500, said("e")), _again),
    _row("a client's error", FORGOTTEN, answers(400, said("bad")), _again),
    _row("cut in the middle", FORGOTTEN, breaks("middle", "fin"), _again),
    _row("ended in the middle", FORGOTTEN, breaks("middle", "end"), _again),
    _row("stalled in the middle", FORGOTTEN, breaks("middle", "stall"), _again),
    _row("two ask the same at once", BOTH, delayed(SOON), _shared(None)),
    _row("two ask the same, the first leaves", LEFT, delayed(SOON), _shared("first")),
    _row("two ask the same, the second leaves", LEFT, delayed(SOON), _shared("second")),
    _row("two ask the same, both leave", "the provider is left", silence(), _all_leave),
    _row(
        "two ask the same, and it fails",
        "the error to both, after one walk",
        later(SOON, answers(500, said("e"))),
        _fails_both,
    ),
)
