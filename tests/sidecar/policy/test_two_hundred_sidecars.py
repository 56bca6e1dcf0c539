"""200 sidecars that know nothing of each other at a provider that is too small for them (B19, B35 to B37)."""

from pathlib import Path
from typing import get_args

import pytest

import png
import simulation

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("waits", get_args(simulation.Waits))
def test_they_neither_wake_together_nor_overrun_it_and_clients_hardly_notice(
    waits: simulation.Waits, seed: int
) -> None:
    result = simulation.run(waits, seed)
    assert result.burst <= 3.0
    assert result.lent <= 1.0, "its fullest moment is the clients' own"
    assert result.load <= 1.2
    assert result.goodput >= 0.9
    assert result.use >= 0.8


def test_the_page_shows_what_the_script_says() -> None:
    text = (DOCS / "fallback.md").read_text(encoding="utf-8")
    for waits in get_args(simulation.Waits):
        assert simulation.row(waits) in text
    assert png.source(simulation.PAGE.read_bytes()) == png.digest(simulation.picture())
    assert png.source(b"GIF89a") is None
