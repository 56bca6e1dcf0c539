"""How many tokens an answer cost, as the provider counted them, under whatever names it gives them."""

from collections.abc import Iterable
from typing import Any

from modelpool_sidecar.core.record import Usage

NO_USAGE = Usage()
MOST = 100_000_000
"""Ten times the largest context there is. What says more is a slip - 4294967295 is a -1 - and believing it would keep a
limit on tokens closed for years (B10)."""

# Usage's field -> where OpenAI Chat, OpenAI Responses and their relatives write it, the first that is there counts.
_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "input_tokens": (("prompt_tokens",), ("input_tokens",)),
    "output_tokens": (("completion_tokens",), ("output_tokens",)),
    "cached_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),
    ),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ),
}


def read(usage: Any) -> Usage:
    """The usage of a decoded `usage` member; what is absent, negative, beyond `MOST` or no whole number is None."""
    if not isinstance(usage, dict):
        return NO_USAGE
    return Usage(**{field: _first(usage, paths) for field, paths in _NAMES.items()})


def total(told: Iterable[Usage]) -> Usage:
    """Of several attempts together, as far as they told."""
    sums: dict[str, int] = {}
    for each in told:
        for name in _NAMES:
            tokens = getattr(each, name)
            if tokens is not None:
                sums[name] = sums.get(name, 0) + tokens
    return Usage(**sums)


def _first(usage: dict[str, Any], paths: tuple[tuple[str, ...], ...]) -> int | None:
    for path in paths:
        value: Any = usage
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
            return value
    return None
