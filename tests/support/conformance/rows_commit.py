"""Streams whose head goes out early, or whose content late (B24, B33)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.faults import ERRS, FIRST, LATER, SECOND, answers, breaks, delayed, later, said, silence
from conformance.house import House
from conformance.rows import Row, WrongError, once
from conformance.rows_leaving import LEFT, leaves_early
from conformance.seen import ON, WELL, Seen, judge
from conformance.speech import Way
from conformance.turns import SSE, Fault, Turn

HEAD, COMPLETE = "The head goes out early", "Commit: Complete"
EARLY = {"streaming": {"head_hold": 150, "keep_alive": 150}}
WHOLE = {"streaming": {"commit": "Complete"}}
PATIENT = {"head": 4_000, "first_token": 4_000, "idle": 4_000}
THINKS_SECONDS = 2.0
"""For the 400 s that a model may think; so 1.5 s stand for the 300 s after which the SDK for Node gives up."""
GIVES_UP_SECONDS = 1.5
SILENT_SECONDS = 0.9
"""No gap between two bytes may last longer: proxies give up after a minute or so."""
HEADLESS = "backup"
"""The attempts are not told in a head that goes out before there are any."""


async def _thinks(house: House, way: Way, row: Row) -> Seen:
    """A client that gives up as SDKs do, on a scale of one to two hundred."""
    await house.turn("primary", row.primary)
    ident, client = house.ident(), house.client()
    loop = asyncio.get_running_loop()
    began = last = loop.time()
    await client.post(way.path, way.body(ident))
    assert client.reader is not None
    read, gaps = client.reader.readuntil, []

    async def noting(separator: bytes = b"\n") -> bytes:
        nonlocal last
        line = await read(separator)
        gaps.append(loop.time() - last)
        last = loop.time()
        return line

    client.reader.readuntil = noting  # type: ignore[method-assign]  # each chunk and the head are read by it
    got = await client.answer()
    if gaps[0] > GIVES_UP_SECONDS or max(gaps) > SILENT_SECONDS:
        raise WrongError(f"nothing came for {max(gaps):.2f} s, the head after {gaps[0]:.2f} s")
    if loop.time() - began < THINKS_SECONDS - 0.1:
        raise WrongError("it did not think as long as it should")
    return judge(way, ident, got)


async def _pings(turn: Turn) -> None:
    turn.head(200, (SSE,))
    for _ in range(20):
        await turn.part(b": ping\n\n")
        await asyncio.sleep(THINKS_SECONDS / 20)
    for event in turn.speech.events:
        await turn.part(event)
    turn.end()


async def _begins(turn: Turn) -> None:
    turn.head(200, (SSE,))
    for event in turn.speech.until("preamble"):
        await turn.part(event)
    await asyncio.sleep(THINKS_SECONDS)
    for event in turn.speech.events[len(turn.speech.preamble) :]:
        await turn.part(event)
    turn.end()


def _row(
    name: str, group: str, pool: Mapping[str, Any], seen: str, primary: Fault, backup: Fault | None = None, **more: Any
) -> Row:
    more = {"whole": None, "play": once, **more}
    return Row(name, group, stream=seen, primary=primary, backup=backup, pool=pool, **more)


def _thinking(name: str, fault: Fault) -> Row:
    return _row(name, HEAD, EARLY, "primary", fault, play=_thinks, timeouts=PATIENT)


def _complete(name: str, fault: Fault, seen: str = ON, **more: Any) -> Row:
    return _row(name, COMPLETE, WHOLE, seen, fault, **more)


ROWS: Sequence[Row] = (
    _thinking("thinks for a long time, silently", delayed(THINKS_SECONDS)),
    _thinking("thinks for a long time, with pings of its own", Fault(_pings)),
    _thinking("thinks for a long time, after its first event", Fault(_begins)),
    _row("500 after the head is out", HEAD, EARLY, HEADLESS, later(LATER, FIRST)),
    _row("closed after the head is out", HEAD, EARLY, HEADLESS, later(LATER, breaks("head", "fin"))),
    _row(
        "cut before the first token, after the head is out",
        HEAD,
        EARLY,
        HEADLESS,
        later(LATER, breaks("preamble", "fin")),
    ),
    _row("silence, after the head is out", HEAD, EARLY, HEADLESS, silence()),
    _row("500 and 503 after the head is out", HEAD, EARLY, "error event second", later(LATER, FIRST), SECOND),
    _row(
        "silence from both, after the head is out", HEAD, EARLY, "error event deadline_exceeded", silence(), silence()
    ),
    _row(
        "429 from both, after the head is out",
        HEAD,
        EARLY,
        "error event all_limited",
        *[later(LATER, answers(429, said(None)))] * 2,
        blame="cools",
    ),
    _row(
        "cut in the middle, after the head is out",
        HEAD,
        EARLY,
        "error event upstream_error",
        later(LATER, breaks("middle", "fin")),
    ),
    _row("the client leaves after the head is out", HEAD, EARLY, LEFT, silence(), play=leaves_early),
    _complete("cut by FIN in the middle", breaks("middle", "fin")),
    _complete("cut by RST in the middle", breaks("middle", "rst")),
    _complete("stalled in the middle", breaks("middle", "stall")),
    _complete("ended in the middle, by its framing", breaks("middle", "end")),
    _complete("an error in the middle", ERRS),
    _complete(
        "cut in the middle, twice",
        breaks("middle", "fin"),
        "502 upstream_error, 2 asks",
        backup=breaks("middle", "fin"),
    ),
    _complete("well", Fault(Turn.well), WELL),
)
