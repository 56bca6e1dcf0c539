"""What a collection at the API server held when it was last heard of, though events come twice, late, or not at all.

Every value has the resourceVersion that it was seen at, and a newer one is never replaced by an older one. A list is
the whole truth as of its own version: what it lacks is gone, unless it was seen after the list was made.
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
        if value.version and value.version <= max(self._gone.get(name, 0), present.version if present else 0):
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
        self._gone[name] = max(version, self._gone.get(name, 0))
        if present is None:
            return False
        self._drop(name)
        return True

    def replace(self, values: Mapping[Name, T], version: int, within: str | None = None) -> set[Name]:
        """A whole list, made at that version, of everything or of one namespace; the names whose value moved."""
        moved = {name for name, value in values.items() if self.put(name, value)}
        spaces = list(self._values) if within is None else [within]
        for name in [(space, each) for space in spaces for each in self._values.get(space, {})]:
            if name not in values and self._values[name[0]][name[1]].version <= version:
                self._drop(name)
                moved.add(name)
        self._gone = {name: gone for name, gone in self._gone.items() if gone > version}
        return moved

    def _drop(self, name: Name) -> None:
        del self._values[name[0]][name[1]]
        self.size -= 1
        if not self._values[name[0]]:
            del self._values[name[0]]
