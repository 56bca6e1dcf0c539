"""What a field comes to: as it was written, or the default where it is not set. Times are milliseconds."""

from typing import TypeVar

from modelpool_operator import durations

T = TypeVar("T")


def either(value: T | None, default: T) -> T:
    """For values that may be empty or 0."""
    return default if value is None else value


def time(text: str | None, default: int) -> int:
    """Of a duration that has a default."""
    return default if text is None else durations.parse(text)


def time_or_none(text: str | None) -> int | None:
    """Of a duration that is none where it is not set."""
    return None if text is None else durations.parse(text)


def rising(first: str | None, first_default: int, most: str | None, most_default: int) -> tuple[int, int]:
    """A start and its cap; the default of the one that is not set gives way to the one that is."""
    start, cap = time(first, first_default), time(most, most_default)
    if most is None:
        return start, max(start, cap)
    return min(start, cap), cap
