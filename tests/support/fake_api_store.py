"""What the fake API keeps: objects, who owns their fields, and everything that happened, in order.

One counter is the resourceVersion of all. A write that changes neither the object nor who owns its fields is none: no
new version, no event.
"""

import asyncio
import base64
import json
from bisect import bisect_right
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import fake_api_apply
import fake_api_kinds
from fake_api_apply import Owner, Owners
from fake_api_kinds import Resource
from fake_api_status import PageNotFoundError, RefusedError, already_exists, invalid, modified, not_found

CONFIG_MAP_MOST_BYTES = 1024 * 1024
TEST = Owner("test", applies=False)
"""Who wrote what a test puts into the store by hand."""
_SERVERS_OWN = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
)

Object = dict[str, Any]
Ident = tuple[str, str, str]
"""Plural, namespace (or nothing), name."""


class Signal:
    """Wakes everybody who waits, each time that something happened."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the next time, or TimeoutError."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        finally:
            self._waiting.discard(future)


@dataclass(slots=True)
class Event:
    """One change. `copies`: how often each watch gets it; 0 = the event is lost."""

    version: int
    resource: Resource
    old: Object | None
    new: Object | None
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """An object with the owners of its fields; an entry is replaced, never changed."""

    item: Object
    owners: Owners


class Store:
    """Use `put`, `remove`, `get` and `objects` in tests; the rest is for the server."""

    def __init__(self) -> None:
        self.version = 100
        self.forgotten = self.version
        self.changed = Signal()
        self.copies_of_next: int | None = None
        self.copies_of_each = 1
        self.held: dict[str, int] = {}
        self._entries: dict[Ident, Entry] = {}
        self._events: list[Event] = []

    # Which kinds there are

    @property
    def resources(self) -> list[Resource]:
        """Every kind that is served now."""
        definitions = [e.item for (plural, _, _), e in self._entries.items() if plural == "customresourcedefinitions"]
        return [*fake_api_kinds.BUILT_IN, *map(fake_api_kinds.custom, definitions)]

    def resource(self, group: str, version: str, plural: str) -> Resource:
        """The kind at this path. Raises PageNotFoundError."""
        for each in self.resources:
            if (each.group, each.version, each.plural) == (group, version, plural):
                return each
        raise PageNotFoundError

    def of_kind(self, kind: str) -> Resource:
        """The kind of this name. Raises LookupError."""
        for each in self.resources:
            if each.kind == kind:
                return each
        raise LookupError(f"kind {kind} is not served; put its CustomResourceDefinition first")

    # What there is

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        return self._entries.get((resource.plural, namespace, name))

    def items(self, resource: Resource, namespace: str = "") -> list[Object]:
        """As they stand, in the order of a LIST; not to be changed."""
        found = sorted(
            (ident, entry)
            for ident, entry in self._entries.items()
            if ident[0] == resource.plural and namespace in ("", ident[1])
        )
        return [entry.item for _, entry in found]

    def events(self, resource: Resource, after: int) -> Iterator[Event]:
        """What happened to objects of this kind after that version."""
        for index in range(bisect_right(self._events, after, key=lambda event: event.version), len(self._events)):
            event = self._events[index]
            if (event.resource.plural, event.resource.group) == (resource.plural, resource.group):
                yield event

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """A copy, or None."""
        entry = self.entry(self.of_kind(kind), namespace or "", name)
        return None if entry is None else deepcopy(entry.item)

    def objects(self, kind: str, namespace: str | None = None) -> list[Object]:
        """Copies, in the order of a LIST."""
        return deepcopy(self.items(self.of_kind(kind), namespace or ""))

    # What tests do to it

    def put(self, item: Object) -> Object:
        """Create it or replace it, as somebody with all rights would. Its namespace comes into being; without `status`
        an object keeps the status that it has."""
        resource = self.of_kind(item["kind"])
        metadata = item["metadata"]
        namespace = metadata.get("namespace", "default") if resource.namespaced else ""
        if namespace and self.entry(fake_api_kinds.NAMESPACES, "", namespace) is None:
            self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        entry = self.entry(resource, namespace, metadata["name"])
        if entry is None:
            created = self.create(resource, namespace, {**item, "status": {}} if "status" in item else item, TEST)
            if "status" not in item:
                return deepcopy(created)
            entry = self.entry(resource, namespace, metadata["name"])
            assert entry is not None
        status = {"status": entry.item["status"]} if "status" in entry.item else {}
        return deepcopy(self._commit(resource, entry, {**status, **deepcopy(item)}, TEST))

    def remove(self, kind: str, namespace: str | None, name: str, *, told: bool = True) -> None:
        """Delete it whatever its finalizers say; without `told`, no watch hears of it. A namespace takes all that is in
        it along, a definition all its objects. Raises LookupError where it is not there."""
        resource = self.of_kind(kind)
        entry = self.entry(resource, namespace or "", name)
        if entry is None:
            raise LookupError(f"there is no {kind} {name} in {namespace or 'the cluster'}")
        self._erase(resource, entry, told=told)

    def terminate(self, namespace: str) -> Object:
        """Its deletion has begun: nothing new is created in it. `remove` ends it."""
        entry = self.entry(fake_api_kinds.NAMESPACES, "", namespace)
        if entry is None:
            raise LookupError(f"there is no namespace {namespace}")
        item = deepcopy(entry.item)
        item["metadata"]["deletionTimestamp"] = _now()
        return self._write(fake_api_kinds.NAMESPACES, entry, item | {"status": {"phase": "Terminating"}}, entry.owners)

    def compact(self) -> None:
        """Other objects have moved on, and everything that happened until then is forgotten."""
        self.version += 1
        self.forgotten = self.version

    # What requests do to it

    def create(self, resource: Resource, namespace: str, body: Object, owner: Owner, *, dry: bool = False) -> Object:
        """Raises RefusedError: it is there, or its namespace is not."""
        metadata = body["metadata"]
        name = metadata.get("name") or metadata["generateName"] + uuid4().hex[:5]
        if self.entry(resource, namespace, name) is not None:
            raise already_exists(name, resource.group, resource.plural)
        self._admit(namespace, resource, name)
        kept = {key: value for key, value in metadata.items() if key not in _SERVERS_OWN}
        own = {"name": name, "uid": str(uuid4()), "creationTimestamp": _now()}
        own |= {"namespace": namespace} if resource.namespaced else {}
        own |= {"generation": 1} if resource.counts else {}
        if owner == TEST and "creationTimestamp" in metadata:
            own["creationTimestamp"] = metadata["creationTimestamp"]
        item = _completed(resource, {**deepcopy(body), "metadata": {**deepcopy(kept), **own}})
        if resource.status:
            item.pop("status", None)
        if resource.plural in ("namespaces", "pods"):
            item["status"] = {"phase": "Active" if resource.plural == "namespaces" else "Pending"}
        _check(resource, item)
        if dry:
            return item
        owners = fake_api_apply.update({}, item, {}, owner)
        return self._write(resource, None, item, owners)

    def replace(
        self, resource: Resource, entry: Entry, body: Object, owner: Owner, owners: Owners | None = None, **how: bool
    ) -> Object:
        """A whole new object in place of that one; `owners` where they are known. Raises RefusedError (409) where the
        body names another version or uid."""
        metadata, present = body["metadata"], entry.item["metadata"]
        if metadata.get("resourceVersion") not in (None, "", present["resourceVersion"]):
            raise modified(present["name"], resource.group, resource.plural)
        if metadata.get("uid", present["uid"]) != present["uid"] and not resource.custom:
            sentence = f"Invalid value: {json.dumps(metadata['uid'])}: field is immutable"
            raise invalid(resource.kind, resource.group, present["name"], "metadata.uid", sentence)
        return self._commit(resource, entry, body, owner, owners, **how)

    def delete(self, resource: Resource, entry: Entry) -> Object | None:
        """Gone at once, a namespace with all that is in it. With finalizers it is only marked; then what it is now."""
        if resource.plural == "namespaces":
            terminating = self.terminate(entry.item["metadata"]["name"])
            self.remove("Namespace", None, terminating["metadata"]["name"])
            return terminating
        if not entry.item["metadata"].get("finalizers"):
            self._erase(resource, entry, told=True)
            return None
        item = deepcopy(entry.item)
        if "deletionTimestamp" in item["metadata"]:
            return item
        item["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
        if resource.counts:
            item["metadata"]["generation"] += 1
        return self._write(resource, entry, item, entry.owners)

    def _admit(self, namespace: str, resource: Resource, name: str) -> None:
        if not namespace:
            return
        entry = self.entry(fake_api_kinds.NAMESPACES, "", namespace)
        if entry is None:
            raise not_found(namespace, "", "namespaces")
        if "deletionTimestamp" in entry.item["metadata"]:
            qualified = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise RefusedError(
                403,
                f'{qualified} "{name}" is forbidden: {why}',
                details={"name": name, "kind": resource.plural, "causes": [cause]},
            )

    def _commit(
        self,
        resource: Resource,
        entry: Entry,
        body: Object,
        owner: Owner,
        owners: Owners | None = None,
        *,
        dry: bool = False,
    ) -> Object:
        """Write what differs; the server's own fields stay."""
        present = entry.item["metadata"]
        metadata = {key: value for key, value in body["metadata"].items() if key not in _SERVERS_OWN}
        metadata |= {key: present[key] for key in (*_SERVERS_OWN, "namespace", "name") if key in present}
        item = _completed(resource, {**deepcopy(body), "metadata": metadata})
        _check(resource, item)
        if owners is None:
            owners = fake_api_apply.update(entry.item, item, entry.owners, owner)
        if item == entry.item and owners == entry.owners:
            return entry.item
        if resource.counts and _counted(item) != _counted(entry.item):
            item["metadata"]["generation"] += 1
        if dry:
            return item
        if "deletionTimestamp" in item["metadata"] and not item["metadata"].get("finalizers") and resource.namespaced:
            self._erase(resource, entry, told=True)
            return item
        return self._write(resource, entry, item, owners)

    def _write(self, resource: Resource, entry: Entry | None, item: Object, owners: Owners) -> Object:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._entries[_ident(resource, item)] = Entry(item, owners)
        self._tell(resource, None if entry is None else entry.item, item)
        return item

    def _erase(self, resource: Resource, entry: Entry, *, told: bool) -> None:
        for ident, child in list(self._entries.items()):
            inside = resource.plural == "namespaces" and ident[1] == entry.item["metadata"]["name"]
            defined = (
                resource.plural == "customresourcedefinitions" and ident[0] == entry.item["spec"]["names"]["plural"]
            )
            if inside or defined:
                self._erase(self.of_kind(child.item["kind"]), child, told=told)
        self.version += 1
        del self._entries[_ident(resource, entry.item)]
        self._tell(resource, entry.item, None, told=told)

    def _tell(self, resource: Resource, old: Object | None, new: Object | None, *, told: bool = True) -> None:
        copies = self.copies_of_each if self.copies_of_next is None else self.copies_of_next
        self._events.append(Event(self.version, resource, old, new, copies if told else 0))
        self.copies_of_next = None
        self.changed.fire()


