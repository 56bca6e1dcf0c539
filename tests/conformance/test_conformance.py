"""The conformance table: every fault, in every phase, holds from the client's and the provider's side, twice in a row.

The laws of B15 to B22, B25, B27 to B31, B34 to B37 and B42, in one place and on real sockets; docs/conformance.md is
what the run saw. One worker runs all cells in one loop; the tests look at what came of them.
"""

import warnings
from collections.abc import Sequence
from functools import cache

import pytest

from conformance.cells import Cell, run
from conformance.page import PAGE, refreshed
from conformance.speech import WAYS
from conformance.table import ROWS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("conformance")]

BATCHES = 4
"""Each mixes rows of all groups, so that there is always something to do while slow ones wait."""


@cache
def cells_of(batch: int, turn: int) -> Sequence[Cell]:
    """Of a part of the rows, in the first or in the second round; run when a test first asks for them."""
    cells = run(ROWS[batch::BATCHES])
    for cell in cells:
        if cell.before:
            warnings.warn(f"measured again, the machine stood still: {cell}: {cell.before}", stacklevel=2)
    return cells


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("turn", [1, 2])
def test_every_cell_holds(batch: int, turn: int) -> None:
    assert not [str(cell) for cell in cells_of(batch, turn) if cell.wrong]


@pytest.mark.parametrize("turn", [1, 2])
def test_the_page_is_what_the_run_saw(turn: int) -> None:
    """Otherwise: `.venv/bin/python tests/support/conformance_page.py`."""
    cells = [cell for batch in range(BATCHES) for cell in cells_of(batch, turn)]
    places = {id(row): place for place, row in enumerate(ROWS)}
    in_order = sorted(cells, key=lambda cell: (places[id(cell.row)], WAYS.index(cell.way)))
    written = PAGE.read_text(encoding="utf-8")
    assert refreshed(written, in_order) == written
