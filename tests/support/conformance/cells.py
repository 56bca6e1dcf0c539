"""The conformance table: runs its cells, many at once in one loop, and says of each what was seen and whether it holds.

`speech`: what is asked and answered, and how an SDK reads it. `provider`: raw scripted providers on loopback. `client`:
a raw HTTP client. `house`: one sidecar between them, and its books. `seen`: what an answer was, and whether that is
lawful. `rows`: what a fault is and how one is run; `rows_*`: the faults; `table`: all of them. `page`: what is written
of it into docs/conformance.md.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.certificates import contexts
from conformance.house import count_tasks, house
from conformance.rows import Row, WrongError, usual
from conformance.speech import WAYS, Way

AT_ONCE = 24
"""Cells: as many as two busy cores bear without a timeout of half a second being late."""
PATIENCE_SECONDS = 30.0
"""No cell takes longer, whatever hangs in it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`seen`: in the words of `seen`; `wrong`: why it does not hold."""

    row: Row
    way: Way
    seen: str
    wrong: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.row.group} / {self.row.name} / {self.way}: {self.seen}" + (
            f" - {self.wrong}" if self.wrong else ""
        )


def run(rows: Iterable[Row]) -> list[Cell]:
    """Every cell of these rows."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_run(list(rows), Path(folder)))


async def _run(rows: Sequence[Row], folder: Path) -> list[Cell]:
    count_tasks(asyncio.get_running_loop())
    tls = await asyncio.to_thread(contexts, folder) if any(row.tls for row in rows) else None
    places, loading = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(2)

    async def one(row: Row, way: Way) -> Cell:
        async with loading if row.padding else places:
            began = time.monotonic()
            seen, wrong = "", ""
            try:
                async with (
                    asyncio.timeout(PATIENCE_SECONDS),
                    house(row.pool, row.timeouts, tls if row.tls else None) as held,
                ):
                    found = await (row.play or usual)(held, way, row)
                    seen = found.words
                    wrong = found.wrong or "; ".join(await held.settled())
                    if not wrong and seen != row.expected(way):
                        wrong = f"expected: {row.expected(way)}"
            except WrongError as error:
                wrong = str(error)
            except TimeoutError:
                wrong = f"not over after {PATIENCE_SECONDS:g} s"
            except Exception as error:  # one cell's trouble is not another's
                wrong = f"{type(error).__name__}: {error}"
            return Cell(row, way, seen, wrong, time.monotonic() - began)

    cells = [(row, way) for row in rows for way in WAYS if row.expected(way) is not None]
    return await asyncio.gather(*(one(row, way) for row, way in cells))
