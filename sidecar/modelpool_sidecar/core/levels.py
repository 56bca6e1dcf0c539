"""Which limits stand in a request's way, and what one that passes takes of them: all of them or none (B8, B9).

The levels are taken in two steps. At admission `State.admit` takes the caller's and then the pool's, in one `find`. For
each attempt the walk (`dispatch`) asks for `Target.limits`, the target's own and then its provider's: a closed one is
passed over like any other target that is not available, and what an attempt took is given back where it reached no
provider. What was taken further up is given back by the permit when the whole request reached nobody.

A new kind of limit plugs in where these two look and take: it adds to `Found.refusal` what it would refuse, to
`Found.take` what it takes, and to `Grip.give_back` how that is undone; `Grip.settle` is told what was really used.
Looking never consumes (B3); between `refusal` and `take` nothing may be awaited.
"""

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from modelpool_sidecar.core.allowance import NOBODY, Asker, LimitKey, RequestLimit, TokenLimit, Tokens, who
from modelpool_sidecar.core.buckets import Buckets
from modelpool_sidecar.core.gcra import Gcra, Hold, Shape, micros
from modelpool_sidecar.core.limits import Limited, Told

_SHOWN = 1024
"""Values of a divided limit that a person's look at the state goes through."""
ROWS = 4096
"""Sets of limits that are met together and whose buckets are remembered."""

Row = list[tuple[RequestLimit, str, Gcra]]
"""The limits that are met together, each with its bucket and the name of that."""


Taken = tuple[RequestLimit, str, Hold]
"""From one bucket, and under which name that is kept."""


class Grip:
    """What one request or attempt took; who has one ends it with `give_back` or `close`.

    `observed`: the limits in mode Observe that would have refused it.
    """

    __slots__ = ("_levels", "_more", "_open", "_settled", "_taken", "observed")

    def __init__(self, levels: "Levels", taken: list[Taken], observed: tuple[str, ...] = ()) -> None:
        self._levels, self._taken, self.observed = levels, taken, observed
        self._more: tuple[Hold, ...] = ()
        self._open, self._settled = bool(taken), False

    def __repr__(self) -> str:
        return f"<Grip on {len(self._taken)} limits>"

    @property
    def told(self) -> tuple[Told, ...]:
        """Of the tightest limits that refuse at all, one of each unit, as they were right after it was taken."""
        if not self._taken:
            return ()
        return self._levels.tell([(limit, hold.shape, hold.level) for limit, _, hold in self._taken])

    def settle(self, tokens: Tokens, now: float) -> None:
        """It is over: what counts tokens counts the real ones. What is more than was reserved is taken now. Once."""
        if not self._open or self._settled:
            return
        self._settled = True
        for limit, name, hold in self._taken:
            if isinstance(limit, TokenLimit) and (more := hold.settle(limit.settled(tokens), now)):
                # Its bucket may have been whole, and forgotten, while the answer went on.
                bucket = self._levels.buckets.keep(limit.key, name, hold.bucket)
                self._more = (*self._more, bucket.take(now, more))

    def give_back(self, now: float) -> None:
        """Nothing reached a provider: it is as if it had not been. Twice is fine (B10, B11)."""
        if self._open:
            for hold in self._holds():
                hold.settle(0, now)
            self.close()

    def close(self) -> None:
        """It stays taken. Twice is fine."""
        if self._open:
            self._open = False
            for hold in self._holds():
                hold.close()

    def _holds(self) -> list[Hold]:
        return [hold for _, _, hold in self._taken] + list(self._more)


