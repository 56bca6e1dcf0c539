"""What an answer says of its account's limits: how much is left, of how much, and until when (B39).

`x-ratelimit-{limit,remaining,reset}-KIND` (OpenAI and its like) and `anthropic-ratelimit-KIND-{limit,remaining,reset}`.
Kinds are not known beforehand: `requests`, `tokens`, `input-tokens`, `requests-day`. A reset is a Go duration (`6m0s`,
`120ms`), seconds, Unix time or an RFC 3339 time. Nearly every answer tells of plenty: then only two numbers are read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelpool_sidecar.core.retryafter import Headers

PLENTY = 0.4
"""Above this part of the limit nothing has to be done, and nobody reads when it will be whole again."""
MAX_KINDS = 8
"""Of one answer; what a provider sends beyond is not looked at."""
DEFAULT_RESET = 60.0
"""Seconds, where the answer does not say: most limits are by the minute."""
MAX_RESET = 600.0
"""Seconds; nobody keeps traffic away for longer than this by a header."""

_OPENAI, _ANTHROPIC = "x-ratelimit-", "anthropic-ratelimit-"
_BEGINNINGS = (_OPENAI, _ANTHROPIC)
_WORDS = ("limit", "remaining", "reset")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s|us|µs|ns))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNIX, _UNIX_MS = 1e9, 1e12


@dataclass(frozen=True, slots=True)
class Left:
    """`remaining` of `limit`, whole again in `reset` seconds; 0 where there is plenty."""

    kind: str
    limit: float
    remaining: float
    reset: float

    @property
    def part(self) -> float:
        """What is left of the limit, 0 to 1."""
        return min(1.0, self.remaining / self.limit)


def read(headers: Headers, wall: float) -> Sequence[Left]:
    """What is said and can be understood; empty for nearly all providers. `wall`: Unix time."""
    found: dict[str, dict[str, str]] = {}
    for name, value in headers:
        if name.startswith(_BEGINNINGS):
            word, kind = _split(name)
            if word in _WORDS and (kind in found or len(found) < MAX_KINDS):
                found.setdefault(kind, {}).setdefault(word, value)
    return [left for kind, said in found.items() if (left := _left(kind, said, wall)) is not None] if found else ()


def seconds(text: str, wall: float) -> float | None:
    """How long a reset is away, 0 to ten minutes; None where it cannot be read."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        away = number / 1000 - wall if number > _UNIX_MS else number - wall if number > _UNIX else number
    elif _DURATION.fullmatch(text):
        away = sum(float(size) * _SECONDS[unit] for size, unit in _PART.findall(text))
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        away = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - wall
    return min(MAX_RESET, max(0.0, away))


def _split(name: str) -> tuple[str, str]:
    """The word and the kind."""
    if name.startswith(_OPENAI):
        word, _, kind = name[len(_OPENAI) :].partition("-")
        return word, kind
    kind, _, word = name[len(_ANTHROPIC) :].rpartition("-")
    return word, kind


def _left(kind: str, said: dict[str, str], wall: float) -> Left | None:
    """A negative remainder says nothing, as a missing number: some providers send -1 where they do not count."""
    limit, remaining = _number(said.get("limit", "")), _number(said.get("remaining", ""))
    if limit is None or remaining is None or limit <= 0 or remaining < 0:
        return None
    if remaining >= PLENTY * limit:
        return Left(kind, limit, remaining, 0.0)
    reset = seconds(said["reset"], wall) if "reset" in said else None
    return Left(kind, limit, remaining, DEFAULT_RESET if reset is None else reset)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None
