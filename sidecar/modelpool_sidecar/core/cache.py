"""The answers that are kept to be given again, bounded by number, bytes and age (B53).

Theory. Each pool has a shelf, found by the pool's digest, so that another config finds nothing of the one before; a
reload drops the shelves that no pool has any more (B48). On a shelf two orders are kept: by use, of which the oldest
goes where there is no room, and by age, of which what is too old goes at the next look. All shelves of a process share
one bound on bytes; beyond it the answer goes that was longest not used, on whichever shelf.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.core.snapshot import CacheSettings, Pool, Snapshot

MOST_BYTES = 128 * 1024 * 1024
"""Of all pools of a process together: half of what an injected sidecar may have."""
MOST_ENTRY_BYTES = 8 * 1024 * 1024
"""Of one answer: as much as is read whole before it goes out."""
OVERHEAD_BYTES = 1024
"""What an entry takes beside its bytes: its key, its headers, its places in the orders. Measured, and rounded up."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer as it came. `stream`: as events, with its usage among them where `include_usage`. `usage`: what its
    provider told, on whichever way. It has no repr that shows it (B44)."""

    stream: bool
    include_usage: bool
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...]
    usage: Usage
    stored: float

    @property
    def size(self) -> int:
        """The bytes that it counts for."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers) + OVERHEAD_BYTES


class _Shelf:
    """The answers of one pool. `by_use`: the newest used last; with each the number of its last use."""

    __slots__ = ("by_age", "by_use", "bytes", "hits", "misses", "settings")

    def __init__(self, settings: CacheSettings) -> None:
        self.settings = settings
        self.by_use: OrderedDict[bytes, tuple[int, Entry]] = OrderedDict()
        self.by_age: OrderedDict[bytes, float] = OrderedDict()
        self.bytes = self.hits = self.misses = 0


class Cache:
    """All answers of a process. Changed from the event loop alone."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._shelves: dict[str, _Shelf] = {}
        self._uses = 0
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Cache: {sum(len(shelf.by_use) for shelf in self._shelves.values())} answers, {self.bytes} bytes>"

    def find(self, pool: Pool, key: bytes, now: float) -> Entry | None:
        """The answer of this key, if it is there and not too old. Looking counts as no use (B3)."""
        shelf = self._shelves.get(pool.digest)
        if shelf is None:
            return None
        self._expire(shelf, now)
        found = shelf.by_use.get(key)
        return None if found is None else found[1]

    def used(self, pool: Pool, key: bytes) -> None:
        """It was given again."""
        shelf = self._shelf(pool)
        shelf.hits += 1
        found = shelf.by_use.get(key)
        if found is not None:
            self._uses += 1
            shelf.by_use[key] = (self._uses, found[1])
            shelf.by_use.move_to_end(key)

    def missed(self, pool: Pool) -> None:
        """It was looked for in vain."""
        self._shelf(pool).misses += 1

    def keep(self, pool: Pool, key: bytes, entry: Entry, now: float) -> bool:
        """Keep it, in place of what was there; whether there is room for such an answer at all."""
        shelf = self._shelf(pool)
        settings = shelf.settings
        self._expire(shelf, now)
        self._drop(shelf, key)
        if entry.size > min(settings.max_bytes, self._most):
            return False
        while shelf.by_use and (
            len(shelf.by_use) >= settings.max_entries or shelf.bytes + entry.size > settings.max_bytes
        ):
            self._drop(shelf, next(iter(shelf.by_use)))
        while self.bytes + entry.size > self._most:
            self._drop_oldest()
        self._uses += 1
        shelf.by_use[key] = (self._uses, entry)
        shelf.by_age[key] = entry.stored + settings.ttl
        shelf.bytes += entry.size
        self.bytes += entry.size
        return True

    def retain(self, snapshot: Snapshot) -> None:
        """Drop the answers of what no pool of the snapshot is (B48)."""
        pools = (pool for pool in snapshot.pools.values() if isinstance(pool, Pool))
        known = {pool.digest for pool in pools if pool.cache is not None}
        for digest in [digest for digest in self._shelves if digest not in known]:
            self.bytes -= self._shelves.pop(digest).bytes

    def describe(self, pool: Pool, now: float) -> dict[str, Any] | None:
        """For `/-/state`; None where the pool keeps nothing. Looking makes nothing."""
        settings = pool.cache
        if settings is None:
            return None
        shelf = self._shelves.get(pool.digest) or _Shelf(settings)
        self._expire(shelf, now)
        looked = shelf.hits + shelf.misses
        return {
            "ttl": settings.ttl,
            "maxEntries": settings.max_entries,
            "maxBytes": settings.max_bytes,
            "temperature": "Any" if settings.any_temperature else "Zero",
            "entries": len(shelf.by_use),
            "bytes": shelf.bytes,
            "hits": shelf.hits,
            "misses": shelf.misses,
            "ratio": round(shelf.hits / looked, 3) if looked else None,
        }

    def sizes(self, snapshot: Snapshot, now: float) -> Iterator[tuple[str, int, int]]:
        """Of each pool that keeps answers how many there are and their bytes, for a scrape."""
        for pool in snapshot.pools.values():
            if isinstance(pool, Pool) and pool.cache is not None:
                shelf = self._shelves.get(pool.digest)
                if shelf is not None:
                    self._expire(shelf, now)
                yield (pool.name, len(shelf.by_use), shelf.bytes) if shelf is not None else (pool.name, 0, 0)

    def _shelf(self, pool: Pool) -> _Shelf:
        assert pool.cache is not None, "only a pool with a cache asks"
        shelf = self._shelves.get(pool.digest)
        if shelf is None:
            shelf = self._shelves[pool.digest] = _Shelf(pool.cache)
        return shelf

    def _expire(self, shelf: _Shelf, now: float) -> None:
        while shelf.by_age:
            key, until = next(iter(shelf.by_age.items()))
            if until > now:
                return
            self._drop(shelf, key)

    def _drop_oldest(self) -> None:
        full = [shelf for shelf in self._shelves.values() if shelf.by_use]
        shelf = min(full, key=lambda each: next(iter(each.by_use.values()))[0])
        self._drop(shelf, next(iter(shelf.by_use)))

    def _drop(self, shelf: _Shelf, key: bytes) -> None:
        found = shelf.by_use.pop(key, None)
        if found is not None:
            del shelf.by_age[key]
            shelf.bytes -= found[1].size
            self.bytes -= found[1].size
