"""The two objects of ours in a namespace: as they stand, and how they are made to stand.

What somebody else made under our names is never touched. A write says which version it was made for, so that nothing is
overwritten that was not seen; what others put into our objects is taken out again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelpool_config import mount
from modelpool_operator import manifests, paths
from modelpool_operator.kube import ApiError, Kube
from modelpool_operator.manifests import Content, Found
from modelpool_operator.store import Mark, Store, mark_of
from modelpool_operator.table import Table, version_of

MANAGER = "modelpool"
_ONLY_NEW = "1"
"""A version that no object has: the apply makes what is not there, and is refused as stale where anything is."""


class TooLargeError(Exception):
    """The content does not fit; the message says what and how much."""


@dataclass(frozen=True, slots=True)
class Objects:
    """None: the object is not there."""

    config_map: Found | None = None
    secret: Found | None = None

    @property
    def foreign(self) -> str | None:
        """The name of an object that somebody else made, None where there is none."""
        for name, found in (
            (f"ConfigMap {mount.CONFIG_MAP}", self.config_map),
            (f"Secret {mount.SECRET}", self.secret),
        ):
            if found is not None and found.instance is None:
                return name
        return None

    def other_instance(self, own: str) -> str | None:
        """The instance of modelpool that serves this namespace, where that is not us."""
        for found in (self.config_map, self.secret):
            if found is not None and found.instance not in (None, own):
                return found.instance or "unknown"
        return None


class Owned:
    """Reads and writes both; holds what it read as long as the watch has seen no other version."""

    def __init__(self, kube: Kube, store: Store, instance: str, counted: Callable[[str], None]) -> None:
        self._kube = kube
        self._store = store
        self._instance = instance
        self._counted = counted
        self._held: dict[str, Objects] = {}
        self._doubted: set[str] = set()

    async def read(self, namespace: str) -> Objects:
        """Both as they stand now."""
        held = self._held.get(namespace, Objects())
        now = Objects(
            await self._read(self._store.config_maps, namespace, mount.CONFIG_MAP, held.config_map),
            await self._read(self._store.secrets, namespace, mount.SECRET, held.secret),
        )
        self._doubted.discard(namespace)
        self._held[namespace] = now
        return now

    def doubt(self, namespace: str) -> None:
        """What we hold, and what the watch has seen, is not how it is: read both anew the next time."""
        self._doubted.add(namespace)

    def forget(self, namespace: str) -> None:
        """Nothing of this namespace is needed any more."""
        self._held.pop(namespace, None)
        self._doubted.discard(namespace)

    async def write_config_map(self, namespace: str, content: Content, now: datetime) -> Found:
        """Make the ConfigMap say this; `now` is noted where its config is another one."""
        present = self._held.get(namespace, Objects()).config_map
        kept = present.since(now) if present is not None and present.content.config == content.config else None
        body = manifests.config_map(namespace, self._instance, content, kept or now)
        found = await self._write(paths.config_map(namespace), body, present, self._store.config_maps)
        self._held[namespace] = Objects(found, self._held.get(namespace, Objects()).secret)
        self._counted("config_map")
        return found

    async def write_secret(self, namespace: str, credentials: Mapping[str, str], now: datetime) -> None:
        """Make the Secret hold these."""
        present = self._held.get(namespace, Objects()).secret
        body = manifests.secret(namespace, self._instance, credentials, now)
        found = await self._write(paths.credentials(namespace), body, present, self._store.secrets)
        self._held[namespace] = Objects(self._held.get(namespace, Objects()).config_map, found)
        self._counted("secret")

    async def _read(self, table: Table[Mark], namespace: str, name: str, held: Found | None) -> Found | None:
        if namespace not in self._doubted:
            mark = table.get((namespace, name))
            if mark is None:
                return None
            if held is not None and version_of(held.version) >= mark.version:
                return held
        path = paths.config_map(namespace) if name == mount.CONFIG_MAP else paths.credentials(namespace)
        try:
            obj = await self._kube.get(path)
        except ApiError as error:
            if error.absent:
                return None
            raise
        return manifests.read(obj)

    async def _write(self, path: str, body: dict[str, Any], present: Found | None, table: Table[Mark]) -> Found:
        size, kind = manifests.size_bytes(body), body["kind"]
        if size > manifests.LIMIT_BYTES:
            kib = manifests.LIMIT_BYTES // 1024
            raise TooLargeError(f"the {kind} would hold {size // 1024} KiB, and {kib} KiB fit; split the namespace")
        if present is not None and present.strange:
            cleaned = await self._kube.merge(path, manifests.removal(present.strange), MANAGER)
            present = manifests.read(cleaned)
        body["metadata"]["resourceVersion"] = _ONLY_NEW if present is None else present.version
        answer = await self._kube.apply(path, body, MANAGER)
        answer.setdefault("kind", kind)
        metadata = answer["metadata"]
        table.put((metadata["namespace"], metadata["name"]), mark_of(answer))
        return manifests.read(answer)
