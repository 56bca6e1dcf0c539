"""Both targets fail: what is said in the end (B17, B18, B21, B37); and a provider that flaps."""

import asyncio
from collections.abc import Sequence
from typing import Any

from conformance.faults import FIRST, REFUSED, SECOND, answers, at_connect, breaks, said, sends, silence, with_body
from conformance.house import COOLDOWN_SECONDS, House
from conformance.rows import Row, WrongError, ask
from conformance.rows_body import ERROR
from conformance.seen import BROKEN, STALLED, Seen
from conformance.speech import Way
from conformance.turns import SSE, Fault

GROUP = "Both fail"
FLAP_SECONDS = 2.4
BEAT_SECONDS = 0.3

LIMITED = answers(429, said("rate_limit_exceeded"), ("retry-after", "1"))


def _row(name: str, whole: str | None, primary: Fault, backup: Fault, stream: str | None = "", **more: Any) -> Row:
    return Row(name, GROUP, whole, whole if stream == "" else stream, primary, backup, **more)


async def _flapping(house: House, way: Way, row: Row) -> Seen:
    """By the clock: broken and well in turn, while clients go on asking."""
    loop = asyncio.get_running_loop()
    end, broken, asked = loop.time() + FLAP_SECONDS, False, 0

    async def beat() -> None:
        nonlocal broken
        while True:
            broken = not broken
            await house.turn("primary", row.primary if broken else None)
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        while loop.time() < end:
            _, _, seen = await ask(house, way, row)
            if seen.who is None or seen.wrong:
                raise WrongError(f"request {asked}: {seen.words} {seen.wrong}")
            asked += 1
            await asyncio.sleep(0.01)
    finally:
        beating.cancel()
        await asyncio.wait([beating])
    await house.turn("primary", None)
    return Seen("an answer to each request")


async def _rests(house: House, way: Way, row: Row) -> Seen:
    """Both have failed so often that they rest, and the pool says that nobody is then to be tried."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    for _ in range(3):
        _, _, seen = await ask(house, way, row)
        if seen.wrong:
            return seen
    asked = house.primary.accepted + house.backup.accepted
    _, _, seen = await ask(house, way, row)
    if house.primary.accepted + house.backup.accepted != asked:
        raise WrongError(f"{seen.words}, and a provider that rests was asked")
    await house.turn("primary", None)
    await house.turn("backup", None)
    await asyncio.sleep(1.3 * COOLDOWN_SECONDS)
    _, _, after = await ask(house, way, row)
    if after.who is None or after.wrong:
        raise WrongError(f"after the cooldown: {after.words} {after.wrong}")
    return seen


def _flap(name: str, fault: Fault) -> Row:
    each = "an answer to each request"
    return Row(f"{name} for a while, well for a while, and so on", GROUP, each, each, fault, play=_flapping)


ROWS: Sequence[Row] = (
    _row("500, and 503", "503 second, 2 asks", FIRST, SECOND),
    _row("500, and 429", "500 first, 2 asks", FIRST, LIMITED),
    _row("429, and 500", "500 first, 2 asks", LIMITED, FIRST),
    _row("429, and 429", "429 all_limited, 2 asks", LIMITED, LIMITED, blame="cools"),
    _row(
        "the quota is used up, twice",
        "429 all_limited, 2 asks",
        *[answers(429, said("insufficient_quota"))] * 2,
        blame="long",
    ),
    _row("401, twice", "502 upstream_auth_error, 2 asks", *[answers(401, said("invalid_api_key"))] * 2, blame="long"),
    _row("401, and 500", "500 first, 2 asks", answers(401), FIRST, blame="long"),
    _row("404 for the path, twice", "502 upstream_unsupported, 2 asks", answers(404), answers(404), remembered=True),
    _row("500, and a client's error", "400 bad, 2 asks", FIRST, answers(400, said("bad"))),
    _row("refused, twice", "502 upstream_unreachable, 2 asks", REFUSED, REFUSED),
    _row("refused, and 503", "503 second, 2 asks", REFUSED, SECOND),
    _row("503, and refused", "503 second, 2 asks", SECOND, REFUSED),
    _row("closed at connect, twice", "502 upstream_unreachable, 2 asks", at_connect("fin"), at_connect("fin")),
    _row("silence, twice", "504 deadline_exceeded, 2 asks", silence(), silence(), more=2),
    _row("500, and silence", "500 first, 2 asks", FIRST, silence(), more=3),
    _row("cut after the head, twice", "502 upstream_error, 2 asks", breaks("head", "fin"), breaks("head", "rst")),
    _row("200 with an error, twice", "502 upstream_error, 2 asks", with_body(ERROR), with_body(ERROR)),
    _row("200 with nothing, twice", "502 upstream_error, 2 asks", with_body(b""), with_body(b"")),
    _row(
        "a stream with no event, twice", None, *[sends(lambda _turn: [], SSE)] * 2, stream="502 upstream_error, 2 asks"
    ),
    _row(
        "500, and a cut in the middle",
        "500 first, 2 asks",
        FIRST,
        breaks("middle", "fin"),
        stream=BROKEN.replace("1 ask", "2 asks"),
    ),
    _row(
        "500, and a stall in the middle",
        "500 first, 2 asks",
        FIRST,
        breaks("middle", "stall"),
        stream=STALLED.replace("1 ask", "2 asks"),
        more=3,
    ),
    _row("529, twice", "529 busy, 2 asks", *[answers(529, said("busy"))] * 2),
    _row(
        "500, and 503, until both rest",
        "503 all_cooling, 0 asks",
        FIRST,
        SECOND,
        play=_rests,
        pool={"last_resort": "Refuse"},
    ),
    _flap("500", FIRST),
    _flap("refused", REFUSED),
    _flap("429", LIMITED),
    _flap("silence", silence()),
    _flap("cut before the first token", breaks("head", "fin")),
)
