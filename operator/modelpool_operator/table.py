"""What a collection at the API server held when it was last heard of, though events come twice, late, or not at all.

Every value has the resourceVersion that it was seen at, and a newer one is never replaced by an older one. A list is
the whole truth as of its own version: what it lacks is gone, unless it was seen after the list was made, and an event
from before brings nothing back.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

Name = tuple[str, str]
"""Namespace and name; the namespace of a namespace is empty."""


class Versioned(Protocol):
    """`version`: metadata.resourceVersion as a number."""

    @property
    def version(self) -> int: ...


T = TypeVar("T", bound=Versioned)


def version_of(text: str | None) -> int:
    """A resourceVersion as a number (KEP-5504: they can be compared); 0 where it is none, which is older than all."""
    return int(text) if text and text.isascii() and text.isdigit() else 0


class Table(Generic[T]):
    """One collection, by namespace. Changed by `put`, `remove` and `replace` alone, each of which says what moved."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, T]] = {}
        self._gone: dict[Name, int] = {}
        """Deletions since the last list; what was deleted before, the list lacks."""
        self._listed: dict[str | None, int] = {}
        """The version of the last list of a namespace, under None that of everything."""
        self.size = 0

    def get(self, name: Name) -> T | None:
        """The value that was seen last."""
        return self._values.get(name[0], {}).get(name[1])

    def of(self, namespace: str) -> Mapping[str, T]:
        """What is in a namespace, by name."""
        return self._values.get(namespace, {})

    def namespaces(self) -> Iterator[str]:
        """Where there is anything."""
        return iter(self._values)

    def put(self, name: Name, value: T) -> bool:
        """An object was seen; whether that is news."""
        present = self.get(name)
        known = self._listed_at(name[0]) if present is None else present.version
        if value.version and value.version <= max(self._gone.get(name, 0), known):
            return False
        if present is None:
            self.size += 1
        self._gone.pop(name, None)
        self._values.setdefault(name[0], {})[name[1]] = value
        return True

    def remove(self, name: Name, version: int) -> bool:
        """An object was deleted, at that version; whether that is news."""
        present = self.get(name)
        if present is not None and version and present.version > version:
            return False
        if version > self._listed_at(name[0]):
            self._gone[name] = max(version, self._gone.get(name, 0))
        if present is None:
            return False
        self._drop(name)
        return True

    def replace(self, values: Mapping[Name, T], version: int, within: str | None = None) -> set[Name]:
        """A whole list, made at that version, of everything or of one namespace; the names whose value moved."""
        forgotten = self._forget(within) if 0 < version < self._listed.get(within, 0) else {}
        moved = set(forgotten) | {name for name, value in values.items() if self.put(name, value)}
        for name in [(space, each) for space in self._spaces(within) for each in self._values.get(space, {})]:
            if name not in values and self._values[name[0]][name[1]].version <= version:
                self._drop(name)
                moved.add(name)
        self._listed[within] = max(version, self._listed.get(within, 0))
        self._gone = {name: gone for name, gone in self._gone.items() if gone > self._listed_at(name[0])}
        return {name for name in moved if name not in forgotten or self.get(name) != forgotten[name]}

    def _forget(self, within: str | None) -> dict[Name, T]:
        """Versions go back only where the API server's own store was put back: then nothing that was seen counts."""
        gone = {
            (space, each): value
            for space in self._spaces(within)
            for each, value in self._values.get(space, {}).items()
        }
        for name in gone:
            self._drop(name)
        self._gone = {name: at for name, at in self._gone.items() if within not in (None, name[0])}
        for space in list(self._listed) if within is None else [within]:
            del self._listed[space]
        return gone

    def _spaces(self, within: str | None) -> list[str]:
        return list(self._values) if within is None else [within]

    def _listed_at(self, namespace: str) -> int:
        return max(self._listed.get(None, 0), self._listed.get(namespace, 0))

    def _drop(self, name: Name) -> None:
        del self._values[name[0]][name[1]]
        self.size -= 1
        if not self._values[name[0]]:
            del self._values[name[0]]
