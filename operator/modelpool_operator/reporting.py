"""What people hear: an object's status, when its words changed, and an event when it became ready or ceased to be."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from modelpool_operator import conditions, paths
from modelpool_operator.api.meta import API_VERSION, GROUP
from modelpool_operator.conditions import Status
from modelpool_operator.kube import ApiError, Kube, NotLeadingError
from modelpool_operator.problems import Key
from modelpool_operator.store import Moved, Seen, Store
from modelpool_operator.worklist import RetryError, Worklist

MANAGER = "modelpool-status"
CONTROLLER = f"{GROUP}/operator"
PACE_SECONDS = 2.0
_HURRY_SECONDS = 3600.0
_LONGEST_NOTE = 1024
"""Bytes; the API server refuses an event with more."""

Maker = Callable[[Seen, datetime], Status | None]
"""The status for an object as it is now; None where it is another one than was judged."""

logger = logging.getLogger(__name__)


class Reporter:
    """Writes the status of one object at most every two seconds, the newest one. `want` and `drop` are called by the
    reconciler after each look at a namespace. `moved` hears of a namespace whose objects are others than were judged,
    `doubted` of an object whose status may say something else than it should."""

    def __init__(
        self,
        kube: Kube,
        store: Store,
        identity: str,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        moved: Callable[[str], None],
        doubted: Callable[[Key], None],
        counted: Callable[[str], None],
    ) -> None:
        self._kube = kube
        self._store = store
        self._identity = identity
        self._now = now
        self._moved = moved
        self._doubted = doubted
        self._counted = counted
        self._wanted: dict[Key, Maker] = {}
        self._written: dict[Key, float] = {}
        self.worklist: Worklist[Key] = Worklist(
            "report", self._report, at_once=12, gather_seconds=0.0, chance=chance, explain=_explain
        )

    def want(self, key: Key, make: Maker) -> None:
        """The status of this object is to be what `make` says then."""
        self._wanted[key] = make
        # Pools first: they are what people wait for.
        self.worklist.mark(key, -_HURRY_SECONDS if key[0] == "ModelPool" else 0.0)

    def drop(self, key: Key) -> None:
        """The status of this object is as it should be."""
        if self._wanted.pop(key, None) is not None:
            self.worklist.forget(key)

    async def _report(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        make, seen = self._wanted.get(key), self._store.seen(key)
        if make is None or seen is None:
            self.forget(key)
            return
        since = loop.time() - self._written.get(key, float("-inf"))
        if since < PACE_SECONDS:
            raise RetryError(PACE_SECONDS - since)
        status = make(seen, self._now())
        if status is None or conditions.words(status) == conditions.words(seen.status):
            self._wanted.pop(key, None)
            return
        if not await self._write(key, seen, status):
            return
        self._written[key] = loop.time()
        if self._wanted.get(key) is make:
            del self._wanted[key]
        elif key not in self._wanted:
            # It was found to be right meanwhile: mostly what we wrote, as the watch told it before the answer came.
            self._doubted(key)
        await self._tell(key, seen, status)

    async def _write(self, key: Key, seen: Seen, status: Status) -> bool:
        """Whether there was something to write to."""
        kind, namespace, name = key
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(seen.version)}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "status": status}
        try:
            answer = await self._kube.apply(paths.status(kind, namespace, name), body, MANAGER)
        except ApiError as error:
            if error.absent or error.terminating:
                self.forget(key)
                return False
            if error.stale:
                await self._look_again(key)
                now = self._store.seen(key)
                if now is None or now.version != seen.version:
                    raise RetryError(0.1) from error
            raise
        self._counted("status")
        self._store.see(kind, answer)
        return True

    async def _look_again(self, key: Key) -> None:
        """The object moved on: take it as it is now, and judge it anew where what it says moved too."""
        try:
            manifest = await self._kube.get(paths.resource(*key))
        except ApiError as error:
            if error.absent:
                self.forget(key)
                return
            raise
        if self._store.see(key[0], manifest) is Moved.OBJECT:
            self._moved(key[1])

    async def _tell(self, key: Key, seen: Seen, status: Status) -> None:
        event = event_of(key, seen, status, self._now(), self._identity)
        if event is None:
            return
        try:
            await self._kube.create(paths.events(key[1]), event, MANAGER)
        except (ApiError, NotLeadingError) as error:
            logger.info("no event about %s %s/%s: %s", *key, error)
        else:
            self._counted("event")

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._wanted.pop(key, None)
        self._written.pop(key, None)
        self.worklist.forget(key)


def event_of(key: Key, seen: Seen, status: Mapping[str, Any], now: datetime, identity: str) -> dict[str, Any] | None:
    """The event about a transition of Ready, in status or in reason; None where there was none."""
    before, after = conditions.find(seen.status, "Ready"), conditions.find(status, "Ready")
    if (before.get("status"), before.get("reason")) == (after["status"], after["reason"]):
        return None
    kind, namespace, name = key
    identifier = hashlib.sha256(f"{seen.uid} {now.isoformat()} {after['reason']}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{identifier}", "namespace": namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Normal" if after["status"] == "True" and after["reason"] != "Degraded" else "Warning",
        "reason": after["reason"],
        "action": "Reconcile",
        "note": after["message"].encode()[:_LONGEST_NOTE].decode(errors="ignore"),
        "reportingController": CONTROLLER,
        "reportingInstance": identity[:128],
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": kind,
            "namespace": namespace,
            "name": name,
            "uid": seen.uid,
            "resourceVersion": str(seen.version),
        },
    }


def _explain(key: Key, error: Exception) -> float | None:
    if isinstance(error, NotLeadingError):
        return None
    if isinstance(error, ApiError):
        logger.warning("the status of %s %s/%s cannot be written: %s", *key, error)
        return error.retry_after_seconds
    logger.error("the status of %s %s/%s cannot be made", *key, exc_info=error)
    return None
