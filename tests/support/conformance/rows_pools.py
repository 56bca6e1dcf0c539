"""Requests that go on in another pool for a reason (B20)."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.faults import FIRST, SECOND, answers, breaks, filtered, said, silence
from conformance.house import House
from conformance.rows import Row, WrongError, once
from conformance.seen import BROKEN, ON, WELL, Seen
from conformance.speech import Way
from conformance.turns import Fault
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome

GROUP = "Other pools"
TOO_LONG = answers(400, said("context_length_exceeded"))


AGAINST = answers(400, said("content_policy_violation"))
GOES_ON = {"fallback": {"outcomes": (*BY_DEFAULT, Outcome.CONTENT_POLICY)}}
EMPTY = "the empty answer as it came, 1 ask"


async def _as_it_came(house: House, way: Way, row: Row) -> Seen:
    """An answer without a text, and its reason."""
    await house.turn("primary", row.primary)
    ident = house.ident()
    got = await house.client().ask(way.path, way.body(ident))
    if got.end != "complete" or got.status != 200 or b"content_filter" not in got.body or b"one " in got.body:
        raise WrongError(f"{got.status}, {got.end}, {len(got.body)} bytes")
    if house.backup.asks or house.primary.asked(ident) != 1 or got.headers["x-modelpool-attempts"] != "1":
        raise WrongError(f"{house.primary.asked(ident)} asks, the backup {len(house.backup.asks)}")
    return Seen(EMPTY)


def _pools(when: str) -> Mapping[str, Any]:
    return {"fallback": {"pools": ({"when": when, "pools": ("spare",)},)}}


def _row(
    name: str, pool: Mapping[str, Any], seen: str, primary: Fault, backup: Fault | None = None, **more: Any
) -> Row:
    more = {"whole": seen, "play": once, **more}
    return Row(name, GROUP, stream=seen, primary=primary, backup=backup, pool=pool, **more)


ROWS: Sequence[Row] = (
    _row("both fail", _pools("General"), "spare, 3 asks", FIRST, SECOND),
    _row("both are silent", _pools("General"), "spare, 3 asks", silence(), silence()),
    _row(
        "429 from both",
        _pools("RateLimited"),
        "spare, 3 asks",
        *[answers(429, said(None))] * 2,
        blame="cools",
    ),
    _row("the context is too long", _pools("ContextLength"), "spare, 2 asks", TOO_LONG),
    _row(
        "a client's error",
        _pools("General"),
        "400 bad, 1 ask",
        answers(400, said("bad")),
    ),
    _row("against the content policy", _pools("ContentPolicy"), "spare, 2 asks", AGAINST),
    _row("the content filter, before any text", _pools("ContentPolicy"), "spare, 2 asks", filtered(text=False)),
    _row(
        "the content filter, after the text", _pools("ContentPolicy"), WELL, filtered(text=True), whole="spare, 2 asks"
    ),
    _row("the content filter, and the pool goes on", GOES_ON, ON, filtered(text=False)),
    _row("the content filter, and the pool does not go on", {}, EMPTY, filtered(text=False), play=_as_it_came),
    _row("cut in the middle", _pools("General"), BROKEN, breaks("middle", "fin"), whole=None),
)
