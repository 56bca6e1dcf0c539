"""A collection followed by its metadata alone: listed, then watched, and listed anew now and then.

No value of a Secret passes here. A list replaces what was known, so that what vanished without a word is forgotten.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from modelpool_operator.kube import ApiError, Kube
from modelpool_operator.store import Mark, mark_of, name_of
from modelpool_operator.table import Name, Table, version_of
from modelpool_operator.worklist import retry_seconds

WATCH_SECONDS = 60
"""A watch that is silent may be quiet or dead; one that should have ended by itself is dead."""
STEADY_SECONDS = 10.0
"""A watch that ends after less has not worked: listing everything again at once would only be a load."""
_MOST_FAILURES = 7
"""The wait grows to half a minute."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Collection:
    """What is followed: a path with selectors, and the table that it fills. `within`: its one namespace, None = all."""

    title: str
    path: str
    table: Table[Mark]
    within: str | None = None
    selectors: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Watcher:
    """Follows one collection until cancelled. `changed` hears the names that moved."""

    kube: Kube
    collection: Collection
    changed: Callable[[AbstractSet[Name]], None]
    relist_seconds: float
    chance: Callable[[], float]
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    _told: str = ""

    async def run(self) -> None:
        """Never returns; a fault is told once, and overcome by listing again."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                await self._watch(await self._list())
                failures = 0
            except ApiError as error:
                failures = 1 if loop.time() - began >= STEADY_SECONDS else min(failures + 1, _MOST_FAILURES)
                if error.expired and failures == 1:
                    continue
                self._tell(error)
                await asyncio.sleep(retry_seconds(failures, self.chance(), error.retry_after_seconds or 0.0))

    async def _list(self) -> str:
        each = self.collection
        listed = await self.kube.list(each.path, each.selectors, metadata=True)
        moved = each.table.replace(_marks(listed.items), version_of(listed.version), each.within)
        self.changed(moved)
        self.synced.set()
        return listed.version

    async def _watch(self, version: str) -> None:
        """Until it is time to list again; a watch that just ends, as they do, goes on from where it was."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.relist_seconds * (0.9 + 0.2 * self.chance())
        while (left := until - loop.time()) > 1:
            began = loop.time()
            seconds = max(1, min(WATCH_SECONDS, int(left)))
            each = self.collection
            async for kind, item in self.kube.watch(each.path, version, each.selectors, seconds=seconds, metadata=True):
                version = item["metadata"].get("resourceVersion") or version
                self._tell(None)
                if kind != "BOOKMARK":
                    self._take(kind, item)
            self._tell(None)
            # One that ends at once, again and again, must not keep the server busy.
            await asyncio.sleep(max(0.0, 1.0 - (loop.time() - began)))

    def _take(self, kind: str, item: Mapping[str, Any]) -> None:
        name, mark = name_of(item), mark_of(item)
        table = self.collection.table
        news = table.remove(name, mark.version) if kind == "DELETED" else table.put(name, mark)
        if news:
            self.changed({name})

    def _tell(self, error: ApiError | None) -> None:
        if error is not None and str(error) != self._told:
            logger.warning("%s cannot be watched: %s", self.collection.title, error)
        elif error is None and self._told:
            logger.info("%s can be watched again", self.collection.title)
        self._told = str(error or "")


def _marks(items: Iterable[Mapping[str, Any]]) -> dict[Name, Mark]:
    return {name_of(item): mark_of(item) for item in items}
