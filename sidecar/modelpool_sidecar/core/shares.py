"""How large a limit is in this sidecar (B13), and what a client hears of what is left of it.

A Divided limit is shared by all sidecars; max / n per second is max per n seconds: so an uneven division loses nothing.
"""

from collections.abc import Iterable

from modelpool_sidecar.core.allowance import LimitKey, RequestLimit
from modelpool_sidecar.core.gcra import Shape
from modelpool_sidecar.core.limits import Told


class Shares:
    """This sidecar's part of every limit. `sidecars`: how many share a Divided limit."""

    __slots__ = ("_parts", "_sidecars")

    def __init__(self, sidecars: int = 1) -> None:
        self._sidecars = max(1, sidecars)
        self._parts: dict[LimitKey, tuple[Shape, Shape]] = {}  # the whole of it, and this sidecar's part

    def __repr__(self) -> str:
        return f"<Shares of {self._sidecars} sidecars>"

    @property
    def sidecars(self) -> int:
        """How many divide what is Divided, this one included."""
        return self._sidecars

    @sidecars.setter
    def sidecars(self, count: int) -> None:
        self._sidecars = max(1, count)
        self._parts.clear()

    def most(self, limit: RequestLimit) -> int:
        """What a client is told of `max`: this sidecar's part of it."""
        return max(1, limit.max // self._sidecars) if limit.divided else limit.max

    def shape(self, limit: RequestLimit) -> Shape:
        """max, per, burst of its buckets here."""
        if not limit.divided:
            return limit.shape
        known = self._parts.get(limit.key)
        if known is None or known[0] is not limit.shape:
            whole, count = limit.shape, self._sidecars
            part = Shape(whole.maximum, whole.per * count, max(1, whole.burst // count))
            known = self._parts[limit.key] = whole, part
        return known[1]

    def forget(self, key: LimitKey) -> None:
        """The limit is gone."""
        self._parts.pop(key, None)

    def told(self, entries: Iterable[tuple[RequestLimit, Shape, int]]) -> tuple[Told, ...]:
        """What a client hears of buckets in these shapes of which so much is taken: the tightest of each unit."""
        best: dict[bool, tuple[int, float, RequestLimit]] = {}
        for limit, shape, level in entries:
            if limit.observe:
                continue
            left, kind = (shape.whole - level) // shape.per, limit.counts_tokens
            other = best.get(kind)
            if other is None or left < other[0] or (left == other[0] and level / shape.maximum > other[1]):
                best[kind] = left, level / shape.maximum, limit
        return tuple(
            [Told(self.most(limit), max(0, left), reset / 1e6, limit.unit) for left, reset, limit in best.values()]
        )
