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
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Any

from modelpool_sidecar.core.allowance import Asker, LimitKey, RequestLimit, TokenLimit, Tokens, who
from modelpool_sidecar.core.buckets import Buckets, Shape
from modelpool_sidecar.core.limits import Gcra, Limited, Told, tightest

_SHOWN = 1024
"""Values of a divided limit that a person's look at the state goes through."""


@dataclass(slots=True)
class Taken:
    """From one bucket: how many, and when they would have drained away."""

    limit: RequestLimit
    name: str
    bucket: Gcra
    amount: int
    drained: float


class Grip:
    """What one request or attempt took. `observed`: the limits in mode Observe that would have refused it."""

    __slots__ = ("_buckets", "_taken", "observed", "told")

    def __init__(
        self, buckets: Buckets, taken: Sequence[Taken], told: tuple[Told, ...] = (), observed: tuple[str, ...] = ()
    ) -> None:
        self._buckets, self._taken, self.told, self.observed = buckets, taken, told, observed

    def __repr__(self) -> str:
        return f"<Grip on {len(self._taken)} limits>"

    def settle(self, tokens: Tokens, now: float) -> None:
        """It is over: what counts tokens counts the real ones from now on. More than was reserved is taken, too."""
        for each in self._taken:
            used = each.limit.settled(tokens)
            if used is None:
                continue
            if used > each.amount:  # its bucket may have been whole, and forgotten, while the answer went on
                self._buckets.keep(each.limit.key, each.name, each.bucket).take(now, used - each.amount)
            else:
                each.bucket.give_back(now, each.amount - used, each.drained)
            each.amount, each.drained = used, each.bucket.drained(now)

    def give_back(self, now: float) -> None:
        """Nothing reached a provider: it is as if it had not been. Twice is fine (B10, B11)."""
        taken, self._taken = self._taken, ()
        for each in taken:
            each.bucket.give_back(now, each.amount)


class Found:
    """The limits that one request meets, each with the bucket that counts for it, at one moment."""

    __slots__ = ("_entries", "_levels", "_now")

    def __init__(self, levels: "Levels", limits: Sequence[RequestLimit], asker: Asker, now: float) -> None:
        self._levels, self._now = levels, now
        self._entries = [self._entry(limit, asker) for limit in limits]

    def _entry(self, limit: RequestLimit, asker: Asker) -> tuple[RequestLimit, str, Gcra, int, float]:
        """With how many it is asked for, and how long that has to wait: for ever where it is too many."""
        name, bucket = self._levels.bucket(limit, asker, self._now)
        amount = limit.amount(asker.tokens, bucket.burst)
        wait = math.inf if limit.too_large(asker.tokens) else bucket.wait(self._now, min(amount, bucket.burst))
        return limit, name, bucket, amount, wait

    def refusal(self) -> Limited | None:
        """The refusal that lasts longest: only after it would every limit be open."""
        longest, worst = 0.0, None
        for limit, _, bucket, amount, wait in self._entries:
            if wait > longest and not limit.observe:
                longest, worst = wait, self._refused(limit, bucket, amount, wait)
        return worst

    def told(self) -> tuple[Told, ...]:
        """Of the tightest limits that refuse at all, one of each unit."""
        return tightest(self._tell(limit, bucket) for limit, _, bucket, _, _ in self._entries if not limit.observe)

    def take(self) -> Grip:
        """What is asked for from each: `refusal` was None. A limit that only observes gives what it has."""
        if not self._entries:
            return NOTHING
        taken, observed = [], []
        for limit, name, bucket, amount, wait in self._entries:
            if limit.observe and wait > 0:
                observed.append(f"{limit.level}/{limit.name}")
                self._levels.observed(limit)
                continue
            kept = self._levels.buckets.keep(limit.key, name, bucket)
            kept.take(self._now, amount)
            taken.append(Taken(limit, name, kept, amount, kept.drained(self._now)))
        return Grip(self._levels.buckets, taken, self.told(), tuple(observed))

    def _refused(self, limit: RequestLimit, bucket: Gcra, amount: int, wait: float) -> Limited:
        told = self._tell(limit, bucket)
        never = wait == math.inf
        most = limit.burst if never else told.max
        return Limited(
            limit.name,
            wait,
            most,
            limit.unit,
            (told,),
            limit.level,
            limit.header,
            amount,
            never,
            limit.is_own,
            owner=limit.key[1],
        )

    def _tell(self, limit: RequestLimit, bucket: Gcra) -> Told:
        return Told(self._levels.share(limit), bucket.remaining(self._now), bucket.reset(self._now), limit.unit)


class Levels:
    """The buckets of all levels. `sidecars`: how many share a Divided limit (B13); may be set at any time."""

    def __init__(self, sidecars: int = 1) -> None:
        self.sidecars = max(1, sidecars)
        self.buckets = Buckets()
        self._observed: dict[LimitKey, int] = {}

    def __repr__(self) -> str:
        return f"<Levels: {self.buckets}>"

    def find(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> Found:
        """What a request meets. Looking takes nothing (B3)."""
        return Found(self, limits, asker, now)

    def bucket(self, limit: RequestLimit, asker: Asker, now: float) -> tuple[str, Gcra]:
        """The bucket that counts for this asker, in the shape that is in force, and its name."""
        return self.buckets.find(limit.key, who(limit, asker), self._shape(limit), now)

    def used(self, limits: Sequence[RequestLimit], asker: Asker, now: float) -> float:
        """The part that is used of the limit of which most is; 0 where there is none. Looking takes nothing (B3)."""
        buckets = (self.bucket(limit, asker, now)[1] for limit in limits if not limit.observe)
        return max((bucket.used(now) for bucket in buckets), default=0.0)

    def observed(self, limit: RequestLimit) -> None:
        """It would have refused one more."""
        self._observed[limit.key] = self._observed.get(limit.key, 0) + 1

    def retain(self, keep: AbstractSet[LimitKey], spared: AbstractSet[str]) -> list[LimitKey]:
        """Forget what is not in `keep`, but for the limits of pools that are closed for the moment (B48)."""
        gone = [key for key in {**self._observed, **dict.fromkeys(self.buckets)} if key not in keep]
        gone = [key for key in gone if not (spared if key[0] == "provider" else key[1].split("/")[0] in spared)]
        for key in gone:
            self._observed.pop(key, None)
            self.buckets.forget(key)
        return gone

    def describe(self, limit: RequestLimit, now: float) -> dict[str, Any]:
        """For `/-/state`. Of a divided limit: how many values have a bucket, and what the tightest of some has left."""
        kept = self.buckets.of(limit.key)
        looked = list(islice((kept[name] for name in reversed(kept)), _SHOWN)) or [Gcra(*self._shape(limit))]
        bucket = min(looked, key=lambda each: each.remaining(now))
        return {
            "name": limit.name,
            "level": limit.level,
            "count": limit.count if isinstance(limit, TokenLimit) else None,
            "max": self.share(limit),
            "per": limit.per,
            "burst": self._shape(limit)[2],
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
            return limit.max, limit.per, limit.burst
        return limit.max, limit.per * self.sidecars, max(1, limit.burst // self.sidecars)


NOTHING = Grip(Buckets(), ())
