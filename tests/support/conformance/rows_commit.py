"""Streams whose head goes out early, or whose content late; a second target that races a slow one (B23, B24, B33)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.house import House
from conformance.provider import SSE, Fault, Turn
from conformance.rows import Row, WrongError, ask
from conformance.rows_body import breaks, sends
from conformance.rows_client import LEFT, leaves_early
from conformance.rows_connect import delayed, silence
from conformance.rows_status import answers, said
from conformance.seen import Seen, judge
from conformance.speech import Way

POOLS = "Other pools"
HEAD, COMPLETE, HEDGED = "The head goes out early", "Commit: Complete", "Hedging"
EARLY = {"streaming": {"head_hold": 150, "keep_alive": 150}}
WHOLE = {"streaming": {"commit": "Complete"}}
PATIENT = {"head": 4_000, "first_token": 4_000, "idle": 4_000}
THINKS_SECONDS = 2.0
"""For the 400 s that a model may think; so 1.5 s stand for the 300 s after which the SDK for Node gives up."""
GIVES_UP_SECONDS = 1.5
SILENT_SECONDS = 0.9
"""No gap between two bytes may last longer: proxies give up after a minute or so."""
ON, WELL = "backup, 2 asks", "primary, 1 ask"
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


async def _one(house: House, way: Way, row: Row) -> Seen:
    """One request, then a healthy one."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    ident, _, seen = await ask(house, way, row)
    asked = {name: provider.asked(ident) for name, provider in house.providers.items()}
    if max(asked.values()) > 1:
        raise WrongError(f"{seen.words}, and asked {asked}")
    await house.turn("primary", None)
    await house.turn("backup", None)
    _, _, after = await ask(house, way, row)
    if after.wrong or (after.who is None and row.blame != "cools"):
        raise WrongError(f"afterwards: {after.words} {after.wrong}")
    return seen


def _after(seconds: float, fault: Fault) -> Fault:
    """The same, but later."""

    async def play(turn: Turn) -> None:
        await asyncio.sleep(seconds)
        assert fault.play is not None
        await fault.play(turn)

    return Fault(play)


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
    more = {"whole": None, "play": _one, **more}
    return Row(name, group, stream=seen, primary=primary, backup=backup, pool=pool, **more)


def _thinking(name: str, fault: Fault) -> Row:
    return _row(name, HEAD, EARLY, "primary", fault, play=_thinks, timeouts=PATIENT)


def _complete(name: str, fault: Fault, seen: str = ON, **more: Any) -> Row:
    return _row(name, COMPLETE, WHOLE, seen, fault, **more)


def _hedge(delay: int = 150) -> Mapping[str, Any]:
    return {"hedging": {"percentile": None, "delay": delay, "max_percent": 100}}


def _pools(when: str) -> Mapping[str, Any]:
    return {"fallback": {"pools": ({"when": when, "pools": ("spare",)},)}}


TOO_LONG = answers(400, said("context_length_exceeded"))
FIRST, SECOND = answers(500, said("first")), answers(503, said("second"))
ERRS = sends(lambda turn: [*turn.speech.until("middle"), turn.speech.error_event()])
LATER = 0.4

ROWS: Sequence[Row] = (
    _thinking("thinks for a long time, silently", delayed(THINKS_SECONDS)),
    _thinking("thinks for a long time, with pings of its own", Fault(_pings)),
    _thinking("thinks for a long time, after its first event", Fault(_begins)),
    _row("500 after the head is out", HEAD, EARLY, HEADLESS, _after(LATER, FIRST)),
    _row("closed after the head is out", HEAD, EARLY, HEADLESS, _after(LATER, breaks("head", "fin"))),
    _row(
        "cut before the first token, after the head is out",
        HEAD,
        EARLY,
        HEADLESS,
        _after(LATER, breaks("preamble", "fin")),
    ),
    _row("silence, after the head is out", HEAD, EARLY, HEADLESS, silence()),
    _row("500 and 503 after the head is out", HEAD, EARLY, "error event second", _after(LATER, FIRST), SECOND),
    _row(
        "silence from both, after the head is out", HEAD, EARLY, "error event deadline_exceeded", silence(), silence()
    ),
    _row(
        "429 from both, after the head is out",
        HEAD,
        EARLY,
        "error event all_limited",
        *[_after(LATER, answers(429, said(None)))] * 2,
        blame="cools",
    ),
    _row(
        "cut in the middle, after the head is out",
        HEAD,
        EARLY,
        "error event upstream_error",
        _after(LATER, breaks("middle", "fin")),
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
    _row("silence", HEDGED, _hedge(), ON, silence(), whole=ON),
    _row("slower than the hedge", HEDGED, _hedge(), ON, delayed(0.8), whole=ON),
    _row(
        "the hedge is slower",
        HEDGED,
        _hedge(),
        "primary, 2 asks",
        delayed(0.5),
        delayed(3.0),
        whole="primary, 2 asks",
        timeouts=PATIENT,
    ),
    _row("the hedge fails", HEDGED, _hedge(), "primary, 2 asks", delayed(0.5), FIRST, whole="primary, 2 asks"),
    _row("the first fails while both are asked", HEDGED, _hedge(), ON, _after(LATER, FIRST), delayed(0.5), whole=ON),
    _row(
        "both fail while both are asked",
        HEDGED,
        _hedge(),
        "503 second, 2 asks",
        _after(LATER, FIRST),
        _after(0.6, SECOND),
        whole="503 second, 2 asks",
    ),
    _row("quicker than the hedge", HEDGED, _hedge(700), WELL, delayed(0.1), whole=WELL),
    _row("both fail", POOLS, _pools("General"), "spare, 3 asks", FIRST, SECOND, whole="spare, 3 asks"),
    _row("both are silent", POOLS, _pools("General"), "spare, 3 asks", silence(), silence(), whole="spare, 3 asks"),
    _row(
        "429 from both",
        POOLS,
        _pools("RateLimited"),
        "spare, 3 asks",
        *[answers(429, said(None))] * 2,
        whole="spare, 3 asks",
        blame="cools",
    ),
    _row("the context is too long", POOLS, _pools("ContextLength"), "spare, 2 asks", TOO_LONG, whole="spare, 2 asks"),
    _row(
        "a client's error",
        POOLS,
        _pools("General"),
        "400 bad, 1 ask",
        answers(400, said("bad")),
        whole="400 bad, 1 ask",
    ),
    _row("cut in the middle", POOLS, _pools("General"), "error event upstream_error, 1 ask", breaks("middle", "fin")),
)
