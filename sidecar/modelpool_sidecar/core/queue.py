"""Who waits for a place in a pool, whose turn it is when one is free, and when one will be (B8, B9, B15).

Theory of Line: everybody stands in the row of their key, and the rows take turns. Within a row the first who came is
the first who goes; a row that has had its turn goes to the end, and a new row starts there. So whoever is alone in a
row waits for at most one request of each other row, however many stand in those.
"""

from collections import OrderedDict
from dataclasses import dataclass

from modelpool_sidecar.core.allowance import Asker, RequestLimit, who
from modelpool_sidecar.core.limits import Held, InFlight, Returnable


@dataclass(frozen=True, slots=True)
class Queue:
    """So many may wait, each for so many seconds."""

    max: int
    timeout: float


class Waiting:
    """One request in the line. `grip`, `own`: what it took from limits and of its caller's cap, to be given back where
    it gets no place."""

    __slots__ = ("grip", "key", "own", "since")

    def __init__(self, key: str, since: float, grip: Returnable, own: Held | None = None) -> None:
        self.key, self.since, self.grip, self.own = key, since, grip, own

    def __repr__(self) -> str:
        return f"<Waiting since {self.since:g}>"


class Line:
    """Those who wait, in rows by key. Every step takes the same time, however many wait."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, OrderedDict[Waiting, None]] = OrderedDict()
        self._count = 0

    def __repr__(self) -> str:
        return f"<Line: {self._count} in {len(self._rows)} rows>"

    def __len__(self) -> int:
        return self._count

    def join(self, waiting: Waiting) -> None:
        """At the end of its row."""
        self._rows.setdefault(waiting.key, OrderedDict())[waiting] = None
        self._count += 1

    def leave(self, waiting: Waiting) -> bool:
        """Without a place; whether it still stood in the line. Twice is fine."""
        row = self._rows.get(waiting.key)
        if row is None or waiting not in row:
            return False
        del row[waiting]
        self._count -= 1
        if not row:
            del self._rows[waiting.key]
        return True

    def next(self) -> Waiting | None:
        """Whose turn it is: it leaves the line."""
        if not self._rows:
            return None
        key, row = next(iter(self._rows.items()))
        waiting, _ = row.popitem(last=False)
        self._count -= 1
        if row:
            self._rows.move_to_end(key)
        else:
            del self._rows[key]
        return waiting


class Places(InFlight):
    """The places of one pool: how many are taken, who waits for one, how long one is held."""

    __slots__ = ("line",)

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()

    def free(self, places: int | None) -> bool:
        """Whether there is one for who comes now: who waits has come before."""
        return places is None or (self.count < places and not self.line)


def row(limits: tuple[RequestLimit, ...], asker: Asker) -> str:
    """Whose row: the caller's, else that of the value of the pool's first limit by Header, else the one of all."""
    if asker.caller is not None:
        return asker.caller
    by = next((limit for limit in limits if limit.by == "Header"), None)
    return "" if by is None else who(by, asker)


def patience(queue: Queue, total: float, read_timeout: float | None, waited: float = 0.0) -> float:
    """Seconds that a request may wait: never beyond its own deadline, nor the client's (B15). `waited`: elsewhere."""
    return min(queue.timeout, max(0.0, min(total, total if read_timeout is None else read_timeout) - waited))
