"""Which of the targets that may be tried is tried next, by weight; and what every strategy makes of weights and shares.

The caller hands in the available targets of one tier that this request has not tried yet (B4, B5): asking again with
the rest is sampling without replacement. Chance is an argument.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar


class Choice(Protocol):
    """What can be chosen: a target, or the pool that stands in its place (`nesting`)."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def seed(self) -> int: ...


C = TypeVar("C", bound=Choice)
Share = Callable[[C], float]
"""What part of its weight a target takes at the moment: less than 1 while it ramps up (B36)."""
Pulls = Sequence[tuple[C, float]]
"""Targets with their weight times their share, none of them 0."""


def choose(targets: Sequence[C], share: Share[C], rng: Callable[[], float]) -> C | None:
    """One of the targets by weight times share; None if there is none. `rng`: a number in [0, 1)."""
    if not targets:
        return None
    return draw(pulls(targets, share), rng)


def pulls(targets: Sequence[C], share: Share[C]) -> Pulls[C]:
    """What each target pulls. One with weight 0 is drained: it is left out where others are there, and where only such
    are left all are equal (B2)."""
    return [(target, pull) for target in targets if (pull := target.weight * share(target)) > 0] or [
        (target, 1.0) for target in targets
    ]


def draw(candidates: Pulls[C], rng: Callable[[], float]) -> C:
    """One of them, in proportion to what they pull. There is at least one."""
    bounds = list(accumulate(pull for _, pull in candidates))
    # Rounding may lift the point onto the last bound itself; it still belongs to the last candidate.
    index = min(bisect_right(bounds, rng() * bounds[-1]), len(candidates) - 1)
    return candidates[index][0]


def present(targets: Sequence[C], share: Share[C], lot: Callable[[C], float]) -> Pulls[C]:
    """Who stands for this request where a strategy does not draw by weight: a target that takes a tenth of its share
    stands for a tenth of the requests. `lot`: a number in [0, 1) for a target. Somebody always stands."""
    whole = pulls(targets, lambda _target: 1.0)
    return [(target, pull) for target, pull in whole if (part := share(target)) >= 1 or lot(target) < part] or whole
