"""The conformance table: every fault, in every phase, holds from the client's and the provider's side, twice in a row.

The laws of B15 to B22, B25, B27 to B31, B34 to B37 and B42, in one place and on real sockets; docs/conformance.md is
what the run saw. One worker runs all cells in one loop; the tests look at what came of them.
"""

from collections.abc import Sequence
from functools import cache

import pytest

from conformance.cells import Cell, run
from conformance.page import PAGE, refreshed
from conformance.table import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("conformance")]

LINES = list(dict.fromkeys((row.group, row.name) for row in ROWS))


@cache
def cells_of(turn: int) -> Sequence[Cell]:
    """Of the first or of the second round; run when the first test asks for them."""
    return run(ROWS)


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("line", LINES, ids=[f"{group}: {name}" for group, name in LINES])
def test_every_cell_of_the_line_holds(line: tuple[str, str], turn: int) -> None:
    cells = [cell for cell in cells_of(turn) if (cell.row.group, cell.row.name) == line]
    assert cells
    assert not [str(cell) for cell in cells if cell.wrong]


def test_the_page_is_what_the_run_saw() -> None:
    """Otherwise: `.venv/bin/python tests/support/conformance_page.py`."""
    written = PAGE.read_text(encoding="utf-8")
    assert refreshed(written, cells_of(1)) == written


def test_two_rounds_take_less_than_eight_minutes() -> None:
    assert sum(max(cell.seconds for cell in cells_of(turn)) for turn in (1, 2)) < 480
