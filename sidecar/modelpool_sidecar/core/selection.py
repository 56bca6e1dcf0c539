"""Which of the targets that may be tried is tried next.

The caller hands in the available targets of one tier that this request has not tried yet (B4, B5): asking again with
the rest is sampling without replacement. Chance is an argument.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from modelpool_sidecar.core.snapshot import Target


def choose(targets: Sequence[Target], share: Callable[[Target], float], rng: Callable[[], float]) -> Target | None:
    """One of the targets by weight times share; None if there is none.

    `share`: what part of its weight a target takes at the moment (B36). `rng`: a number in [0, 1). A target with weight
    0 is drained: it is chosen only where nothing else is there, and then all that are left are equal (B2).
    """
    if not targets:
        return None
    pulls = [(target, pull) for target in targets if (pull := target.weight * share(target)) > 0]
    candidates = pulls or [(target, 1.0) for target in targets]
    bounds = list(accumulate(pull for _, pull in candidates))
    # Rounding may lift the point onto the last bound itself; it still belongs to the last candidate.
    index = min(bisect_right(bounds, rng() * bounds[-1]), len(candidates) - 1)
    return candidates[index][0]
