"""How long an answer asks us to wait: Retry-After in all its forms, in seconds (B19).

`retry-after-ms` wins over `retry-after`; the latter is seconds (RFC 9110, 10.2.3; fractions occur) or an HTTP date,
which is measured against the answer's own Date so that two clocks need not agree. Google's APIs send no such header but
a `google.rpc.RetryInfo` in the error's details. The past means now, garbage means
that nothing was asked, and nobody makes us wait for more than ten minutes.
"""

import math
from datetime import UTC
from email.utils import parsedate_to_datetime

from modelpool_sidecar.core.refusal import MAX_RETRY_AFTER_SENT

MAX_HONOURED_SECONDS = 600.0

Headers = tuple[tuple[str, str], ...]


def parse(headers: Headers, wall: float, delay: str | None = None) -> float | None:
    """Seconds to wait, 0 to 600; None where nothing readable is said. `wall`: Unix time, used where Date is absent.

    `delay`: what the body says where the headers say nothing, a duration of protobuf's JSON form (`3.5s`).
    """
    first: dict[str, str] = {}
    for name, value in headers:
        if name in ("retry-after-ms", "retry-after", "date"):
            first.setdefault(name, value.strip())
    seconds = _number(first.get("retry-after-ms"), 1000)
    if seconds is None:
        seconds = _number(first.get("retry-after"), 1)
    if seconds is None:
        until, base = _date(first.get("retry-after")), _date(first.get("date"))
        if until is not None:
            seconds = until - (wall if base is None else base)
    if seconds is None and delay is not None and delay.endswith("s"):
        seconds = _number(delay[:-1], 1)
    return None if seconds is None else min(MAX_HONOURED_SECONDS, max(0.0, seconds))


def sent(seconds: float) -> str:
    """The header's value that a client may be told: whole seconds, 1 to 60."""
    return str(min(MAX_RETRY_AFTER_SENT, max(1, math.ceil(seconds))))


def _number(text: str | None, unit: int) -> float | None:
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number / unit if math.isfinite(number) else None


def _date(text: str | None) -> float | None:
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        # RFC 5322 writes -0000 for UTC without a word on where; Python would take it for this machine's own time.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
