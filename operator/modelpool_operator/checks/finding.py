"""What a check found: where, and the rest of the sentence that begins with the field's path."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelpool_operator import problems
from modelpool_operator.api.types import shown
from modelpool_operator.problems import Key, Path, Problem


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation. `text` goes behind the path: `must be https`."""

    path: Path
    text: str
    reason: str = "InvalidSpec"
    condition: str = "Accepted"

    def problem(self, key: Key) -> Problem:
        """The finding as a problem of that object."""
        return Problem(
            *key,
            path=self.path,
            message=f"{problems.field(self.path)} {self.text}",
            reason=self.reason,
            condition=self.condition,
        )


def repeated(path: Path, values: Iterable[str], leaf: str | None = None, *, fold: bool = False) -> Iterator[Finding]:
    """A finding for each value that stood in the list before; `fold` compares without case.

    `leaf`: the field of the entries that holds the value, None where the entries are the values.
    """
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        first = seen.setdefault(value.lower() if fold else value, index)
        if first != index:
            where = (*path, index) if leaf is None else (*path, index, leaf)
            yield Finding(where, f"{shown(value)} stands already in {problems.field((*path, first))}")
