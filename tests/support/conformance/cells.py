"""The conformance table: runs its cells, many at once in one loop, and says of each what was seen and whether it holds.

`speech`: what is asked and answered; `hearing`: how an SDK reads it. `provider`: raw scripted providers on loopback,
with a `door`, `wires`, and a `turn` for each request; `faults`: what they do wrong. `client`: a raw HTTP client.
`house`: one sidecar between them; `books`: what it still holds. `seen`: what an answer was, and whether that is lawful.
`rows`: how a fault is run; `rows_*`: the faults; `table`: all of them. `pace`: whether the machine bears it. `page`:
what is written of it into docs/conformance.md.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.certificates import contexts
from conformance.house import Contexts, count_tasks, house
from conformance.pace import Pace
from conformance.rows import Row, WrongError, usual
from conformance.speech import WAYS, Way

TURNS = 8
"""How often a cell that does not hold is measured again because the machine stood still. Once it did not hold, only
a measurement while the machine ran counts, whatever it says; or the last one."""
PATIENCE_SECONDS = 30.0
"""No cell takes longer, whatever hangs in it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`seen`: in the words of `seen`; `wrong`: why it does not hold; `seconds`: how long it took."""

    row: Row
    way: Way
    seen: str
    wrong: str = ""
    seconds: float = 0.0
    before: tuple[str, ...] = ()
    """Why it did not hold while the machine stood still; what counts was measured while it did not."""

    def __str__(self) -> str:
        return f"{self.row.group} / {self.row.name} / {self.way}: {self.seen}" + (
            f" - {self.wrong}" if self.wrong else ""
        )


def run(rows: Iterable[Row], pace: Callable[[], Pace] = Pace) -> list[Cell]:
    """Every cell of these rows. `pace`: who watches the machine, made in the loop."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_run(list(rows), Path(folder), pace))


async def _run(rows: Sequence[Row], folder: Path, watching: Callable[[], Pace]) -> list[Cell]:
    count_tasks(asyncio.get_running_loop())
    tls = await asyncio.to_thread(contexts, folder) if any(row.tls for row in rows) else None
    pace, loading = watching(), asyncio.Semaphore(2)

    async def one(row: Row, way: Way) -> Cell:
        before: list[str] = []
        while True:
            async with loading if row.padding or row.heavy else nullcontext(), pace.begun():
                began = asyncio.get_running_loop().time()
                cell = await asyncio.create_task(_measure(row, way, tls if row.tls else None))
                still = pace.stood_still(began)
            held = not cell.wrong and (not still or not before)
            if held or not still or len(before) == TURNS:
                return replace(cell, before=tuple(before))
            before.append(cell.wrong or "it held")
            await pace.calm()

    cells = [(row, way) for row in rows for way in WAYS if row.expected(way) is not None]
    try:
        return await asyncio.gather(*(one(row, way) for row, way in cells))
    finally:
        await pace.close()


async def _measure(row: Row, way: Way, tls: Contexts | None) -> Cell:
    began, seen, wrong = time.monotonic(), "", ""
    try:
        made = house(row.pool, row.timeouts, tls, prefill=row.prefill, pools=row.pools, health=row.health)
        async with asyncio.timeout(PATIENCE_SECONDS), made as held:
            if row.alike:
                held.backup.voice = "primary"
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
