"""What of the limits that one request meets stands in its way, and what one that passes takes: all or none (B8, B9).

A new kind of limit plugs in where these two look and take: it adds to `Found.refusal` what it would refuse, to
`Found.take` what it takes, and to `Grip.give_back` how that is undone; `Grip.settle` is told what was really used.
Looking never consumes (B3); between `refusal` and `take` nothing may be awaited.
"""

import math
from collections.abc import Sequence

from modelpool_sidecar.core.allowance import LimitKey, RequestLimit, TokenLimit, Tokens
from modelpool_sidecar.core.buckets import Buckets
from modelpool_sidecar.core.gcra import Gcra, Hold
from modelpool_sidecar.core.limits import Limited, Told
from modelpool_sidecar.core.shares import Shares

Met = tuple[RequestLimit, str, Gcra, int, bool]
"""A limit that is met, the name that its bucket is kept under, the bucket, which of `Tokens.amounts` it counts, and
whether that bucket is everybody's and kept as long as the limit is."""

Row = Sequence[Met]
"""The limits that are met together."""


class Books:
    """Where it is written what is taken: every bucket, and how often a limit that only observes would have refused."""

    __slots__ = ("buckets", "observed", "shares")

    def __init__(self, sidecars: int = 1) -> None:
        self.buckets, self.shares = Buckets(), Shares(sidecars)
        self.observed: dict[LimitKey, int] = {}

    def __repr__(self) -> str:
        return f"<Books: {self.buckets}>"


class Grip:
    """What one request or attempt took, a hold of each limit of `row`; who has one ends it with `give_back` or `close`.

    `observed`: the limits in mode Observe that would have refused it.
    """

    __slots__ = ("_books", "_holds", "_more", "_open", "_row", "_settled", "observed")

    def __init__(self, books: Books, row: Row, holds: list[Hold], observed: tuple[str, ...] = ()) -> None:
        self._books, self._row, self._holds, self.observed = books, row, holds, observed
        self._more: tuple[Hold, ...] = ()
        self._open, self._settled = bool(holds), False

    def __repr__(self) -> str:
        return f"<Grip on {len(self._holds)} limits>"

    @property
    def told(self) -> tuple[Told, ...]:
        """Of the tightest limits that refuse at all, one of each unit, as they were right after it was taken."""
        if not self._holds:
            return ()
        pairs = zip(self._row, self._holds, strict=True)
        return self._books.shares.told([(met[0], hold.shape, hold.level) for met, hold in pairs])

    def settle(self, tokens: Tokens, now: float) -> None:
        """It is over: what counts tokens counts the real ones. What is more than was reserved is taken now. Once."""
        if not self._open or self._settled:
            return
        self._settled = True
        used = tokens.amounts
        for (limit, name, _, counted, _), hold in zip(self._row, self._holds, strict=True):
            if counted and (more := hold.settle(used[counted], now)):
                # Its bucket may have been whole, and forgotten, while the answer went on.
                bucket = self._books.buckets.keep(limit.key, name, hold.bucket)
                self._more = (*self._more, bucket.take(now, more))

    def give_back(self, now: float) -> None:
        """Nothing reached a provider: it is as if it had not been. Twice is fine (B10, B11)."""
        if self._open:
            for hold in (*self._holds, *self._more):
                hold.settle(0, now)
            self.close()

    def close(self) -> None:
        """It stays taken. Twice is fine."""
        if self._open:
            self._open = False
            for hold in self._holds:
                hold.close()
            for hold in self._more:
                hold.close()


NOTHING = Grip(Books(), (), [])


def amount(limit: RequestLimit, burst: int, tokens: Tokens) -> tuple[int, bool]:
    """What is asked for of a bucket that is smaller than the request, and whether that is more than ever passes."""
    assert isinstance(limit, TokenLimit), "a request is one, and every bucket holds one"
    asked = limit.amount(tokens, burst)
    return asked, asked > burst and limit.too_large(tokens)


class Found:
    """The limits that one request meets, at one moment, in whole microseconds."""

    __slots__ = ("_amounts", "_books", "_moment", "_overs", "_row")

    def __init__(self, books: Books, row: Row, moment: int, tokens: Tokens) -> None:
        self._books, self._row, self._moment = books, row, moment
        self._amounts: list[int] = []
        self._overs: dict[int, float] = {}  # by how much it is too many, by the place in the row
        asked, amounts = tokens.amounts, self._amounts
        for limit, _, bucket, counted, _ in row:
            count, burst, never = asked[counted], bucket.burst, False
            if count > burst:
                count, never = amount(limit, burst, tokens)
            level = bucket.due - moment * bucket.maximum
            if never:
                self._overs[len(amounts)] = math.inf
            elif level > 0:
                over = level - (burst - count if count < burst else 0) * bucket.per
                if over > 0:
                    self._overs[len(amounts)] = over
            amounts.append(count)

    def refusal(self) -> Limited | None:
        """The refusal that lasts longest: only after it would every limit be open."""
        if not self._overs:
            return None
        longest, worst = 0.0, None
        for place, over in self._overs.items():
            limit, _, bucket, _, _ = self._row[place]
            wait = math.inf if over == math.inf else bucket.seconds(int(over))
            if wait > longest and not limit.observe:
                longest, worst = wait, self._refused(limit, bucket, self._amounts[place], wait)
        return worst

    def told(self) -> tuple[Told, ...]:
        """Of the tightest limits that refuse at all, one of each unit."""
        return self._told(self._row)

    def take(self) -> Grip:
        """What is asked for from each: `refusal` was None. A limit that only observes gives what it has."""
        row, moment, buckets = self._row, self._moment, self._books.buckets
        if not row:
            return NOTHING
        if self._overs:
            return self._take_some()
        holds = [
            Hold(bucket if shared else buckets.keep(limit.key, name, bucket), count, moment)
            for (limit, name, bucket, _, shared), count in zip(row, self._amounts, strict=True)
        ]
        return Grip(self._books, row, holds)

    def _take_some(self) -> Grip:
        """From those that are open; the others would refuse, but only observe."""
        books, row, holds, observed = self._books, list[Met](), list[Hold](), list[str]()
        for place, met in enumerate(self._row):
            limit, name, bucket, _, _ = met
            if place in self._overs:
                observed.append(f"{limit.level}/{limit.name}")
                books.observed[limit.key] = books.observed.get(limit.key, 0) + 1
                continue
            row.append(met)
            holds.append(Hold(books.buckets.keep(limit.key, name, bucket), self._amounts[place], self._moment))
        return Grip(books, row, holds, tuple(observed))

    def _told(self, row: Row) -> tuple[Told, ...]:
        levels = [bucket.due - self._moment * bucket.maximum for _, _, bucket, _, _ in row]
        return self._books.shares.told(
            (met[0], met[2].shape, max(0, level)) for met, level in zip(row, levels, strict=True)
        )

    def _refused(self, limit: RequestLimit, bucket: Gcra, count: int, wait: float) -> Limited:
        never = wait == math.inf
        most = limit.burst if never else self._books.shares.most(limit)
        return Limited(
            limit.name,
            wait,
            most,
            limit.unit,
            self._told(((limit, "", bucket, 0, False),)),
            limit.level,
            limit.header,
            count,
            never,
            limit.is_own,
            owner=limit.key[1],
        )
