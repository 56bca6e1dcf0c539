"""Runs the conformance table and writes docs/conformance.md; with a pattern (`"cut*"`) it runs those rows alone.

.venv/bin/python tests/support/conformance_page.py [PATTERN]
"""

import sys
import time
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "sidecar"), str(ROOT / "tests" / "support")]

from conformance.cells import run  # noqa: E402 - the paths come first
from conformance.page import PAGE, refreshed  # noqa: E402
from conformance.table import ROWS  # noqa: E402


def main() -> int:
    """Says which cells do not hold."""
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    began = time.monotonic()
    cells = run(row for row in ROWS if fnmatch(row.name, pattern) or fnmatch(row.group, pattern))
    wrong = [cell for cell in cells if cell.wrong]
    for cell in cells if pattern != "*" else wrong:
        print(f"{cell.seconds:5.1f} s  {cell}")  # noqa: T201 - a command prints
    print(f"{len(cells)} cells, {len(wrong)} do not hold, {time.monotonic() - began:.0f} s")  # noqa: T201
    if pattern == "*" and not wrong:
        PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8"), cells), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
