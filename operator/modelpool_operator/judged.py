"""What the statuses of a namespace's objects are made from, and which of them should say something else.

A judgement is about an object as it was when it was compiled: one that was edited or made anew since is judged by the
next look, and never under the name of the new generation.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelpool_operator import compiling
from modelpool_operator.compiling import Compiled, Present
from modelpool_operator.conditions import Publication, Status
from modelpool_operator.problems import Key
from modelpool_operator.store import Seen


@dataclass(frozen=True, slots=True)
class Judged:
    """One look at a namespace. `seen`: the objects as they were then."""

    compiled: Compiled
    publication: Publication
    seen: Mapping[Key, Seen] = field(repr=False)

    def holds(self, key: Key, now: Seen | None) -> bool:
        """Whether this is still about the object as it is now, whatever its status."""
        then = self.seen.get(key)
        return now is not None and then is not None and (then.uid, then.generation) == (now.uid, now.generation)

    def presents(self, keys: Iterable[Key], now: Callable[[Key], Seen | None]) -> dict[Key, Present]:
        """The objects that are still as they were judged, with the status that they have now."""
        return {
            key: Present(seen.generation, seen.status)
            for key in keys
            if (seen := now(key)) is not None and self.holds(key, seen)
        }

    def different(self, presents: Mapping[Key, Present], now: datetime) -> frozenset[Key]:
        """Those whose status says something else than it should."""
        return compiling.different(self.compiled, self.publication, presents, now)

    def maker(self, key: Key) -> Callable[[Seen, datetime], Status | None]:
        """Makes the status of this object when it is written; None where the object is another one by then."""

        def make(seen: Seen, now: datetime) -> Status | None:
            if not self.holds(key, seen):
                return None
            present = Present(seen.generation, seen.status)
            return compiling.status_of(self.compiled, key, self.publication, present, now)

        return make
