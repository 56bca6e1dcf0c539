"""What was gathered: manifests as objects, or as problems where they cannot be read.

One bad object never stops the others. An object that exists and cannot be read is remembered as refused, because it
must not be taken for a deleted one (B47). Values of Secrets are bytes, and stand in no repr and no message.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from modelpool_operator.api.meta import API_VERSION, DEFAULT_NAMESPACE, GROUP, ObjectMeta
from modelpool_operator.api.modelpool import Model, ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.api.types import plain, shown
from modelpool_operator.problems import Key, Path, Problem, explain, nearest, not_known
from modelpool_operator.problems import field as path_text

Name = tuple[str, str]
"""Namespace and name."""

_LONGEST = 253
"""The longest name that an object can have."""

KINDS: dict[str, type[Provider] | type[ModelPool]] = {"Provider": Provider, "ModelPool": ModelPool}


@dataclass(frozen=True, slots=True)
class Refused:
    """An object that is there and cannot be read. `models`: the names it claims, as far as they can be made out."""

    problems: tuple[Problem, ...]
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that `desired` looks at.

    `unreadable`: Secrets that are there and could not be read just now, with why. `documents` finds the manifest of an
    object again; `skipped` are the manifests of other kinds; `problems` are those of all manifests that could not be
    read, also of those that have no name.
    """

    providers: Mapping[Name, Provider] = field(default_factory=dict)
    pools: Mapping[Name, ModelPool] = field(default_factory=dict)
    secrets: Mapping[Name, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    unreadable: Mapping[Name, str] = field(default_factory=dict)
    refused: Mapping[Key, Refused] = field(default_factory=dict)
    namespaces: frozenset[str] = frozenset()
    documents: Mapping[Key, int] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()
    problems: tuple[Problem, ...] = ()


def observe(
    manifests: Sequence[object],
    *,
    secrets: Mapping[Name, Mapping[str, bytes]] | None = None,
    namespaces: Iterable[str] = (),
) -> Observed:
    """The objects in parsed manifests. `secrets` come from elsewhere and win over Secret manifests, key by key;
    `namespaces` get a config even where no pool is in them."""
    reader = _Reader()
    for index, manifest in enumerate(manifests):
        reader.read(index, manifest)
    for name, data in (secrets or {}).items():
        reader.secrets[name] = {**reader.secrets.get(name, {}), **data}
    return Observed(
        providers=reader.providers,
        pools=reader.pools,
        secrets=reader.secrets,
        refused=reader.refused,
        namespaces=frozenset(namespaces),
        documents=reader.documents,
        skipped=tuple(reader.skipped),
        problems=tuple(reader.problems),
    )


class _Reader:
    """Collects one manifest after the other."""

    def __init__(self) -> None:
        self.providers: dict[Name, Provider] = {}
        self.pools: dict[Name, ModelPool] = {}
        self.secrets: dict[Name, dict[str, bytes]] = {}
        self.refused: dict[Key, Refused] = {}
        self.documents: dict[Key, int] = {}
        self.skipped: list[int] = []
        self.problems: list[Problem] = []

    def read(self, index: int, manifest: object) -> None:
        """Take one manifest in; `index` is where it stood."""
        if not isinstance(manifest, dict):
            self._tell(index, ("", "", ""), [((), "a manifest must be a mapping with apiVersion, kind and metadata")])
            return
        api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
        key = _key(manifest)
        if api_version == "v1" and kind in ("Secret", "ConfigMap"):
            self._read_data(index, key, manifest)
        elif kind == "Secret" and not _is_foreign(api_version):
            self._tell(index, key, [(("apiVersion",), _wrong_version("v1", api_version))])
            self._read_data(index, key, manifest)
        elif _is_ours(api_version, kind):
            self._read_resource(index, key, manifest)
        else:
            self.skipped.append(index)

    def _read_resource(self, index: int, key: Key, manifest: dict[str, Any]) -> None:
        model = KINDS.get(key[0])
        if model is None:
            near = nearest(key[0], KINDS)
            hint = f"; did you mean {near}?" if near else ""
            found = f"not {shown(key[0])}{hint}" if key[0] else "and is missing"
            self._tell(index, key, [(("kind",), f"kind must be one of {', '.join(KINDS)}, {found}")])
            return
        if manifest.get("apiVersion") != API_VERSION:
            sentence = _wrong_version(API_VERSION, manifest.get("apiVersion"))
            problems = self._tell(index, key, [(("apiVersion",), sentence)])
        elif key in self.documents:
            self._tell(index, key, [(("metadata", "name"), _twice(key))])
            return
        else:
            try:
                self._keep(index, key, model.model_validate(manifest))
                return
            except ValidationError as error:
                problems = self._tell(index, key, explain(error, model))
        if _addressable(manifest) and key not in self.documents:
            self.documents[key] = index
            self.refused[key] = Refused(problems, _claimed(manifest) if key[0] == "ModelPool" else ())

    def _keep(self, index: int, key: Key, resource: Provider | ModelPool) -> None:
        self.documents[key] = index
        if isinstance(resource, Provider):
            self.providers[key[1:]] = resource
        else:
            self.pools[key[1:]] = resource

    def _read_data(self, index: int, key: Key, manifest: dict[str, Any]) -> None:
        if key in self.documents:
            self._tell(index, key, [(("metadata", "name"), _twice(key))])
            return
        if not key[2]:
            self._tell(index, key, [(("metadata", "name"), "metadata.name is required")])
            return
        self.documents[key] = index
        values: dict[str, bytes] = {}
        faults: list[tuple[Path, str]] = []
        encoded = ("data", "stringData") if key[0] == "Secret" else ("data", "binaryData")
        for part in encoded:
            for path, value in _entries(manifest, part, coded=(part == "data") == (key[0] == "Secret")):
                if isinstance(value, bytes):
                    values[str(path[-1])] = value
                else:
                    faults.append((path, value))
        faults += _unknown(manifest, _DATA_FIELDS[key[0]])
        self._tell(index, key, faults)
        if key[0] == "Secret":
            self.secrets[key[1:]] = values

    def _tell(self, index: int, key: Key, faults: Iterable[tuple[Path, str]]) -> tuple[Problem, ...]:
        problems = tuple(Problem(*key, path=path, message=message, document=index) for path, message in faults)
        self.problems.extend(problems)
        return problems


def _is_ours(api_version: object, kind: object) -> bool:
    """Whether it is meant for us: by its group, or by its kind where the group is missing or nobody else's."""
    group = api_version.partition("/")[0] if isinstance(api_version, str) else ""
    return group == GROUP or kind == "ModelPool" or (kind == "Provider" and not _is_foreign(api_version))


def _is_foreign(api_version: object) -> bool:
    """Whether it names a group of somebody else: a domain, and not a slip of the pen in ours."""
    group, slash, _ = api_version.partition("/") if isinstance(api_version, str) else ("", "", "")
    return bool(slash) and "." in group and nearest(group, (GROUP,)) is None


def _wrong_version(wanted: str, given: object) -> str:
    found = f"not {shown(given)}" if isinstance(given, str) else "and is missing"
    return f"apiVersion must be {wanted}, {found}"


def _key(manifest: dict[str, Any]) -> Key:
    """What names it, as it can be shown: a name that Kubernetes takes stays as it is."""
    metadata = manifest.get("metadata")
    inner = metadata if isinstance(metadata, dict) else {}
    kind, namespace, name = manifest.get("kind"), inner.get("namespace"), inner.get("name")
    return (
        plain(kind) if isinstance(kind, str) else "",
        plain(namespace, _LONGEST) if isinstance(namespace, str) and namespace else DEFAULT_NAMESPACE,
        plain(name, _LONGEST) if isinstance(name, str) else "",
    )


def _addressable(manifest: dict[str, Any]) -> bool:
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        return False
    names = {key: metadata.get(key) for key in ("name", "namespace") if metadata.get(key) is not None}
    try:
        ObjectMeta.model_validate(names)
    except ValidationError:
        return False
    return True


def _claimed(manifest: dict[str, Any]) -> tuple[str, ...]:
    """The model names of a pool that cannot be read, so that its clients hear why instead of 404."""
    spec = manifest.get("spec")
    models = spec.get("models") if isinstance(spec, dict) else None
    if not isinstance(models, list) or not models:
        return (str(manifest["metadata"]["name"]),)
    names: list[str] = []
    for item in models:
        try:
            names.append(Model.model_validate(item).name)
        except ValidationError:
            continue
    return tuple(dict.fromkeys(name for name in names if "*" not in name[:-1]))


def _twice(key: Key) -> str:
    return f'metadata.name: {key[0]} "{key[2]}" stands twice in namespace {key[1]}; the first one holds'


def _entries(manifest: dict[str, Any], part: str, *, coded: bool) -> Iterator[tuple[Path, bytes | str]]:
    """Each entry with its value, or with a sentence where it has none that can be read."""
    entries = manifest.get(part)
    if entries is None:
        return
    if not isinstance(entries, dict):
        yield (part,), f"{part} must be a mapping of keys to strings"
        return
    for name, value in entries.items():
        path = (part, str(name))
        where = path_text(path)
        if not isinstance(value, str):
            quotes = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
            yield path, f"{where} must be a string{quotes}"
        elif coded:
            try:
                yield path, base64.b64decode("".join(value.split()), validate=True)
            except (binascii.Error, ValueError):
                yield path, f"{where} must be base64; plain text belongs in {_PLAIN[part]}"
        else:
            yield path, value.encode(errors="surrogatepass")


def _unknown(manifest: dict[str, Any], known: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Fields that Kubernetes would drop or refuse, such as stringdata."""
    for name in manifest:
        if name not in known:
            yield (str(name),), f"{path_text((str(name),))} {not_known(str(name), known)}"


_DATA_FIELDS = {
    "Secret": ("apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable"),
    "ConfigMap": ("apiVersion", "kind", "metadata", "data", "binaryData", "immutable"),
}
_PLAIN = {"data": "stringData", "binaryData": "data"}


def with_document(problem: Problem, documents: Mapping[Key, int]) -> Problem:
    """The problem with the manifest that its object came from."""
    return replace(problem, document=documents.get(problem.key)) if problem.document is None else problem
