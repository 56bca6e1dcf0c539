"""Requests that go on in another pool for a reason (B20)."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.faults import FIRST, SECOND, answers, breaks, said, silence
from conformance.rows import Row, once
from conformance.seen import BROKEN
from conformance.turns import Fault

GROUP = "Other pools"
TOO_LONG = answers(400, said("context_length_exceeded"))


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
    _row("cut in the middle", _pools("General"), BROKEN, breaks("middle", "fin"), whole=None),
)
