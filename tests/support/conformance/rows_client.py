"""What clients do: read slowly, pipeline, speak HTTP/1.0, stay while we change (B25, B30, B34, B46, B51)."""

import asyncio
from collections.abc import Sequence
from typing import Any

from conformance.faults import SOON, breaks, delayed, stop
from conformance.house import House
from conformance.rows import Row, WrongError, until
from conformance.rows_leaving import GROUP
from conformance.seen import BROKEN, ON, STALLED, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import JSON, SSE, Fault, Turn

FILLER = b" " * 65536
PIECES = 256


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


async def _pipelines_into_a_cut(house: House, way: Way, row: Row) -> Seen:
    """Two requests at once; where the first one's connection ends with its fault, the second never was."""
    await house.turn("primary", row.primary)
    client, idents = house.client(), [house.ident(), house.ident()]
    for ident in idents:
        await client.post(way.path, way.body(ident))
    seen = judge(way, idents[0], await client.answer())
    second = judge(way, idents[1], await client.answer()) if client.reader is not None else None
    asked = sum(provider.asked(idents[1]) for provider in house.providers.values())
    if second is None and asked:
        raise WrongError(f"{asked} asks for an answer that nobody can get")
    if second is not None and (second.wrong or second.words != ON):
        raise WrongError(f"the second: {second.words} {second.wrong}")
    return seen


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
    """More than the kernel holds on its own: comments in a stream, white space before an answer."""
    turn.head(200, (SSE if turn.stream else JSON,))
    if turn.stream:
        events = turn.speech.events
        for event in events[:4]:
            await turn.part(event)
        for _ in range(PIECES):
            await turn.part(b":" + FILLER + b"\n\n")
            turn.ask.sent += len(FILLER)
        for event in events[4:]:
            await turn.part(event)
    else:
        for _ in range(PIECES):
            await turn.part(FILLER)
            turn.ask.sent += len(FILLER)
        await turn.part(turn.speech.whole)
    turn.end()


async def _slow_reader(house: House, way: Way, row: Row) -> Seen:
    """Reads nothing for longer than a provider may be silent, then as fast as it can."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client(receive_buffer=8192)
    await client.post(way.path, way.body(ident))
    await asyncio.sleep(1.8)
    if house.primary.asks[0].sent >= PIECES * len(FILLER):
        raise WrongError("the provider could send all of it to a client that reads nothing")
    return judge(way, ident, await client.answer())


def _breaks_late(how: str, pieces: int = 40) -> Fault:
    """More than an answer that is held until it is complete, and more than a socket holds; then that."""

    async def play(turn: Turn) -> None:
        turn.head(200, (SSE if turn.stream else JSON,))
        for event in turn.speech.until("middle") if turn.stream else ():
            await turn.part(event)
        for _ in range(pieces if turn.stream else 140):
            await turn.part(b":" + FILLER + b"\n\n" if turn.stream else FILLER)
        await stop(turn, how)

    return Fault(play)


def _slowly(version: str, seconds: float) -> Any:
    """Reads nothing for that long, and then what is there: an error event where it is a stream, else no good end."""

    async def play(house: House, way: Way, row: Row) -> Seen:
        await house.turn("primary", row.primary)
        ident, client = house.ident(), house.client(receive_buffer=8192)
        await client.post(way.path, way.body(ident), version=version)
        await asyncio.sleep(seconds)
        return judge(way, ident, await client.answer())

    return play


async def _reloads(house: House, way: Way, row: Row) -> Seen:
    """The pool loses the target that is at work; the answer goes on."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    await client.post(way.path, way.body(ident))
    await until(lambda: house.primary.asked(ident), "the provider is asked")
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
    await until(lambda: house.primary.asked(ident), "the provider is asked")
    await asyncio.sleep(0.05)
    draining = asyncio.create_task(house.sidecar.drain(0.1))
    try:
        return judge(way, ident, await client.answer())
    finally:
        await draining


def _row(name: str, seen: str | None, play: Any, fault: Fault | None = None, **more: Any) -> Row:
    more.setdefault("stream", seen)
    return Row(name, GROUP, seen, primary=fault, play=play, **more)


ROWS: Sequence[Row] = (
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
    _row(
        "pipelines two requests, and the first is cut",
        ON,
        _pipelines_into_a_cut,
        breaks("middle", "fin"),
        stream=BROKEN,
    ),
    _row("twenty requests on one connection", "all twenty, over one connection to the provider", _twenty),
    _row("speaks HTTP/1.0", WELL, _plain),
    _row("speaks HTTP/1.0, and the stream is cut", ON, _plain, breaks("middle", "fin"), stream=BROKEN),
    _row("speaks HTTP/1.0, and the stream stalls", ON, _plain, breaks("middle", "stall"), stream=STALLED),
    *(
        _row(
            f"reads slowly{over}, and the answer {what}",
            f"cut ({end}), 1 ask",
            _slowly(version, 0.7),
            _breaks_late(how),
            stream=seen,
            heavy=True,
        )
        for over, version, end in (("", "1.1", "fin"), (" over HTTP/1.0", "1.0", "rst"))
        for what, how, seen in (("is cut", "fin", BROKEN), ("stalls", "stall", STALLED))
    ),
    _row(
        "reads nothing for longer than it is waited for, and the stream is cut",
        None,
        _slowly("1.1", 3.0),
        _breaks_late("fin", 8),
        stream=BROKEN,
        heavy=True,
    ),
    _row("the target at work is taken out of the pool", WELL, _reloads, delayed(SOON)),
    _row(
        "the sidecar ends in the middle",
        "503 draining, 1 ask",
        _drains,
        breaks("middle", "stall"),
        stream="error event draining, 1 ask",
    ),
)
