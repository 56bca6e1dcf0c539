"""Clients that leave, or close their half, in any phase of a request (B31)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conformance.client import Client
from conformance.faults import SOON, answers, breaks, delayed, said, silence
from conformance.house import House
from conformance.rows import Row, WrongError, until
from conformance.seen import WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import Fault
from modelpool_sidecar.core.outcome import Outcome

GROUP = "Clients"
LEFT = "the provider is left at once"
UNSEEN = "no provider is asked"
NOTICED_SECONDS = 0.4
"""B31 says a tenth of a second; the machine may be busy."""

Leave = Callable[[Client], None]


def close(client: Client) -> None:
    client.close()


def _half_close(client: Client) -> None:
    client.half_close()


def leaves(leave: Leave, *, received: bool) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    """Asks, waits until the provider has done its part (and the client has some of it), and leaves."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident, client = house.ident(), house.client()
        await client.post(way.path, way.body(ident))
        if received and way.stream:
            await client.reader.readuntil(b"three")
        else:
            await until(lambda: house.primary.asked(ident) and not house.primary.reading, "the provider is asked")
            await asyncio.sleep(0.05)
        asked = house.primary.asks[-1]
        began = asyncio.get_running_loop().time()
        leave(client)
        await until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
        await until(lambda: asked.left is not None, "the provider sees it", NOTICED_SECONDS)
        if (
            asked.left - began > NOTICED_SECONDS
            or len(house.backup.asks)
            or house.records[-1].outcome != Outcome.CANCELLED
        ):
            raise WrongError(f"left after {asked.left - began:.2f} s, {house.records[-1].outcome}")
        return Seen(LEFT)

    return play


async def leaves_early(house: House, way: Way, row: Row) -> Seen:
    """It has the head and a comment, and nothing of an answer."""
    await house.turn("primary", row.primary)
    client = house.client()
    await client.post(way.path, way.body(house.ident()))
    await client.reader.readuntil(b"keep-alive")
    began = asyncio.get_running_loop().time()
    client.close()
    await until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
    await until(lambda: house.primary.asks[0].left, "the provider sees it", NOTICED_SECONDS)
    if house.primary.asks[0].left - began > NOTICED_SECONDS or house.backup.asks:
        raise WrongError(f"left after {house.primary.asks[0].left - began:.2f} s")
    return Seen(LEFT)


def _in_the_upload(leave: Leave) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, _row: Row) -> Seen:
        client = house.client()
        await client.connect()
        client.writer.write(f"POST {way.path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
        await until(lambda: house.sidecar._server.in_flight, "the request begins")
        leave(client)
        await until(lambda: not house.sidecar._server.in_flight, "it is over", NOTICED_SECONDS)
        if house.primary.asks:
            raise WrongError("the provider was asked")
        return Seen(UNSEEN)

    return play


def _in_the_backoff(leave: Leave) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        client = house.client()
        await client.post(way.path, way.body(house.ident()))
        await until(lambda: house.primary.asks and not house.primary.busy, "the provider has answered")
        await asyncio.sleep(0.05)
        leave(client)
        await until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
        await asyncio.sleep(0.7)  # the wait would be over
        if len(house.primary.asks) != 1 or house.backup.asks:
            raise WrongError(f"asked {len(house.primary.asks)} times")
        return Seen("nobody is asked any more")

    return play


def _in_the_queue(leave: Leave) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        first, second, third = house.client(), house.client(), house.client()
        idents = [house.ident() for _ in range(3)]
        await first.post(way.path, way.body(idents[0]))
        await until(lambda: house.primary.asks, "the first is at work")
        await second.post(way.path, way.body(idents[1]))
        await until(lambda: house.sidecar.waiting == 1, "the second waits")
        leave(second)
        await until(lambda: house.sidecar.waiting == 0, "it has left the queue", NOTICED_SECONDS)
        await third.post(way.path, way.body(idents[2]))
        for client, ident in ((first, idents[0]), (third, idents[2])):
            seen = judge(way, ident, await client.answer())
            if seen.words != WELL or seen.wrong:
                raise WrongError(f"another one: {seen.words} {seen.wrong}")
        if house.primary.asked(idents[1]):
            raise WrongError("the provider was asked")
        return Seen(UNSEEN)

    return play


def _row(name: str, seen: str, play: Any, fault: Fault | None = None, **more: Any) -> Row:
    more.setdefault("stream", seen)
    return Row(name, GROUP, seen, primary=fault, play=play, **more)


def _phases() -> Sequence[Row]:
    rows: list[Row] = []
    same = {"same_target": {"retries": 1, "initial": 10, "max": 20, "max_retry_after": 3_000}}
    queue = {"limits": {"concurrency": {"max": 1, "queue": {"max": 4, "timeout": 5_000}}}}
    waits = answers(503, said("busy"), ("retry-after-ms", "500"))
    for how, leave in (("leaves", close), ("closes its half", _half_close)):
        rows += [
            _row(f"{how} in its own upload", UNSEEN, _in_the_upload(leave)),
            _row(f"{how} in the queue", UNSEEN, _in_the_queue(leave), delayed(SOON), pool=queue),
            _row(f"{how} before the head", LEFT, leaves(leave, received=False), silence()),
            _row(f"{how} before the first token", LEFT, leaves(leave, received=False), breaks("preamble", "stall")),
            _row(f"{how} in the middle", LEFT, leaves(leave, received=True), breaks("middle", "stall"), stream=LEFT),
            _row(
                f"{how} between two attempts",
                "nobody is asked any more",
                _in_the_backoff(leave),
                waits,
                pool={"fallback": same},
            ),
        ]
    return rows


ROWS: Sequence[Row] = (*_phases(),)
