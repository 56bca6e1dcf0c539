"""Retry-After in all its forms (B19)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_sidecar.core import retryafter

WALL = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "120"}, 0.12),
        ({"retry-after-ms": "120", "retry-after": "30"}, 0.12),
        ({"retry-after-ms": "soon", "retry-after": "30"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT", "date": "Fri, 15 Jan 2027 08:00:07 GMT"}, 3.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT", "date": "long ago"}, 10.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "100000"}, 600.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Fri, 99 Jan 99999 08:00:10 GMT"}, None),
    ],
)
def test_what_is_asked_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retryafter.parse(tuple(headers.items()), WALL) == seconds


@pytest.mark.parametrize(
    ("headers", "delay", "seconds"),
    [
        ({}, "34s", 34.0),
        ({}, "3.5s", 3.5),
        ({}, "-1s", 0.0),
        ({}, "86400s", 600.0),
        ({}, "soon", None),
        ({}, "s", None),
        ({}, "34", None),
        ({"retry-after": "2"}, "34s", 2.0),
        ({"retry-after": "soon"}, "34s", 34.0),
    ],
)
def test_a_delay_in_the_body_counts_where_no_header_says_one(
    headers: dict[str, str], delay: str, seconds: float | None
) -> None:
    assert retryafter.parse(tuple(headers.items()), WALL, delay) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000", ""])
def test_a_date_without_a_zone_is_utc_wherever_the_sidecar_runs(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read as the machine's own time: on a laptop in Tokyo half a minute was over nine hours ago."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        headers = {"retry-after": f"Fri, 15 Jan 2027 08:00:30 {zone}".strip(), "date": "Fri, 15 Jan 2027 08:00:00 GMT"}
        assert retryafter.parse(tuple(headers.items()), WALL) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_first_of_several_headers_counts() -> None:
    assert retryafter.parse((("retry-after", "3"), ("retry-after", "9"), ("x-other", "1")), WALL) == 3.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_nothing_that_a_provider_says_can_break_it_or_wait_too_long(value: str, date: str) -> None:
    seconds = retryafter.parse((("retry-after", value), ("date", date)), WALL)
    assert seconds is None or 0 <= seconds <= retryafter.MAX_HONOURED_SECONDS


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.1, "2"), (300.0, "60")])
def test_a_client_is_told_whole_seconds_and_never_more_than_a_minute(seconds: float, told: str) -> None:
    assert retryafter.sent(seconds) == told
