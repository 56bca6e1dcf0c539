"""A second target that races a slow one (B23)."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from conformance.faults import FIRST, LATER, SECOND, breaks, delayed, later, silence
from conformance.house import House
from conformance.rows import Row, WrongError, once, until
from conformance.rows_leaving import NOTICED_SECONDS
from conformance.seen import BROKEN, ON, STALLED, WELL, Seen
from conformance.speech import Way
from conformance.turns import Fault

GROUP = "Hedging"
PATIENT = {"head": 4_000, "first_token": 4_000, "idle": 4_000}


def _hedge(delay: int = 150, **more: Any) -> Mapping[str, Any]:
    return {"hedging": {"percentile": None, "delay": delay, "max_percent": 100}, **more}


async def _leaves(house: House, way: Way, row: Row) -> Seen:
    """The client leaves while both are asked: so do we, from both."""
    await house.turn("primary", row.primary)
    await house.turn("backup", row.backup)
    ident, client = house.ident(), house.client()
    await client.post(way.path, way.body(ident))
    await until(lambda: house.primary.asked(ident) and house.backup.asked(ident), "both are asked")
    began = asyncio.get_running_loop().time()
    client.close()
    await until(lambda: house.sidecar.in_flight == 0, "nothing is in flight", NOTICED_SECONDS)
    asks = [house.primary.asks[0], house.backup.asks[0]]
    await until(lambda: all(each.left for each in asks), "both providers see it", NOTICED_SECONDS)
    late = max(each.left or 0.0 for each in asks) - began
    if late > NOTICED_SECONDS or len(house.providers["spare"].asks):
        raise WrongError(f"left after {late:.2f} s")
    return Seen("both providers are left at once")


def _row(
    name: str, pool: Mapping[str, Any], seen: str, primary: Fault, backup: Fault | None = None, **more: Any
) -> Row:
    more = {"whole": seen, "play": once, **more}
    return Row(name, GROUP, stream=seen, primary=primary, backup=backup, pool=pool, **more)


COMPLETE = _hedge(streaming={"commit": "Complete"})
CUT, STALL = breaks("middle", "fin"), breaks("middle", "stall")
SPENT, LATE = "502 upstream_error, 2 asks", "504 deadline_exceeded, 2 asks"
TWO_BROKEN, TWO_STALLED = BROKEN.replace("1 ask", "2 asks"), STALLED.replace("1 ask", "2 asks")

ROWS: Sequence[Row] = (
    _row("silence", _hedge(), ON, silence()),
    _row("slower than the hedge", _hedge(), ON, delayed(0.8)),
    _row(
        "the hedge is slower",
        _hedge(),
        "primary, 2 asks",
        delayed(0.5),
        delayed(3.0),
        timeouts=PATIENT,
    ),
    _row("the hedge fails", _hedge(), "primary, 2 asks", delayed(0.5), FIRST),
    _row("the first fails while both are asked", _hedge(), ON, later(LATER, FIRST), delayed(0.5)),
    _row(
        "both fail while both are asked",
        _hedge(),
        "503 second, 2 asks",
        later(LATER, FIRST),
        later(0.6, SECOND),
    ),
    _row("quicker than the hedge", _hedge(700), WELL, delayed(0.1)),
    _row("silence, and the hedge is cut in the middle", _hedge(), TWO_BROKEN, silence(), CUT, whole=SPENT),
    _row("slow, and the hedge is cut in the middle", _hedge(), TWO_BROKEN, delayed(0.5), CUT, whole="primary, 2 asks"),
    _row("silence, and the hedge stalls in the middle", _hedge(), TWO_STALLED, silence(), STALL, whole=LATE),
    _row("cut in the middle after the hedge began", _hedge(), TWO_BROKEN, later(LATER, CUT), silence(), whole=SPENT),
    _row(
        "the client leaves while both are asked",
        _hedge(),
        "both providers are left at once",
        silence(),
        silence(),
        play=_leaves,
    ),
    _row("silence, and commit: Complete", COMPLETE, ON, silence(), whole=None),
    _row("slower than the hedge, and commit: Complete", COMPLETE, ON, delayed(0.8), whole=None),
    _row("cut in the middle before the hedge, and commit: Complete", COMPLETE, ON, CUT, whole=None),
    _row(
        "cut in the middle after the hedge began, and commit: Complete",
        COMPLETE,
        ON,
        later(LATER, CUT),
        delayed(0.5),
        whole=None,
    ),
    _row("stalled in the middle, and commit: Complete", COMPLETE, ON, STALL, whole=None),
    _row(
        "slow, the hedge is cut in the middle, and commit: Complete",
        COMPLETE,
        "primary, 2 asks",
        delayed(0.5),
        CUT,
        whole=None,
    ),
    _row(
        "both are cut in the middle, and commit: Complete",
        COMPLETE,
        SPENT,
        later(LATER, CUT),
        CUT,
        whole=None,
    ),
    _row("silence, the hedge stalls in the middle, and commit: Complete", COMPLETE, LATE, silence(), STALL, whole=None),
    _row(
        "the client leaves while both are asked, and commit: Complete",
        COMPLETE,
        "both providers are left at once",
        silence(),
        silence(),
        play=_leaves,
        whole=None,
    ),
)
