"""What a leader does while it leads: watch everything, list everything now and then, and look at what moved.

Nothing is written before everything was listed once. Lists replace what is known: after an outage a watch can go on
without having told what vanished meanwhile. What is known is forgotten with the leadership.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

import kopf

from modelpool_config import mount
from modelpool_operator import handlers, paths
from modelpool_operator.kube import ApiError, Kube
from modelpool_operator.reconcile import Reconciler
from modelpool_operator.settings import Settings
from modelpool_operator.store import Moved, Store, name_of
from modelpool_operator.table import Name
from modelpool_operator.telemetry import Telemetry
from modelpool_operator.watching import Collection, Watcher

SIDECAR_PODS = {
    "labelSelector": "modelpool.dev/sidecar=true",
    "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed",
}
_MISSING = "the CRDs of modelpool.dev are not there: kubectl apply --server-side -f deploy/crds"
_AGAIN_SECONDS = 5.0
_BLIND_SECONDS = 30.0
"""How soon a namespace that may not be looked at is tried again."""

logger = logging.getLogger(__name__)


class _LookAnewError(Exception):
    """A namespace may be looked at now, or not any more."""


class Leading:
    """One term of leadership. `synced`: whether everything was listed; `resynced`: when last, by the loop's clock."""

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        telemetry: Telemetry,
        login: Callable[[], Awaitable[kopf.ConnectionInfo]],
        chance: Callable[[], float],
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._telemetry = telemetry
        self._login = login
        self._chance = chance
        self._spaces: tuple[str | None, ...] = settings.watch_namespaces or (None,)
        self._blind: frozenset[str] = frozenset()
        self._relisted = asyncio.Event()
        self._told: dict[str, str] = {}
        self.resynced: float | None = None
        self.store = Store(settings.watch_namespaces)
        self._reconciler = Reconciler(
            kube,
            self.store,
            str(settings.instance),
            telemetry,
            identity=settings.identity,
            now=lambda: datetime.now(UTC),
            chance=chance,
        )
        self._watchers = [
            Watcher(kube, collection, changed, settings.resync_seconds, chance)
            for collection, changed in self._collections()
        ]
        telemetry.observe(
            {
                **{kind: _size(table) for kind, table in self.store.resources.items()},
                "Secret": _size(self.store.secrets),
                "Pod": _size(self.store.pods),
            },
            {
                "reconcile": lambda: float(len(self._reconciler.worklist)),
                "report": lambda: float(len(self._reconciler.reporter.worklist)),
            },
        )

    @property
    def synced(self) -> bool:
        """Whether everything was listed once."""
        return self.resynced is not None

    async def run(self) -> None:
        """Lead until cancelled, or until something fails that cannot be overcome from here."""
        loop = asyncio.get_running_loop()
        seen = handlers.registry(
            lambda kind, event, obj: _from_thread(loop, self._see, kind, event, obj),
            self._login,
            scans=not self._settings.watch_namespaces,
        )
        try:
            async with asyncio.TaskGroup() as group:
                await self._resync()
                names = tuple(space for space in self._settings.watch_namespaces if space not in self._blind)
                group.create_task(handlers.run(seen, names), name="kopf")
                watchers = [each for each in self._watchers if each.collection.within not in self._blind]
                for watcher in watchers:
                    group.create_task(watcher.run(), name=f"watch {watcher.collection.title}")
                for watcher in watchers:
                    await watcher.synced.wait()
                logger.info("everything is listed: %s", self._numbers())
                self._synced()
                group.create_task(self._resyncs(), name="resync")
                group.create_task(self._reconciler.worklist.run(), name="reconcile")
                group.create_task(self._reconciler.reporter.worklist.run(), name="report")
        except* _LookAnewError:
            logger.info("other namespaces may be looked at than before: starting anew")
        finally:
            self._reconciler.close()

    def _see(self, kind: str, event: str | None, obj: Mapping[str, Any]) -> None:
        moved = self.store.see(kind, obj, deleted=event == "DELETED")
        namespace, name = name_of(obj)
        if moved is Moved.OBJECT:
            self._mark(namespace)
            if self.store.seen((kind, namespace, name)) is None:
                self._reconciler.gone((kind, namespace, name))
        elif moved is Moved.STATUS:
            self._reconciler.look_at_status((kind, namespace, name))
        if event is None:
            # kopf lists again after a watch that broke, and does not say what is gone.
            self._relisted.set()

    def _mark(self, namespace: str) -> None:
        if namespace not in self._blind:
            self._reconciler.worklist.mark(namespace)

    async def _resyncs(self) -> None:
        while True:
            wait = self._settings.resync_seconds * (0.9 + 0.2 * self._chance())
            wait = min(wait, _BLIND_SECONDS) if self._blind else wait
            # Not wait_for: up to Python 3.11 it loses a cancellation that comes in the same turn as the result.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._relisted.wait()
                await asyncio.sleep(1.0)
            self._relisted.clear()
            blind = self._blind
            await self._resync()
            if self._blind != blind:
                raise _LookAnewError
            self._synced()

    async def _resync(self) -> None:
        """List both kinds until that succeeds. A namespace that may not be looked at stops no other."""
        while True:
            try:
                blind = [space for space in self._spaces if not await self._lists(space)]
                if len(blind) < len(self._spaces):
                    break
                wait = _AGAIN_SECONDS
            except ApiError as error:
                self._tell("", _MISSING if error.absent else f"Providers and ModelPools cannot be listed: {error}")
                wait = max(_AGAIN_SECONDS, error.retry_after_seconds or 0.0)
            await asyncio.sleep(wait * (1 + 0.2 * self._chance()))
        self._told.pop("", None)
        self._blind = frozenset(space for space in blind if space is not None)

    async def _lists(self, space: str | None) -> bool:
        """List the objects of one namespace, or of all; False where that is refused for this one alone."""
        try:
            for kind in self.store.resources:
                listed = await self._kube.list(paths.resources(kind, space))
                self.store.see_all(kind, listed.items, listed.version, space)
            for watcher in self._watchers if space is not None else ():
                each = watcher.collection
                if each.within == space and not watcher.synced.is_set():
                    await self._kube.list(each.path, each.selectors, metadata=True)
        except ApiError as error:
            if space is None or not error.lasting:
                raise
            self._tell(space, f"namespace {space} cannot be looked at, and is left as it is: {error}")
            return False
        self._told.pop(space or "", None)
        return True

    def _synced(self) -> None:
        """Everything was listed: look at every namespace."""
        self.resynced = asyncio.get_running_loop().time()
        self._telemetry.resynced(time.time())
        for namespace in self.store.known_namespaces():
            self._mark(namespace)

    def _tell(self, about: str, what: str) -> None:
        if self._told.get(about) != what:
            self._told[about] = what
            logger.error("%s", what)

    def _numbers(self) -> str:
        return ", ".join(f"{table.size} {kind}s" for kind, table in self.store.resources.items())

    def _collections(self) -> list[tuple[Collection, Callable[[AbstractSet[Name]], None]]]:
        store = self.store
        each: list[tuple[Collection, Callable[[AbstractSet[Name]], None]]] = []
        for space in self._spaces:
            where = f" of {space}" if space else ""
            name = {"fieldSelector": f"metadata.name={mount.CONFIG_MAP}"}
            path = paths.core
            each += [
                (Collection(f"Secrets{where}", path("secrets", space), store.secrets, space), self._secrets_moved),
                (Collection(f"sidecars{where}", path("pods", space), store.pods, space, SIDECAR_PODS), self._moved),
                (
                    Collection(f"ConfigMaps{where}", path("configmaps", space), store.config_maps, space, name),
                    self._moved,
                ),
            ]
        if not self._settings.watch_namespaces:
            each.append((Collection("namespaces", paths.NAMESPACES, store.namespaces), self._namespaces_moved))
        return each

    def _secrets_moved(self, names: AbstractSet[Name]) -> None:
        for namespace, name in names:
            if name == mount.SECRET or self._reconciler.needs(namespace, name):
                self._mark(namespace)

    def _moved(self, names: AbstractSet[Name]) -> None:
        for namespace, _ in names:
            self._mark(namespace)

    def _namespaces_moved(self, names: AbstractSet[Name]) -> None:
        for _, name in names:
            self._mark(name)


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """What kopf's thread has seen, told in our own; after our end nobody wants to know."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *arguments)


def _size(table: Any) -> Callable[[], float]:
    return lambda: float(table.size)
