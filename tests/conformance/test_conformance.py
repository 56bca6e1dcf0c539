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

GROUPS = list(dict.fromkeys(row.group for row in ROWS))


@cache
def cells_of(group: str, turn: int) -> Sequence[Cell]:
    """Of one group, in the first or in the second round; run when a test first asks for them."""
    return run(row for row in ROWS if row.group == group)


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("group", GROUPS)
def test_every_cell_of_the_group_holds(group: str, turn: int) -> None:
    assert not [str(cell) for cell in cells_of(group, turn) if cell.wrong]


def test_the_page_is_what_the_runs_saw() -> None:
    """Otherwise: `.venv/bin/python tests/support/conformance_page.py`."""
    written = PAGE.read_text(encoding="utf-8")
    for turn in (1, 2):
        assert refreshed(written, [cell for group in GROUPS for cell in cells_of(group, turn)]) == written
