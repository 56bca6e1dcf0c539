"""Which objects stand in which files, and on which line everything about them is.

Pure but for `read_files`. What an object means, and whether it is one of ours, is the operator's to say: it gets the
values by number and answers with problems that carry the number, and here the number leads back to a file and a line.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from modelpool_cli import documents
from modelpool_cli.documents import Lines, Unreadable

SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILES = 1000
STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was read: `name` as the user would write it."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a file; line 0 is the whole of it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object as it was written. `root`: where it begins in its document, not empty for an item of a List."""

    value: Any
    file: str
    lines: Lines
    root: documents.Path = ()

    def place(self, path: documents.Path = ()) -> Place:
        """Where a field of this object stands, or what is nearest around it."""
        return Place(self.file, self.lines.of((*self.root, *path)))

    @property
    def title(self) -> str:
        """`ConfigMap settings`, as far as it can be made out."""
        metadata = self.value.get("metadata") if isinstance(self.value, dict) else None
        name = metadata.get("name") if isinstance(metadata, dict) else None
        kind = self.value.get("kind") if isinstance(self.value, dict) else None
        return " ".join(str(part) for part in (kind or "an object without kind", name) if part)


@dataclass(frozen=True, slots=True)
class Fault:
    """Text that is no manifest at all: where, and a sentence."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands in the files, in their order, and what in them cannot be read."""

    manifests: tuple[Manifest, ...]
    faults: tuple[Fault, ...]


class NoManifestsError(Exception):
    """A path that was given leads to nothing that can be read; the message is a sentence."""


def read_files(paths: Iterable[Path], stdin: BinaryIO | None = None) -> list[Source]:
    """The files of each path: itself, or the YAML and JSON files of a folder, sorted; folders in it are not entered.

    `stdin` is what `-` means; without it that is refused, because it cannot be read again when something changes.
    """
    sources: list[Source] = []
    for path in paths:
        if path == STDIN:
            if stdin is None:
                raise NoManifestsError("standard input cannot be read again and again: name a file or a folder")
            sources.append(Source("standard input", stdin.read(documents.MAX_FILE_BYTES + 1)))
            continue
        try:
            sources += [Source(str(file), _read(file)) for file in _files_of(path)]
        except OSError as error:
            raise NoManifestsError(f"cannot read {error.filename or path}: {error.strerror}") from error
    return sources


def load(sources: Sequence[Source]) -> Loaded:
    """Every object of every file; Lists are taken apart."""
    manifests: list[Manifest] = []
    faults: list[Fault] = []
    for source in sources:
        for document in documents.parse(source.data):
            if isinstance(document, Unreadable):
                faults.append(Fault(Place(source.name, document.line), document.message))
            else:
                manifests.extend(_objects(Manifest(document.value, source.name, document.lines)))
    return Loaded(tuple(manifests), tuple(faults))


def is_list(value: Any) -> bool:
    """Whether it holds objects: `List`, or what a list of one kind is called."""
    return isinstance(value, dict) and str(value.get("kind")).endswith("List") and isinstance(value.get("items"), list)


def items(manifest: Manifest) -> list[Manifest]:
    """The objects of a List, each with its own place."""
    return [
        Manifest(item, manifest.file, manifest.lines, (*manifest.root, "items", index))
        for index, item in enumerate(manifest.value["items"])
    ]


def _objects(manifest: Manifest) -> Iterator[Manifest]:
    if is_list(manifest.value):
        for item in items(manifest):
            yield from _objects(item)
    else:
        yield manifest


def _files_of(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise NoManifestsError(f"there is no file or folder {path}")
        return [path]
    files = sorted(
        each for each in path.iterdir() if each.suffix in SUFFIXES and not each.name.startswith(".") and each.is_file()
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
