"""What clients do: read slowly, leave in any phase, close one half, pipeline, speak HTTP/1.0 (B30, B31, B34, B51)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from conformance.client import Client
from conformance.house import House
from conformance.provider import JSON, SSE, Fault, Turn
from conformance.rows import Row, WrongError
from conformance.rows_body import BROKEN, STALLED, WELL, breaks
from conformance.rows_connect import SOON, delayed, silence
from conformance.rows_status import answers, said
from conformance.seen import Seen, judge
from conformance.speech import Way
from modelpool_sidecar.core.outcome import Outcome

GROUP = "Clients"
LEFT = "the provider is left at once"
UNSEEN = "no provider is asked"
NOTICED_SECONDS = 0.4
"""B31 says a tenth of a second; the machine may be busy."""
FILLER = b" " * 65536
PIECES = 96

Leave = Callable[[Client], None]


def _close(client: Client) -> None:
    client.close()


def _half_close(client: Client) -> None:
    client.half_close()


def _leaves(leave: Leave, *, received: bool) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    """Asks, waits until the provider has done its part (and the client has some of it), and leaves."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident, client = house.ident(), house.client()
        await client.post(way.path, way.body(ident))
        if received and way.stream:
            await client.reader.readuntil(b"three")
        else:
            await _until(lambda: house.primary.asked(ident) and not house.primary.reading, "the provider is asked")
            await asyncio.sleep(0.05)
        asked = house.primary.asks[-1]
        began = asyncio.get_running_loop().time()
        leave(client)
        await _until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
        await _until(lambda: asked.left is not None, "the provider sees it", NOTICED_SECONDS)
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
    await _until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
    await _until(lambda: house.primary.asks[0].left, "the provider sees it", NOTICED_SECONDS)
    if house.primary.asks[0].left - began > NOTICED_SECONDS or house.backup.asks:
        raise WrongError(f"left after {house.primary.asks[0].left - began:.2f} s")
    return Seen(LEFT)


async def _until(condition: Callable[[], object], what: str, seconds: float = 2.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > end:
            raise WrongError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.005)


