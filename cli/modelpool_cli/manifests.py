"""Which objects stand in which files, and on which line everything about them is.

Pure but for `read_files`. What an object means is the operator's business; here it only gets as far as its kind,
namespace and name.
"""

import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelpool_cli import documents
from modelpool_cli.documents import Document, Lines, Unreadable

GROUP = "modelpool.dev"
API_VERSION = f"{GROUP}/v1alpha1"
DEFAULT_NAMESPACE = "default"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 1000

_KINDS = {"Provider": GROUP, "ModelPool": GROUP, "Secret": "v1"}
_SCALARS = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a map", type(None): "empty"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read: `name` as the user would write it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file. Sorts by file, then line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to say about a place: `file:line: sentence`. `object` is `Kind namespace/name` where it is known."""

    place: Place
    message: str
    object: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object and where it stands."""

    kind: str
    namespace: str
    name: str
    body: dict[str, Any]
    file: str
    lines: Lines
    root: documents.Path
    """Where the object begins inside its document; not empty for an item of a List."""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def place(self, path: documents.Path = ()) -> Place:
        """Where a field of this object stands."""
        return Place(self.file, self.lines.of((*self.root, *path)))


@dataclass(slots=True)
class Loaded:
    """What was found: objects in the order of the files, what is wrong, what was left aside."""

    manifests: list[Manifest] = field(default_factory=list)
    problems: list[Finding] = field(default_factory=list)
    skipped: list[Finding] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Manifest]:
        """The objects of one kind."""
        return [manifest for manifest in self.manifests if manifest.kind == kind]

    def namespaces(self) -> list[str]:
        """Where there is a pool or a provider, sorted."""
        return sorted({each.namespace for each in self.manifests if each.kind in ("Provider", "ModelPool")})


class NoManifestsError(Exception):
    """A path that was given leads to nothing that can be read; the message is a sentence."""


def read_files(paths: Iterable[Path]) -> list[Source]:
    """The files of each path: itself, or those of a folder that are YAML or JSON, sorted by name, folders not entered."""
    sources = []
    for path in paths:
        try:
            files = _files_of(path)
            sources += [Source(str(file), _read(file)) for file in files]
        except OSError as error:
            raise NoManifestsError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return sources


def load(sources: Sequence[Source]) -> Loaded:
    """Every object of every file."""
    loaded = Loaded()
    seen: dict[tuple[str, str, str], Manifest] = {}
    for source in sources:
        for document in documents.parse(source.data):
            if isinstance(document, Unreadable):
                loaded.problems.append(Finding(Place(source.name, document.line), document.message))
                continue
            _take(loaded, source.name, document, document.value, ())
    for manifest in list(loaded.manifests):
        first = seen.setdefault((manifest.kind, manifest.namespace, manifest.name), manifest)
        if first is not manifest:
            loaded.manifests.remove(manifest)
            place = manifest.place(("metadata", "name"))
            loaded.problems.append(Finding(place, f"{manifest} stands twice, first at {first.place()}", str(manifest)))
    return loaded


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise NoManifestsError(f"there is no file or folder {path}")
        return [path]
    files = sorted(
        each
        for each in path.iterdir()
        if each.suffix in SUFFIXES and not each.name.startswith(".") and stat.S_ISREG(each.stat().st_mode)
    )
    if not files:
        raise NoManifestsError(f"the folder {path} holds no file that ends in {', '.join(SUFFIXES)}")
    if len(files) > MAX_FILES:
        raise NoManifestsError(f"the folder {path} holds {len(files)} files, more than the {MAX_FILES} that are read")
    return files


def _read(path: Path) -> bytes:
    """At most one byte more than is taken, so that `documents` can refuse what is too large."""
    with path.open("rb") as file:
        return file.read(documents.MAX_FILE_BYTES + 1)


def _take(loaded: Loaded, file: str, document: Document, body: Any, root: documents.Path) -> None:
    def refuse(path: documents.Path, message: str) -> None:
        place = Place(file, document.lines.of((*root, *path)))
        loaded.problems.append(Finding(place, message))

    if not isinstance(body, dict):
        return refuse((), f"an object with apiVersion and kind must stand here, not {_kind_of(body)}")
    kind, api_version = body.get("kind"), body.get("apiVersion")
    for name, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            return refuse((name,), _must_be_text(name, value, name in body))
    assert isinstance(kind, str)
    assert isinstance(api_version, str)
    if kind.endswith("List") and isinstance(body.get("items"), list):
        for index, item in enumerate(body["items"]):
            _take(loaded, file, document, item, (*root, "items", index))
        return None
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return refuse(("metadata",), _must_be_map("metadata", metadata, "metadata" in body))
    name, namespace = metadata.get("name"), metadata.get("namespace", DEFAULT_NAMESPACE)
    if not _is_ours(kind, api_version):
        place = Place(file, document.lines.of((*root, "kind")))
        loaded.skipped.append(Finding(place, f"{kind} {name} ({api_version}) is not read here"))
        return None
    if api_version != _api_version(kind):
        return refuse(("apiVersion",), f"apiVersion must be {_api_version(kind)}, not {api_version}")
    for field_name, value in (("name", name), ("namespace", namespace)):
        if not isinstance(value, str) or not value:
            path = f"metadata.{field_name}"
            return refuse(("metadata", field_name), _must_be_text(path, value, field_name in metadata))
    loaded.manifests.append(Manifest(kind, namespace, str(name), body, file, document.lines, root))
    return None


def _is_ours(kind: str, api_version: str) -> bool:
    """By kind and group: another project's Provider is none of ours, another version of ours is a mistake."""
    group = _KINDS.get(kind)
    return group is not None and api_version.partition("/")[0] == group


def _api_version(kind: str) -> str:
    return API_VERSION if _KINDS[kind] == GROUP else _KINDS[kind]


def _kind_of(value: Any) -> str:
    return "text" if isinstance(value, str) else _SCALARS[type(value)]


def _must_be_text(name: str, value: Any, present: bool) -> str:
    if not present:
        return f"{name} is required"
    if isinstance(value, (bool, int, float)):
        return f'{name} must be a string: write {name.rpartition(".")[2]}: "{str(value).lower()}" in quotes'
    return f"{name} must be a string, not {_kind_of(value) if value != '' else 'empty'}"


def _must_be_map(name: str, value: Any, present: bool) -> str:
    return f"{name} must be a map, not {_kind_of(value)}" if present else f"{name} is required"
