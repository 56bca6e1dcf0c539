"""Smooth weighted round robin, as nginx defines it: the turn of each target, spread evenly.

Theory. Every target has a current weight, 0 at first. A turn adds to each what it pulls, takes the one that is highest
then, and takes the sum of all from it. After as many turns as the sum of the weights, each had exactly as many as its
weight and all stand at 0 again; none ever had a turn too many, and none is more than one whole turn late.

Looking at whose turn it is and taking the turn are two steps: a request that looks and then does not go there, or is
refused, must not shift the others (B3).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from modelpool_sidecar.core.selection import C, Choice, Pulls

_FIRST_TURNS = 256
"""A rotation begins at a turn by chance among this many: else a thousand new sidecars all ask the same target first."""


@dataclass(slots=True)
class Rotation:
    """The turns of one tier of one pool. `weights`: those it was made for, by the target's name."""

    weights: tuple[tuple[str, int], ...]
    current: dict[str, float] = field(default_factory=dict)

    def look(self, candidates: Pulls[C]) -> C:
        """Whose turn it is among these; of equals the first. There is at least one."""
        return max(candidates, key=lambda each: self.current.get(each[0].name, 0.0) + each[1])[0]

    def take(self, candidates: Pulls[C], chosen: Choice) -> None:
        """It goes there."""
        total = 0.0
        for target, pull in candidates:
            total += pull
            self.current[target.name] = self.current.get(target.name, 0.0) + pull
        self.current[chosen.name] -= total

    def begin(self, candidates: Pulls[C], rng: Callable[[], float]) -> None:
        """Go some turns ahead, where it stands at its beginning."""
        if self.current:
            return
        for _ in range(int(rng() * min(_FIRST_TURNS, sum(pull for _, pull in candidates)))):
            self.take(candidates, self.look(candidates))