def _in_the_upload(leave: Leave) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, _row: Row) -> Seen:
        client = house.client()
        await client.connect()
        client.writer.write(f"POST {way.path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
        await _until(lambda: house.sidecar._server.in_flight, "the request begins")
        leave(client)
        await _until(lambda: not house.sidecar._server.in_flight, "it is over", NOTICED_SECONDS)
        if house.primary.asks:
            raise WrongError("the provider was asked")
        return Seen(UNSEEN)

    return play


def _in_the_backoff(leave: Leave) -> Callable[[House, Way, Row], Awaitable[Seen]]:
    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        client = house.client()
        await client.post(way.path, way.body(house.ident()))
        await _until(lambda: house.primary.asks and not house.primary.busy, "the provider has answered")
        await asyncio.sleep(0.05)
        leave(client)
        await _until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
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
        await _until(lambda: house.primary.asks, "the first is at work")
        await second.post(way.path, way.body(idents[1]))
        await _until(lambda: house.sidecar.waiting == 1, "the second waits")
        leave(second)
        await _until(lambda: house.sidecar.waiting == 0, "it has left the queue", NOTICED_SECONDS)
        await third.post(way.path, way.body(idents[2]))
        for client, ident in ((first, idents[0]), (third, idents[2])):
            seen = judge(way, ident, await client.answer())
            if seen.words != WELL or seen.wrong:
                raise WrongError(f"another one: {seen.words} {seen.wrong}")
        if house.primary.asked(idents[1]):
            raise WrongError("the provider was asked")
        return Seen(UNSEEN)

    return play


async def _pipelines(house: House, way: Way, row: Row) -> Seen:
    """Three requests at once, the provider takes its time for each."""
    await house.turn("primary", row.primary)
    client, idents = house.client(), [house.ident() for _ in range(3)]
    for ident in idents:
        await client.post(way.path, way.body(ident))
    for ident in idents:
        seen = judge(way, ident, await client.answer())
        if seen.words != WELL or seen.wrong:
            raise WrongError(f"{ident}: {seen.words} {seen.wrong}")
    return Seen("all three, in order")


async def _twenty(house: House, way: Way, _row: Row) -> Seen:
    client = house.client()
    for _ in range(20):
        ident = house.ident()
        seen = judge(way, ident, await client.ask(way.path, way.body(ident)))
        if seen.words != WELL or seen.wrong:
            raise WrongError(f"{ident}: {seen.words} {seen.wrong}")
    if house.primary.accepted != 1:
        raise WrongError(f"{house.primary.accepted} connections to the provider")
    return Seen("all twenty, over one connection to the provider")


async def _plain(house: House, way: Way, row: Row) -> Seen:
    """One request, in the way that the row's `body` tells of."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    return judge(way, ident, await client.ask(way.path, way.body(ident), version="1.0"))


async def _slow_upload(house: House, way: Way, _row: Row) -> Seen:
    ident, client = house.ident(), house.client()
    body = way.body(ident)
    await client.connect()
    client.writer.write(f"POST {way.path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode())
    for start in range(0, len(body), 20):
        piece = body[start : start + 20]
        client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0.02)
    client.writer.write(b"0\r\n\r\n")
    return judge(way, ident, await client.answer())


async def _large(turn: Turn) -> None:
    """Several megabytes: comments in a stream, white space before an answer."""
    turn.head(200, (SSE if turn.stream else JSON,))
    if turn.stream:
        events = turn.speech.events
        for event in events[:4]:
            await turn.part(event)
        for _ in range(PIECES):
            await turn.part(b":" + FILLER + b"\n\n")
            turn.provider.sent += len(FILLER)
        for event in events[4:]:
            await turn.part(event)
    else:
        for _ in range(PIECES):
            await turn.part(FILLER)
            turn.provider.sent += len(FILLER)
        await turn.part(turn.speech.whole)
    turn.end()


async def _slow_reader(house: House, way: Way, row: Row) -> Seen:
    """Reads nothing for longer than a provider may be silent, then as fast as it can."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client(receive_buffer=8192)
    await client.post(way.path, way.body(ident))
    await asyncio.sleep(1.8)
    return judge(way, ident, await client.answer())


async def _reloads(house: House, way: Way, row: Row) -> Seen:
    """The pool loses the target that is at work; the answer goes on."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    await client.post(way.path, way.body(ident))
    await _until(lambda: house.primary.asked(ident), "the provider is asked")
    await house.without_primary()
    seen = judge(way, ident, await client.answer())
    if seen.words != WELL or seen.wrong:
        return seen
    ident = house.ident()
    after = judge(way, ident, await client.ask(way.path, way.body(ident)))
    if after.words != "backup, 1 ask":
        raise WrongError(f"after the reload: {after.words} {after.wrong}")
    return seen


async def _drains(house: House, way: Way, row: Row) -> Seen:
    """The sidecar ends while the answer is on its way."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    await client.post(way.path, way.body(ident))
    await _until(lambda: house.primary.asked(ident), "the provider is asked")
    await asyncio.sleep(0.05)
    draining = asyncio.create_task(house.sidecar.drain(0.1))
    try:
        return judge(way, ident, await client.answer())
    finally:
        await draining


def _row(name: str, seen: str, play: Any, fault: Fault | None = None, **more: Any) -> Row:
    more.setdefault("stream", seen)
    return Row(name, GROUP, seen, primary=fault, play=play, **more)


def _phases() -> Sequence[Row]:
    rows: list[Row] = []
    same = {"same_target": {"retries": 1, "initial": 10, "max": 20, "max_retry_after": 3_000}}
    queue = {"limits": {"concurrency": {"max": 1, "queue": {"max": 4, "timeout": 5_000}}}}
    waits = answers(503, said("busy"), ("retry-after-ms", "500"))
    for how, leave in (("leaves", _close), ("closes its half", _half_close)):
        rows += [
            _row(f"{how} in its own upload", UNSEEN, _in_the_upload(leave)),
            _row(f"{how} in the queue", UNSEEN, _in_the_queue(leave), delayed(SOON), pool=queue),
            _row(f"{how} before the head", LEFT, _leaves(leave, received=False), silence()),
            _row(f"{how} before the first token", LEFT, _leaves(leave, received=False), breaks("preamble", "stall")),
            _row(f"{how} in the middle", LEFT, _leaves(leave, received=True), breaks("middle", "stall"), stream=LEFT),
            _row(
                f"{how} between two attempts",
                "nobody is asked any more",
                _in_the_backoff(leave),
                waits,
                pool={"fallback": same},
            ),
        ]
    return rows


ROWS: Sequence[Row] = (
    *_phases(),
    _row(
        "reads nothing for a while, of several megabytes",
        WELL,
        _slow_reader,
        Fault(_large),
        operations=("chat",),
        heavy=True,
    ),
    _row("uploads slowly, in chunks", WELL, _slow_upload),
    _row("pipelines three requests", "all three, in order", _pipelines, delayed(SOON / 2)),
    _row("twenty requests on one connection", "all twenty, over one connection to the provider", _twenty),
    _row("speaks HTTP/1.0", WELL, _plain),
    _row("speaks HTTP/1.0, and the stream is cut", "backup, 2 asks", _plain, breaks("middle", "fin"), stream=BROKEN),
    _row("speaks HTTP/1.0, and the stream stalls", "backup, 2 asks", _plain, breaks("middle", "stall"), stream=STALLED),
    _row("the target at work is taken out of the pool", WELL, _reloads, delayed(SOON)),
    _row(
        "the sidecar ends in the middle",
        "503 draining, 1 ask",
        _drains,
        breaks("middle", "stall"),
        stream="error event draining, 1 ask",
    ),
)
