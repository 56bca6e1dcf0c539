"""Gateway API durations (GEP-2257) as whole milliseconds, both ways.

A duration is one to four parts of a number and a unit: `250ms`, `30s`, `1h30m`, `10s30m1h`; parts add up. There is no
sign, no fraction and no unit above the hour. What cannot be written in that form cannot be formatted either.
"""

import re

SHAPE = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""The pattern of the specification, as the CRDs carry it."""

WORDS = "a duration like 250ms, 30s or 1h30m"
"""The same for people."""

_UNITS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SHAPE = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}", re.ASCII)
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)", re.ASCII)
_MOST = 99_999 * _UNITS["h"] + 59 * _UNITS["m"] + 59 * _UNITS["s"] + 999


def parse(text: str) -> int:
    """Milliseconds of `1h30m`. Raises ValueError where the text is not a duration."""
    if not _SHAPE.fullmatch(text):
        raise ValueError(f"must be {WORDS}")
    return sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def render(milliseconds: int) -> str:
    """The shortest form, largest unit first: 5400000 is `1h30m`, 0 is `0s`. Raises ValueError outside its range."""
    if not 0 <= milliseconds <= _MOST:
        raise ValueError(f"must be between 0 and {_MOST} milliseconds")
    parts, rest = [], milliseconds
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
