"""Which figures a round has, and how rounds become one figure each."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Round = Mapping[str, float]
"""One contender's figures in one round, by the keys below. A key is absent where the figure has no meaning."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of the table. `better` says which way is good, for the reader of the JSON."""

    key: str
    title: tuple[str, str]
    width: int
    digits: int
    better: Literal["less", "more"]


FIGURES: tuple[Figure, ...] = (
    Figure("cpu_us_per_request", ("CPU us/", "request"), 9, 1, "less"),
    Figure("requests_per_second", ("requests/s", "c=64"), 12, 0, "more"),
    Figure("added_p50_us", ("added p50", "c=1, us"), 11, 0, "less"),
    Figure("first_chunk_p50_us", ("stream", "TTFB us"), 9, 0, "less"),
    Figure("chunk_p50_us", ("per chunk", "p50 us"), 11, 0, "less"),
    Figure("cpu_us_per_chunk", ("CPU us/", "chunk"), 9, 1, "less"),
    Figure("rss_idle_mb", ("MB", "idle"), 6, 0, "less"),
    Figure("rss_after_mb", ("MB", "after"), 7, 0, "less"),
    Figure("start_ms", ("start", "ms"), 7, 0, "less"),
)


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """The median of every key over the rounds that have it."""
    keys = sorted({key for one in rounds for key in one})
    return {key: statistics.median([one[key] for one in rounds if key in one]) for key in keys}


def spread(rounds: Sequence[Round]) -> dict[str, tuple[float, float]]:
    """The least and the greatest of every key."""
    keys = sorted({key for one in rounds for key in one})
    return {key: (min(values), max(values)) for key in keys if (values := [one[key] for one in rounds if key in one])}


def ratios(mine: Round, theirs: Round) -> dict[str, float]:
    """Mine as a multiple of theirs, for the figures of the table that both have and that are not nothing."""
    keys = [figure.key for figure in FIGURES]
    return {key: mine[key] / theirs[key] for key in keys if key in mine and theirs.get(key, 0.0) > 0}
