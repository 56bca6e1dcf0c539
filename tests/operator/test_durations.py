"""GEP-2257, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelpool_operator import durations


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0s", 0),
        ("0h0m0s", 0),
        ("250ms", 250),
        ("30s", 30_000),
        ("1h30m", 5_400_000),
        ("1h30m10s", 5_410_000),
        ("10s30m1h", 5_410_000),
        ("100ms200ms300ms", 600),
        ("150m", 9_000_000),
        ("99999h59m59s999ms", 99_999 * 3_600_000 + 3_599_999),
    ],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, milliseconds: int) -> None:
    assert durations.parse(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1.5h", "-5s", "+5s", "1d", "1us", "5 s", "5S", "100000s", "1s1s1s1s1s", "1s\n", "\uff11s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration like"):
        durations.parse(text)


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(0, "0s"), (250, "250ms"), (60_000, "1m"), (90_000, "1m30s"), (86_400_001, "24h1ms")]
)
def test_the_shortest_form_has_its_largest_unit_first(milliseconds: int, text: str) -> None:
    assert durations.render(milliseconds) == text


@pytest.mark.parametrize("milliseconds", [-1, 100_000 * 3_600_000])
def test_what_has_no_form_is_not_rendered(milliseconds: int) -> None:
    with pytest.raises(ValueError, match="must be between"):
        durations.render(milliseconds)


@given(st.integers(0, 99_999 * 3_600_000))
def test_what_is_rendered_reads_back(milliseconds: int) -> None:
    assert durations.parse(durations.render(milliseconds)) == milliseconds
