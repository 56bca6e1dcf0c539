"""What stands in a file of manifests: plain values, and on which line each field is.

Read as kubectl reads: documents are cut at lines that start with `---`, scalars mean what `scalars` says, anchors and
merge keys work inside one document. Stricter than kubectl where it would silently drop something: a key that stands
twice is refused, also one that a merge key brings after it. Everything is bounded: size, and with aliases unfolded
depth and the number of values.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from modelpool_cli import scalars, yamlnodes
from modelpool_cli.yamlnodes import MAX_DEPTH, MERGE, PLAIN, QUOTED, MalformedError

MAX_FILE_BYTES = 1024 * 1024
"""An object in the cluster cannot be larger than about this either."""
MAX_VALUES = 100_000
"""Of all documents of a file together."""

Path = tuple[str | int, ...]
"""`("spec", "targets", 1, "weight")`."""

_SEPARATOR = "---"
_TOP: Path = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """On which line each field stands, counted from 1."""

    table: Mapping[Path, int]

    def of(self, path: Path) -> int:
        """The line of the field, or of the nearest thing around it that is there."""
        while path not in self.table and path:
            path = path[:-1]
        return self.table.get(path, 1)


@dataclass(frozen=True, slots=True)
class Document:
    """One document that could be read."""

    value: Any
    lines: Lines


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One document that could not be read: where, and a sentence that says why."""

    line: int
    message: str


def parse(data: bytes) -> list[Document | Unreadable]:
    """Every document of a file, in order; empty ones are left out."""
    if len(data) > MAX_FILE_BYTES:
        return [Unreadable(1, f"the file has {len(data)} bytes, more than the {MAX_FILE_BYTES} that are read")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return [Unreadable(data[: error.start].count(b"\n") + 1, "the file is not UTF-8 text")]
    if text.lstrip().startswith("{"):
        text = _as_yaml(text)
    count, found = _Count(), list[Document | Unreadable]()
    for start, part in _split(text):
        found += _parse_one(part, start, count)
        if count.values > MAX_VALUES:
            break
    return found


def _as_yaml(text: str) -> str:
    """JSON may be indented with tabs, YAML may not; in valid JSON no string holds a bare one."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _split(text: str) -> Iterator[tuple[int, str]]:
    """The documents with the number of lines before each, separators blanked out so that columns and lines stay."""
    start, part = 0, list[str]()
    lines = re.split(r"\r\n|\n|\r", text)
    for number, line in enumerate(lines):
        if line.startswith(_SEPARATOR) and line[3:].lstrip()[:1] in ("", "#"):
            yield start, "\n".join(part)
            start, part = number + 1, []
        else:
            part.append(line)
    yield start, "\n".join(part)


def _parse_one(text: str, start: int, count: "_Count") -> Iterator[Document | Unreadable]:
    reader = _Values(start, count)
    try:
        node = yamlnodes.compose(text)
        value = None if node is None else reader.value(node, _TOP)
    except MalformedError as error:
        yield Unreadable(start + error.line, str(error))
    else:
        if value is not None:
            yield Document(value, Lines(reader.lines))


def _refused(node: Node, message: str) -> MalformedError:
    return MalformedError(node.start_mark.line + 1, message)


@dataclass(slots=True)
class _Count:
    """How many values a file came to so far; each `_Values` of it adds its own."""

    values: int = 0


@dataclass(slots=True)
class _Values:
    """Turns nodes into values and writes down the lines. `start`: lines before this document."""

    start: int
    count: _Count
    lines: dict[Path, int] = field(default_factory=dict)
    _open: list[Node] = field(default_factory=list)

    def value(self, node: Node, path: Path) -> Any:
        self.lines.setdefault(path, self.start + node.start_mark.line + 1)
        self.count.values += 1
        if self.count.values > MAX_VALUES:
            raise _refused(node, f"the file has more than {MAX_VALUES} values, with its aliases unfolded")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if any(node is outer for outer in self._open):
            raise _refused(node, "an anchor holds an alias of itself")
        if len(self._open) == MAX_DEPTH:
            raise _refused(node, f"more than {MAX_DEPTH} levels deep, with its aliases unfolded")
        self._open.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            return self._mapping(node, path)
        finally:
            self._open.pop()

    def _scalar(self, node: ScalarNode) -> scalars.Scalar:
        word: str = node.value
        try:
            if node.tag == PLAIN:
                return scalars.plain(word)
            if node.tag == QUOTED:
                return _joined(word)
            value = scalars.tagged(node.tag, word)
            return _joined(value) if isinstance(value, str) else value
        except scalars.ScalarError as error:
            raise _refused(node, str(error)) from error
        except UnicodeDecodeError as error:
            raise _refused(node, "half a surrogate pair is not a character") from error

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        here: dict[str, int] = {}
        brought: dict[str, dict[Path, int]] = {}
        merged = False
        for key_node, value_node in node.value:
            line = self.start + key_node.start_mark.line + 1
            if _is_merge(key_node):
                if merged:
                    raise _refused(key_node, "the merge key << stands twice; write one with a list")
                merged = True
                brought = self._merge(key_node, value_node, path, found, here)
                continue
            name = self._key(key_node)
            if name in here:
                raise _refused(key_node, f"the key {name!r} stands twice, first on line {here[name]}")
            here[name] = line
            brought.pop(name, None)
            self.lines[(*path, name)] = line
            found[name] = self.value(value_node, (*path, name))
        for lines in brought.values():
            self.lines.update(lines)
        return found

    def _merge(
        self, sign: Node, node: Node, path: Path, found: dict[str, Any], here: dict[str, int]
    ) -> dict[str, dict[Path, int]]:
        """`<<`: fields of other maps. Own fields written below it win; kubectl lets it win over those above it.

        The lines of each field that it brings, which count if the field is not written below.
        """
        brought: dict[str, dict[Path, int]] = {}
        maps = node.value if isinstance(node, SequenceNode) else [node]
        for each in maps:
            if not isinstance(each, MappingNode):
                raise _refused(sign, "<< takes a map or a list of maps")
            inner = _Values(self.start, self.count, _open=self._open)
            values = inner.value(each, path)
            tables = _by_field(inner.lines, len(path))
            for name, value in values.items():
                if name in here:
                    raise _refused(sign, f"<< brings {name!r} again, which stands above it; write << first")
                if name not in found:
                    found[name] = value
                    brought[name] = tables[name]
        return brought

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise _refused(node, "a key must be a single word, not a list or a map")
        try:
            return scalars.key(self._scalar(node))
        except scalars.ScalarError as error:
            raise _refused(node, str(error)) from error


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and (node.tag == MERGE or (node.tag == PLAIN and node.value == "<<"))


def _by_field(lines: Mapping[Path, int], depth: int) -> dict[str | int, dict[Path, int]]:
    """The lines of a map that stands `depth` deep, sorted out by its fields."""
    tables: dict[str | int, dict[Path, int]] = {}
    for path, line in lines.items():
        if len(path) > depth:
            tables.setdefault(path[depth], {})[path] = line
    return tables


def _joined(word: str) -> str:
    """Surrogate pairs, which only escapes can write, as the characters that they mean."""
    return word.encode("utf-16", "surrogatepass").decode("utf-16")
