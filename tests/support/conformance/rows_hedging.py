"""A second target that races a slow one (B23)."""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.faults import FIRST, LATER, SECOND, delayed, later, silence
from conformance.rows import Row, once
from conformance.seen import ON, WELL
from conformance.turns import Fault

GROUP = "Hedging"
PATIENT = {"head": 4_000, "first_token": 4_000, "idle": 4_000}


def _hedge(delay: int = 150) -> Mapping[str, Any]:
    return {"hedging": {"percentile": None, "delay": delay, "max_percent": 100}}


def _row(
    name: str, pool: Mapping[str, Any], seen: str, primary: Fault, backup: Fault | None = None, **more: Any
) -> Row:
    more = {"whole": seen, "play": once, **more}
    return Row(name, GROUP, stream=seen, primary=primary, backup=backup, pool=pool, **more)


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
)
