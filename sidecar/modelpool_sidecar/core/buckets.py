"""Which bucket counts for one value of what divides a limit, in bounded memory.

Theory. A bucket that is whole again is the same as a new one, so it may be forgotten; one that is not whole may never
be: that would refill it. Where a limit has `EACH` values, or all of them together `ALL`, whole buckets are looked for
among the oldest and forgotten. Where none of those looked at is whole, values that have no bucket yet share one of the
same size, `REST`, until there is room: a flood of made-up values gets one value's allowance together, and touches
nobody who was there before.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice

from modelpool_sidecar.core.allowance import LimitKey
from modelpool_sidecar.core.gcra import Gcra, Shape

EACH = 65_536
ALL = 131_072
REST = "\0rest"
"""No header can hold a zero byte, so no value has this name."""
_LOOKS = 8
"""Buckets that one request looks at to make room: constant time, and more than it takes."""


class Buckets:
    """Every bucket of the process."""

    __slots__ = ("_all", "_count", "_each", "_tables")

    def __init__(self, each: int = EACH, most: int = ALL) -> None:
        self._tables: dict[LimitKey, OrderedDict[str, Gcra]] = {}
        self._count, self._each, self._all = 0, each, most

    def __repr__(self) -> str:
        return f"<Buckets: {self._count} of {len(self._tables)} limits>"

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LimitKey]:
        return iter(self._tables)

    def find(self, key: LimitKey, who: str, shape: Shape, now: float) -> tuple[str, Gcra]:
        """The bucket, a new one in this shape, and the name that it is kept under. It is kept only by `keep` (B3)."""
        table = self._tables.get(key)
        found = table.get(who) if table is not None else None
        if found is None:
            if who and table is not None and not self._has_room(table, now):
                who = REST
                found = table.get(REST)
            if found is None:
                return who, Gcra(shape)
        return who, found

    def keep(self, key: LimitKey, who: str, bucket: Gcra) -> Gcra:
        """It is used from now on."""
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = OrderedDict()
        found = table.get(who)
        if found is None:
            found = table[who] = bucket
            self._count += 1
        return found

    def holds(self, key: LimitKey, bucket: Gcra) -> bool:
        """Whether it is the kept one of a limit that is not divided; then it stays until the limit is forgotten."""
        table = self._tables.get(key)
        return table is not None and table.get("") is bucket

    def of(self, key: LimitKey) -> OrderedDict[str, Gcra]:
        """The kept ones of a limit, by what they are kept under, oldest first."""
        return self._tables.get(key) or OrderedDict()

    def forget(self, key: LimitKey) -> None:
        """The limit is gone."""
        self._count -= len(self._tables.pop(key, ()))

    def _has_room(self, table: OrderedDict[str, Gcra], now: float) -> bool:
        if len(table) < self._each:
            if self._count < self._all:
                return True
            table = max(self._tables.values(), key=len)
        for who in list(islice(table, _LOOKS)):
            bucket = table.pop(who)
            if who and bucket.whole(now):
                self._count -= 1
            else:
                table[who] = bucket  # looked at again when all others were
        return len(table) < self._each and self._count < self._all