class Found:
    """The limits that one request meets, each with the bucket that counts for it, at one moment."""

    __slots__ = ("_entries", "_levels", "_now", "_shut")

    def __init__(
        self, levels: "Levels", limits: Sequence[RequestLimit], asker: Asker, now: float, tokens: Tokens
    ) -> None:
        """Each entry: the limit, its bucket with its name, how many are asked for, by how much that is too many."""
        self._levels, self._now, self._shut = levels, now, False
        self._entries: list[tuple[RequestLimit, str, Gcra, int, float]] = []
        moment = micros(now)
        for limit, name, bucket in levels.row(limits, asker, now):
            amount, over = 1, 0.0
            if isinstance(limit, TokenLimit):
                amount = limit.amount(tokens, bucket.burst)
                if amount > bucket.burst and limit.too_large(tokens):
                    over = math.inf
            level = bucket.due - moment * bucket.maximum
            if level > 0 and not over:
                over = level - (bucket.burst - amount if amount < bucket.burst else 0) * bucket.per
            if over > 0:
                self._shut = True
            self._entries.append((limit, name, bucket, amount, over))

    def refusal(self) -> Limited | None:
        """The refusal that lasts longest: only after it would every limit be open."""
        if not self._shut:
            return None
        longest, worst = 0.0, None
        for limit, _, bucket, amount, over in self._entries:
            wait = math.inf if over == math.inf else bucket.seconds(int(over))
            if wait > longest and not limit.observe:
                longest, worst = wait, self._refused(limit, bucket, amount, wait)
        return worst

    def told(self) -> tuple[Told, ...]:
        """Of the tightest limits that refuse at all, one of each unit."""
        entries = ((limit, bucket.shape, bucket.level(self._now)) for limit, _, bucket, _, _ in self._entries)
        return self._levels.tell(entries)

    def take(self) -> Grip:
        """What is asked for from each: `refusal` was None. A limit that only observes gives what it has."""
        if not self._entries:
            return NOTHING
        taken: list[Taken] = []
        observed: list[str] = []
        buckets, now = self._levels.buckets, self._now
        moment = micros(now)
        for limit, name, bucket, amount, over in self._entries:
            if over > 0:
                observed.append(f"{limit.level}/{limit.name}")
                self._levels.observed(limit)
                continue
            taken.append((limit, name, Hold(buckets.keep(limit.key, name, bucket), amount, moment)))
        return Grip(self._levels, taken, tuple(observed))

    def _refused(self, limit: RequestLimit, bucket: Gcra, amount: int, wait: float) -> Limited:
        told = self._levels.tell(((limit, bucket.shape, bucket.level(self._now)),))
        never = wait == math.inf
        most = limit.burst if never else self._levels.share(limit)
        return Limited(
            limit.name,
            wait,
            most,
            limit.unit,
            told,
            limit.level,
            limit.header,
            amount,
            never,
            limit.is_own,
            owner=limit.key[1],
        )


