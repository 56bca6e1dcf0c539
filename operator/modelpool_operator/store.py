"""Everything that the operator has seen, as last seen: parsed objects, and of others only what decides.

Fed by watches and, whole, by lists. Each change says which namespaces it concerns; nothing else is derived here. Of
Secrets and pods no more is kept than that they are there, and at which resourceVersion.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from modelpool_operator import resources
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import callers, credentials
from modelpool_operator.problems import Key
from modelpool_operator.resources import Observed, Refused
from modelpool_operator.table import Name, Table, version_of

INJECTION = ("modelpool.dev/injection", "enabled")
"""The label of a namespace whose pods get sidecars: it gets a config, also without pools."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A Provider or pool: what it says, or why it cannot be read; `status` as it stands in the object."""

    version: int
    uid: str
    generation: int
    content: Provider | ModelPool | Refused
    status: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mark:
    """That something is there. `flag`: a namespace that wants a config; `ending`: a namespace on its way out."""

    version: int
    flag: bool = False
    ending: bool = False


class Moved(Enum):
    """What a look at an object has shown: another object, or the same one with another status."""

    NOTHING = "Nothing"
    STATUS = "Status"
    OBJECT = "Object"


class Store:
    """`everywhere`: namespaces that want a config whatever they are labelled, as those that are watched by name."""

    def __init__(self, everywhere: Iterable[str] = ()) -> None:
        self.everywhere = frozenset(everywhere)
        self.resources: dict[str, Table[Seen]] = {kind: Table() for kind in resources.KINDS}
        self.secrets: Table[Mark] = Table()
        self.pods: Table[Mark] = Table()
        self.config_maps: Table[Mark] = Table()
        self.namespaces: Table[Mark] = Table()

    def see(self, kind: str, manifest: Mapping[str, Any], *, deleted: bool = False) -> Moved:
        """One Provider or pool, from a watch or from a write's answer; what moved."""
        name = name_of(manifest)
        table = self.resources[kind]
        if deleted or ending(manifest):
            return Moved.OBJECT if table.remove(name, _version(manifest)) else Moved.NOTHING
        before = table.get(name)
        seen = parsed(kind, manifest, before)
        if not table.put(name, seen):
            return Moved.NOTHING
        if before is None or before.content is not seen.content or before.uid != seen.uid:
            return Moved.OBJECT
        return Moved.STATUS if before.status != seen.status else Moved.NOTHING

    def see_all(
        self, kind: str, manifests: Iterable[Mapping[str, Any]], version: str, within: str | None
    ) -> AbstractSet[str]:
        """Every Provider or every pool, from a list; the namespaces in which something moved."""
        table = self.resources[kind]
        values = {
            name: parsed(kind, manifest, table.get(name))
            for manifest in manifests
            if not ending(manifest)
            for name in [name_of(manifest)]
        }
        return {name[0] for name in table.replace(values, version_of(version), within)}

    def wants_config(self, namespace: str) -> bool:
        """Whether sidecars are expected there, also without a pool."""
        mark = self.namespaces.get(("", namespace))
        return namespace in self.everywhere or (mark is not None and mark.flag)

    def is_ending(self, namespace: str) -> bool:
        """Whether the namespace is being deleted: nothing is written there."""
        mark = self.namespaces.get(("", namespace))
        return mark is not None and mark.ending

    def known_namespaces(self) -> set[str]:
        """Where there is anything to look at."""
        labelled = {name for name, mark in self.namespaces.of("").items() if mark.flag}
        tables: list[Table[Seen] | Table[Mark]] = [*self.resources.values(), self.config_maps]
        return {*self.everywhere, *labelled, *(space for table in tables for space in table.namespaces())}

    def refers_to(self, namespace: str, secret: str) -> bool:
        """Whether an object of that namespace names the Secret; one that cannot be read may have named it before."""
        return any(
            isinstance(seen.content, Refused) or secret in named(seen.content)
            for table in self.resources.values()
            for seen in table.of(namespace).values()
        )

    def seen(self, key: Key) -> Seen | None:
        """One object."""
        return self.resources[key[0]].get(key[1:])

    def all_of(self, namespace: str) -> dict[Key, Seen]:
        """Every object of a namespace."""
        return {
            (kind, namespace, name): seen
            for kind, table in self.resources.items()
            for name, seen in table.of(namespace).items()
        }

    def is_used(self, namespace: str) -> bool:
        """Whether anything of ours is there or wanted there."""
        return self.wants_config(namespace) or any(table.of(namespace) for table in self.resources.values())

    def observed(self, namespace: str) -> Observed:
        """The objects of one namespace, without Secrets."""
        providers, pools, refused = {}, {}, {}
        for kind, table in self.resources.items():
            for name, seen in table.of(namespace).items():
                if isinstance(seen.content, Provider):
                    providers[namespace, name] = seen.content
                elif isinstance(seen.content, ModelPool):
                    pools[namespace, name] = seen.content
                else:
                    refused[kind, namespace, name] = seen.content
        return Observed(providers=providers, pools=pools, refused=refused)


def named(resource: Provider | ModelPool) -> frozenset[str]:
    """The Secrets that an object names, all in its own namespace."""
    if isinstance(resource, Provider):
        return credentials.secret_names(resource)
    return callers.secret_names(resource)


def parsed(kind: str, manifest: Mapping[str, Any], before: Seen | None) -> Seen:
    """An object as it comes from the API server; what `before` says is kept where the spec is the same."""
    metadata = manifest["metadata"]
    uid, generation = metadata.get("uid", ""), metadata.get("generation", 0)
    status = manifest.get("status") or {}
    if before is not None and (before.uid, before.generation) == (uid, generation) and generation:
        return Seen(_version(manifest), uid, generation, before.content, status)
    observed = resources.observe([{"apiVersion": manifest.get("apiVersion"), "kind": kind, **_essence(manifest)}])
    name = name_of(manifest)
    content: Provider | ModelPool | Refused = (
        observed.providers.get(name)
        or observed.pools.get(name)
        or observed.refused.get((kind, *name))
        or Refused(observed.problems)
    )
    return Seen(_version(manifest), uid, generation, content, status)


def _essence(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What is judged: names and age, and the spec. Labels and annotations are the users' own."""
    metadata = {key: manifest["metadata"].get(key) for key in ("name", "namespace", "creationTimestamp")}
    return {"metadata": metadata, **({"spec": manifest["spec"]} if "spec" in manifest else {})}


def mark_of(manifest: Mapping[str, Any]) -> Mark:
    """The metadata of any object as what is kept of it."""
    labels = manifest["metadata"].get("labels") or {}
    return Mark(_version(manifest), labels.get(INJECTION[0]) == INJECTION[1], ending(manifest))


def name_of(manifest: Mapping[str, Any]) -> Name:
    """Namespace and name."""
    metadata = manifest["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def ending(manifest: Mapping[str, Any]) -> bool:
    """Whether it is being deleted; a Provider or pool counts as gone then, whatever finalizer holds it."""
    return bool(manifest["metadata"].get("deletionTimestamp"))


def _version(manifest: Mapping[str, Any]) -> int:
    return version_of(manifest["metadata"].get("resourceVersion"))
