"""docs/conformance.md: its tables, made from what the cells have seen; what stands before them is written by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from conformance.cells import Cell
from conformance.rows import MORE, Row

PAGE = Path(__file__).parents[3] / "docs" / "conformance.md"
BEGIN = "<!-- written by the test run -->\n"


def refreshed(page: str, cells: Sequence[Cell]) -> str:
    """The page with the tables of these cells."""
    top, _, _ = page.partition(BEGIN)
    return top + BEGIN + tables(cells)


def tables(cells: Sequence[Cell]) -> str:
    """One for each group of faults."""
    lines = {(cell.row.group, cell.row.name) for cell in cells}
    parts = [f"\n{len(cells)} cells in {len(lines)} lines.\n"]
    for group in dict.fromkeys(cell.row.group for cell in cells):
        parts.append(f"\n## {group}\n\n| fault | not a stream | a stream | then | more |\n|---|---|---|---|---|\n")
        here = [cell for cell in cells if cell.row.group == group]
        names = dict.fromkeys(cell.row.name for cell in here)
        parts.extend(_line(name, [cell for cell in here if cell.row.name == name]) for name in names)
    return "".join(parts)


def _line(name: str, cells: Sequence[Cell]) -> str:
    whole = _cell(cell for cell in cells if not cell.way.stream)
    stream = _cell(cell for cell in cells if cell.way.stream)
    rows = list(dict.fromkeys((_then(cell.row), _more(cell.row)) for cell in cells))
    then, more = (" or ".join(dict.fromkeys(column)) for column in zip(*rows, strict=True))
    return f"| {name} | {whole} | {stream} | {then} | {more} |\n"


def _cell(cells: Iterable[Cell]) -> str:
    seen: dict[str, list[str]] = {}
    for cell in cells:
        seen.setdefault(cell.seen.replace("|", "\\|"), []).append(cell.way.operation)
    if len(seen) < 2:
        return next(iter(seen), "-")
    return "; ".join(f"{', '.join(operations)}: {words}" for words, operations in seen.items())


def _then(row: Row) -> str:
    return "-" if row.play is not None or row.backup is not None or not row.lasting else row.then


def _more(row: Row) -> str:
    return "-" if row.play is not None or row.backup is not None or row.more != MORE else f"{row.bound}"
