"""Which buckets count for a request at each level, and what is left of them (B8, B9).

The levels are taken in two steps. At admission `State.admit` takes the caller's and then the pool's, in one `find`. For
each attempt the walk (`dispatch`) asks for `Target.limits`, the target's own and then its provider's: a closed one is
passed over like any other target that is not available, and what an attempt took is given back where it reached no
provider. What was taken further up is given back by the permit when the whole request reached nobody.

Where all ask by the same buckets, the row of them is remembered; where a limit is divided by something, the rest is.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from modelpool_sidecar.core.allowance import NOBODY, Asker, LimitKey, RequestLimit, TokenLimit, Tokens, who
from modelpool_sidecar.core.gcra import Gcra, micros
from modelpool_sidecar.core.grip import Books, Found, Met, Row, amount
from modelpool_sidecar.core.limits import Limited

_SHOWN = 1024
"""Values of a divided limit that a person's look at the state goes through."""
ROWS = 4096
"""Sets of limits that are met together and whose buckets are remembered."""


class Levels:
    """The buckets of all levels. `sidecars`: how many share a Divided limit (B13); may be set at any time."""

    def __init__(self, sidecars: int = 1) -> None:
        self._books = Books(sidecars)
        self.buckets, self._shares = self._books.buckets, self._books.shares
        self._rows: dict[int, tuple[Sequence[RequestLimit], list[Met], tuple[int, ...]]] = {}
        """By the identity of the limits: the row, and the places in it that depend on who asks."""

    def __repr__(self) -> str:
        return f"<Levels: {self.buckets}>"

    @property
    def sidecars(self) -> int:
        """How many divide what is Divided, this one included."""
        return self._shares.sidecars

    @sidecars.setter
    def sidecars(self, count: int) -> None:
        self._shares.sidecars = count
        self._rows.clear()

    def find(self, limits: Sequence[RequestLimit], asker: Asker, now: float, tokens: Tokens | None = None) -> Found:
        """What a request meets. Looking takes nothing (B3). `tokens`: where they are not the asker's."""
        row = self.row(limits, asker, now) if limits else ()
        return Found(self._books, row, micros(now), asker.tokens if tokens is None else tokens)

    def row(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> Row:
        """The buckets that count for this asker, in the shape that is in force, and their names."""
        known = self._rows.get(id(limits))
        if known is not None:
            _, row, divided = known
            if divided:
                row = row.copy()
                for place in divided:
                    row[place] = self._met(limits[place], asker, now)
            return row
        row = [self._met(limit, asker, now) for limit in limits]
        divided = tuple(place for place, met in enumerate(row) if not met[4])
        if all(limits[place].by != "Pool" for place in divided):
            if len(self._rows) >= ROWS:
                self._rows.clear()
            self._rows[id(limits)] = limits, row, divided
        return row

    def _met(self, limit: RequestLimit, asker: Asker, now: float) -> Met:
        shape = self._shares.shape(limit) if limit.divided else limit.shape
        name = "" if limit.by == "Pool" else who(limit, asker)
        name, bucket = self.buckets.find(limit.key, name, shape, now)
        if bucket.shape is not shape:
            bucket.resize(shape, now)
            self._rows.clear()  # the same bucket in another shape; who still asks by that one changes it back
        shared = limit.by == "Pool" and self.buckets.holds(limit.key, bucket)
        return limit, name, bucket, limit.counted, shared

    def closed(self, limits: Sequence[RequestLimit], asker: Asker, now: float, tokens: Tokens) -> Limited | None:
        """The refusal of `find`, for one who only looks: cheap where nothing is reached."""
        moment, asked = micros(now), tokens.amounts
        for limit, _, bucket, counted, _ in self.row(limits, asker, now):
            count, level = asked[counted], bucket.due - moment * bucket.maximum
            if count > bucket.burst:
                count = amount(limit, bucket.burst, tokens)[0]
            if (max(0, level)) > (bucket.burst - count) * bucket.per and not limit.observe:
                return self.find(limits, asker, now, tokens).refusal()
        return None

    def opens_in(self, limits: Sequence[RequestLimit], now: float) -> float:
        """Seconds until one more would pass those of the limits that all share; 0 = now. Looking takes nothing."""
        if not limits:
            return 0.0
        shared = [met for met in self.row(limits, NOBODY, now) if met[0].by == "Pool" and not met[0].observe]
        return max((met[2].wait(now) for met in shared), default=0.0)

    def used(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> float:
        """The part that is used of the limit of which most is; 0 where there is none. Looking takes nothing (B3)."""
        most, moment = 0.0, micros(now)
        for limit, _, bucket, _, _ in self.row(limits, asker, now):
            level = bucket.due - moment * bucket.maximum
            if level > 0 and not limit.observe and (part := level / (bucket.burst * bucket.per)) > most:
                most = part
        return most

    def retain(self, keep: AbstractSet[LimitKey], spared: AbstractSet[str]) -> list[LimitKey]:
        """Forget what is not in `keep`, but for the limits of pools that are closed for the moment (B48)."""
        self._rows.clear()
        observed = self._books.observed
        gone = [key for key in {**observed, **dict.fromkeys(self.buckets)} if key not in keep]
        gone = [key for key in gone if not (spared if key[0] == "provider" else key[1].split("/")[0] in spared)]
        for key in gone:
            observed.pop(key, None)
            self._shares.forget(key)
            self.buckets.forget(key)
        return gone

    def describe(self, limit: RequestLimit, now: float) -> dict[str, Any]:
        """For `/-/state`. Of a divided limit: how many values have a bucket, and what the tightest of some has left."""
        kept, shape = self.buckets.of(limit.key), self._shares.shape(limit)
        looked = list(islice((kept[name] for name in reversed(kept)), _SHOWN)) or [Gcra(shape)]
        bucket = min(looked, key=lambda each: each.remaining(now))
        return {
            "name": limit.name,
            "level": limit.level,
            "count": limit.count if isinstance(limit, TokenLimit) else None,
            "max": self._shares.most(limit),
            "per": limit.per,
            "burst": shape.burst,
            "remaining": bucket.remaining(now),
            "reset": round(bucket.reset(now), 3),
            "by": None if limit.by == "Pool" else limit.header or limit.by,
            "values": None if limit.by == "Pool" else len(kept),
            "mode": "Observe" if limit.observe else None,
            "observed": self._books.observed.get(limit.key, 0) if limit.observe else None,
        }
