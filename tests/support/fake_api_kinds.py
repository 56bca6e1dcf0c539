"""Which kinds the fake API serves, and what it tells of them when it is asked (discovery)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind. `status`: its status is written through /status only; `counts`: it has a metadata.generation;
    `locked`: a PUT must name the resourceVersion; `puts`: a PUT creates it; `custom`: it is served while its definition
    exists."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    counts: bool = False
    locked: bool = False
    puts: bool = False
    custom: bool = False
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Where its group stands: `/api/v1`, `/apis/modelpool.dev/v1alpha1`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """The path of one object, or of the whole collection."""
        parts = [self.prefix]
        parts += ["namespaces", namespace] if self.namespaced and namespace else []
        parts += [self.plural, *([name] if name else []), *([subresource] if subresource else [])]
        return "/".join(parts)

    @property
    def definition(self) -> str:
        """The name of the CustomResourceDefinition that makes it exist."""
        return f"{self.plural}.{self.group}"


BUILT_IN = (
    Resource("", "v1", "namespaces", "Namespace", False, status=True, short_names=("ns",), fields=("status.phase",)),
    Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",)),
    Resource("", "v1", "secrets", "Secret", fields=("type",)),
    Resource(
        "",
        "v1",
        "pods",
        "Pod",
        status=True,
        counts=True,
        short_names=("po",),
        categories=("all",),
        fields=("status.phase", "spec.nodeName"),
    ),
    Resource("events.k8s.io", "v1", "events", "Event", short_names=("ev",), fields=("type", "reason")),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", locked=True, puts=True),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        False,
        status=True,
        counts=True,
        locked=True,
        short_names=("crd", "crds"),
    ),
)
DEFINITIONS = BUILT_IN[-1]
NAMESPACES = BUILT_IN[0]


def custom(definition: Mapping[str, Any]) -> Resource:
    """The kind that a CustomResourceDefinition makes exist."""
    spec = definition["spec"]
    served = next(version for version in spec["versions"] if version["served"])
    names = spec["names"]
    return Resource(
        spec["group"],
        served["name"],
        names["plural"],
        names["kind"],
        spec["scope"] == "Namespaced",
        status="status" in served.get("subresources", {}),
        counts=True,
        locked=True,
        custom=True,
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
    )


def groups(resources: Iterable[Resource]) -> dict[str, Any]:
    """The answer to `/apis`: every group with its versions."""
    found = {(resource.group, resource.version) for resource in resources if resource.group}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*entry) for entry in sorted(found)]}


def group(resources: Iterable[Resource], name: str) -> dict[str, Any] | None:
    """The answer to `/apis/<group>`; None where it is not served."""
    found = {resource.version for resource in resources if resource.group == name}
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, min(found))} if found and name else None


def _group(name: str, version: str) -> dict[str, Any]:
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def listing(resources: Iterable[Resource], api_version: str) -> dict[str, Any] | None:
    """The answer to `/api/v1` and `/apis/<group>/<version>`; None where nothing is served there."""
    entries: list[dict[str, Any]] = []
    for resource in resources:
        if resource.api_version != api_version:
            continue
        entry = {
            "name": resource.plural,
            "singularName": resource.kind.lower(),
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": VERBS,
        }
        if resource.short_names:
            entry["shortNames"] = list(resource.short_names)
        if resource.categories:
            entry["categories"] = list(resource.categories)
        entries.append(entry)
        if resource.status:
            verbs = ["get", "patch", "update"]
            entries.append({**entry, "name": f"{resource.plural}/status", "singularName": "", "verbs": verbs})
    if not entries:
        return None
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}