def _ident(resource: Resource, item: Object) -> Ident:
    return resource.plural, item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _counted(item: Object) -> Object:
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}


def _completed(resource: Resource, item: Object) -> Object:
    """With what the server fills in, and without maps that say nothing."""
    metadata = {key: value for key, value in item["metadata"].items() if value or key not in ("labels", "annotations")}
    item = {"apiVersion": resource.api_version, "kind": resource.kind, **item, "metadata": metadata}
    if resource.plural == "secrets":
        plain = {key: base64.b64encode(value.encode()).decode() for key, value in item.pop("stringData", {}).items()}
        item |= {"data": {**(item.get("data") or {}), **plain}} if plain else {}
        item.setdefault("type", "Opaque")
    if resource.plural in ("configmaps", "secrets"):
        item = {key: value for key, value in item.items() if value or key not in ("data", "binaryData")}
    if resource.plural == "namespaces":
        item["spec"] = {"finalizers": ["kubernetes"]}
        labels = item["metadata"].get("labels") or {}
        item["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": item["metadata"]["name"]}
    return item


def _check(resource: Resource, item: Object) -> None:
    if resource.plural in ("configmaps", "secrets"):
        size = sum(len(value.encode()) for value in (item.get("data") or {}).values())
        if resource.plural == "secrets":
            size = size * 3 // 4
        else:
            size += sum(len(value) * 3 // 4 for value in (item.get("binaryData") or {}).values())
        if size > CONFIG_MAP_MOST_BYTES:
            name = item["metadata"]["name"]
            raise invalid(
                resource.kind, "", name, "[]", f"Too long: may not be more than {CONFIG_MAP_MOST_BYTES} bytes"
            )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
