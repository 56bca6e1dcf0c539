"""Which target of a tier is next, by the pool's strategy (B1). Weighted is `selection.choose` itself.

Theory. RoundRobin takes turns. LeastRequests draws two by weight and takes the one with less in flight for its weight.
LowestLatency takes the one with the shortest expected wait, which grows with what is in flight there. LowestCost takes
the one with the lowest declared price; what has no price is the dearest, for unpriced is not free (B14). LowestUsage
takes the one of whose limits, its own and its provider's, the smallest part is used. ConsistentHash
takes the owner of the request's key. Weight 0 and ramp mean the same everywhere: a drained target stands only where no
other does, and one that takes a tenth of its share stands for a tenth of the requests, or of the keys. What stands in
a target's place, a pool, is chosen in the same way by values of its own (`nesting`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, Protocol, TypeVar

from modelpool_sidecar.core import affinity, cost
from modelpool_sidecar.core.allowance import NOBODY, Asker
from modelpool_sidecar.core.latency import average
from modelpool_sidecar.core.rotation import Rotation
from modelpool_sidecar.core.selection import C, Choice, Pulls, draw, present, pulls
from modelpool_sidecar.core.snapshot import Pool, Target
from modelpool_sidecar.core.state import State

_Seen_contra = TypeVar("_Seen_contra", bound=Choice, contravariant=True)


@dataclass(frozen=True, slots=True)
class Turn(Generic[C]):
    """A turn that was looked at: it is taken only when the request goes there."""

    rotation: Rotation
    candidates: Pulls[C]
    target: C

    def take(self) -> None:
        """The request goes there."""
        self.rotation.take(self.candidates, self.target)


class Values(Protocol[_Seen_contra]):
    """What strategies look at, of targets or of what stands in their place. Looking changes nothing (B3)."""

    def share(self, each: _Seen_contra) -> float:
        """The part of its weight that it takes."""

    def in_flight(self, each: _Seen_contra) -> int:
        """How many requests run there."""

    def latency(self, each: _Seen_contra) -> tuple[float | None, int]:
        """The wait that it lets one expect, None where nobody knows, and how many are in flight there."""

    def price(self, each: _Seen_contra) -> Decimal | None:
        """Of three tokens of input and one of output; None where it is not declared."""

    def used(self, each: _Seen_contra) -> float:
        """The part that is used of the limit of which most is."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request, as far as a strategy looks at it: the values of targets for it.

    `keys`: by pool what it hashes to, where it has a key. `model`: the name that targets without one of their own pass
    on. `answers`: whether tokens come back.
    """

    state: State
    rng: Callable[[], float]
    now: float
    stream: bool
    keys: Mapping[str, int | None]
    model: str = ""
    answers: bool = True
    asker: Asker = NOBODY

    def choose(self, pool: Pool, targets: Sequence[Target]) -> tuple[Target | None, Turn[Target] | None]:
        """One of the targets, all of one tier of the pool; None where there is none. Looking changes nothing."""
        return choose(self, pool, targets, self) if targets else (None, None)

    def share(self, each: Target) -> float:
        """As it ramps up, and as its account can take it."""
        return self.state.share(each, self.now)

    def in_flight(self, each: Target) -> int:
        """Of all pools."""
        return self.state.health(each).in_flight

    def latency(self, each: Target) -> tuple[float | None, int]:
        """Of streams and of whole answers apart."""
        return self.state.learned.wait(each.key, stream=self.stream).estimate(self.now), self.in_flight(each)

    def price(self, each: Target) -> Decimal | None:
        """Of its model."""
        return cost.expected(each.provider.prices.get(each.model or self.model), answers=self.answers)

    def used(self, each: Target) -> float:
        """Its own limits, its provider's, and those on the way to it."""
        used = self.state.levels.used(each.limits, self.asker, self.now) if each.limits else 0.0
        return max(used, self.state.caps.used(each.caps, each)) if each.caps else used


def choose(asking: Asking, pool: Pool, targets: Sequence[C], values: Values[C]) -> tuple[C, Turn[C] | None]:
    """One of the targets by the strategy of their pool; there is at least one, and all are of one tier."""
    match pool.strategy.type:
        case "RoundRobin":
            return _turn(asking, pool, targets, values)
        case "LeastRequests":
            return least_requests(_standing(asking, targets, values), values.in_flight, asking.rng), None
        case "LowestLatency":
            found = _standing(asking, targets, values)
            known = {target.name: values.latency(target) for target, _ in found}
            usual = average([wait for wait, _ in known.values()])
            waits = [usual if wait is None else wait for wait, _ in known.values()]
            return lowest_latency(found, waits, lambda target: known[target.name][1], asking.rng), None
        case "LowestCost":
            return lowest_cost(_standing(asking, targets, values), values.price, asking.rng), None
        case "LowestUsage":
            found = _standing(asking, targets, values)
            return lowest_usage(found, [values.used(target) for target, _ in found], asking.rng), None
        case "ConsistentHash" if (key := asking.keys.get(pool.name)) is not None:
            there = present(targets, values.share, lambda target: affinity.lot(key, target))
            return affinity.own(there, key, values.in_flight), None
        case _:
            return draw(pulls(targets, values.share), asking.rng), None


def _standing(asking: Asking, targets: Sequence[C], values: Values[C]) -> Pulls[C]:
    return present(targets, values.share, lambda _target: asking.rng())


def _turn(asking: Asking, pool: Pool, targets: Sequence[C], values: Values[C]) -> tuple[C, Turn[C]]:
    candidates = pulls(targets, values.share)
    rotation = asking.state.learned.rotation(pool, targets[0].priority)
    rotation.begin(candidates, asking.rng)
    chosen = rotation.look(candidates)
    return chosen, Turn(rotation, candidates, chosen)


def least_requests(candidates: Pulls[C], in_flight: Callable[[C], int], rng: Callable[[], float]) -> C:
    """Of two that are drawn by weight the one with less in flight for its weight; of equals the first."""
    first = draw(candidates, rng)
    if len(candidates) == 1:
        return first
    second = draw([each for each in candidates if each[0] is not first], rng)
    weights = {target.name: pull for target, pull in candidates}
    busier = in_flight(first) / weights[first.name] > in_flight(second) / weights[second.name]
    return second if busier else first


def lowest_cost(candidates: Pulls[C], price: Callable[[C], Decimal | None], rng: Callable[[], float]) -> C:
    """The cheapest; equals are drawn by weight, and so are those without a price where no other is left."""
    prices = [price(target) for target, _ in candidates]
    best = min((each for each in prices if each is not None), default=None)
    return draw([each for each, known in zip(candidates, prices, strict=True) if known == best], rng)


def lowest_usage(candidates: Pulls[C], used: Sequence[float], rng: Callable[[], float]) -> C:
    """The one of whose limits the smallest part is used; equals are drawn by weight."""
    least = min(used)
    return draw([each for each, part in zip(candidates, used, strict=True) if part <= least], rng)


def lowest_latency(
    candidates: Pulls[C], waits: Sequence[float], in_flight: Callable[[C], int], rng: Callable[[], float]
) -> C:
    """The one with the shortest wait, each request in flight counted as one more of it; equals are drawn by weight.

    What is in flight counts for more where the weight is below the usual, and for less where it is above.
    """
    usual = sum(pull for _, pull in candidates) / len(candidates)
    costs = [
        wait * (1 + in_flight(target) * usual / pull) for (target, pull), wait in zip(candidates, waits, strict=True)
    ]
    best = min(costs)
    return draw([each for each, cost in zip(candidates, costs, strict=True) if cost <= best], rng)