class Levels:
    """The buckets of all levels. `sidecars`: how many share a Divided limit (B13); may be set at any time."""

    def __init__(self, sidecars: int = 1) -> None:
        self._sidecars = max(1, sidecars)
        self.buckets = Buckets()
        self._observed: dict[LimitKey, int] = {}
        self._rows: dict[int, tuple[Sequence[RequestLimit], Row]] = {}  # by the identity of the limits
        self._shares: dict[LimitKey, tuple[Shape, Shape]] = {}  # the whole of it, and this sidecar's part

    def __repr__(self) -> str:
        return f"<Levels: {self.buckets}>"

    @property
    def sidecars(self) -> int:
        """How many divide what is Divided, this one included."""
        return self._sidecars

    @sidecars.setter
    def sidecars(self, count: int) -> None:
        self._sidecars = max(1, count)
        self._shares.clear()
        self._rows.clear()

    def find(self, limits: Sequence[RequestLimit], asker: Asker, now: float, tokens: Tokens | None = None) -> Found:
        """What a request meets. Looking takes nothing (B3). `tokens`: where they are not the asker's."""
        return Found(self, limits, asker, now, asker.tokens if tokens is None else tokens)

    def row(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> Row:
        """The buckets that count for this asker, in the shape that is in force, and their names."""
        known = self._rows.get(id(limits))
        if known is not None:
            return known[1]
        row, same = [], True
        for limit in limits:
            shape = self._shape(limit) if limit.divided else limit.shape
            name, bucket = self.buckets.find(limit.key, "" if limit.by == "Pool" else who(limit, asker), shape, now)
            if bucket.shape is not shape:
                bucket.resize(shape, now)
                self._rows.clear()  # the same bucket in another shape; who still asks by that one changes it back
            if same:
                same = limit.by == "Pool" and self.buckets.holds(limit.key, bucket)
            row.append((limit, name, bucket))
        if same and limits:
            if len(self._rows) >= ROWS:
                self._rows.clear()
            self._rows[id(limits)] = limits, row
        return row

    def closed(self, limits: Sequence[RequestLimit], asker: Asker, now: float, tokens: Tokens) -> Limited | None:
        """The refusal of `find`, for one who only looks: cheap where nothing is reached."""
        moment = micros(now)
        for limit, _, bucket in self.row(limits, asker, now):
            amount = limit.amount(tokens, bucket.burst) if isinstance(limit, TokenLimit) else 1
            level = bucket.due - moment * bucket.maximum
            if (max(0, level)) > (bucket.burst - amount) * bucket.per and not limit.observe:
                return self.find(limits, asker, now, tokens).refusal()
        return None

    def opens_in(self, limits: Sequence[RequestLimit], now: float) -> float:
        """Seconds until one more would pass those of the limits that all share; 0 = now. Looking takes nothing."""
        if not limits:
            return 0.0
        shared = [row for row in self.row(limits, NOBODY, now) if row[0].by == "Pool" and not row[0].observe]
        return max((bucket.wait(now) for _, _, bucket in shared), default=0.0)

    def used(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> float:
        """The part that is used of the limit of which most is; 0 where there is none. Looking takes nothing (B3)."""
        most, moment = 0.0, micros(now)
        for limit, _, bucket in self.row(limits, asker, now):
            level = bucket.due - moment * bucket.maximum
            if level > 0 and not limit.observe and (part := level / (bucket.burst * bucket.per)) > most:
                most = part
        return most

    def tell(self, entries: Iterable[tuple[RequestLimit, Shape, int]]) -> tuple[Told, ...]:
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
            [Told(self.share(limit), max(0, left), reset / 1e6, limit.unit) for left, reset, limit in best.values()]
        )

    def observed(self, limit: RequestLimit) -> None:
        """It would have refused one more."""
        self._observed[limit.key] = self._observed.get(limit.key, 0) + 1

    def retain(self, keep: AbstractSet[LimitKey], spared: AbstractSet[str]) -> list[LimitKey]:
        """Forget what is not in `keep`, but for the limits of pools that are closed for the moment (B48)."""
        self._rows.clear()
        gone = [key for key in {**self._observed, **dict.fromkeys(self.buckets)} if key not in keep]
        gone = [key for key in gone if not (spared if key[0] == "provider" else key[1].split("/")[0] in spared)]
        for key in gone:
            self._observed.pop(key, None)
            self._shares.pop(key, None)
            self.buckets.forget(key)
        return gone

    def describe(self, limit: RequestLimit, now: float) -> dict[str, Any]:
        """For `/-/state`. Of a divided limit: how many values have a bucket, and what the tightest of some has left."""
        kept = self.buckets.of(limit.key)
        looked = list(islice((kept[name] for name in reversed(kept)), _SHOWN)) or [Gcra(self._shape(limit))]
        bucket = min(looked, key=lambda each: each.remaining(now))
        return {
            "name": limit.name,
            "level": limit.level,
            "count": limit.count if isinstance(limit, TokenLimit) else None,
            "max": self.share(limit),
            "per": limit.per,
            "burst": self._shape(limit).burst,
            "remaining": bucket.remaining(now),
            "reset": round(bucket.reset(now), 3),
            "by": None if limit.by == "Pool" else limit.header or limit.by,
            "values": None if limit.by == "Pool" else len(kept),
            "mode": "Observe" if limit.observe else None,
            "observed": self._observed.get(limit.key, 0) if limit.observe else None,
        }

    def share(self, limit: RequestLimit) -> int:
        """What a client is told of `max`: this sidecar's part of it."""
        return max(1, limit.max // self.sidecars) if limit.divided else limit.max

    def _shape(self, limit: RequestLimit) -> Shape:
        """max, per, burst. max / n per second is max per n seconds: so an uneven division loses nothing."""
        if not limit.divided:
            return limit.shape
        known = self._shares.get(limit.key)
        if known is None or known[0] is not limit.shape:
            whole, count = limit.shape, self._sidecars
            part = Shape(whole.maximum, whole.per * count, max(1, whole.burst // count))
            known = self._shares[limit.key] = whole, part
        return known[1]


NOTHING = Grip(Levels(), [])
