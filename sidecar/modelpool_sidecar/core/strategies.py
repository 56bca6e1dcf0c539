"""Which target of a tier is next, by the pool's strategy (B1). Weighted is `selection.choose` itself.

Theory. RoundRobin takes turns. LeastRequests draws two by weight and takes the one with less in flight for its weight.
LowestLatency takes the one with the shortest expected wait, which grows with what is in flight there. LowestCost takes
the one with the lowest declared price; what has no price is the dearest, for unpriced is not free (B14). LowestUsage
takes the one of whose limits, its own and its provider's, the smallest part is used. ConsistentHash
takes the owner of the request's key. Weight 0 and ramp mean the same everywhere: a drained target stands only where no
other does, and one that takes a tenth of its share stands for a tenth of the requests, or of the keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from modelpool_sidecar.core import affinity, cost
from modelpool_sidecar.core.allowance import NOBODY, Asker
from modelpool_sidecar.core.latency import average
from modelpool_sidecar.core.rotation import Rotation
from modelpool_sidecar.core.selection import Pulls, draw, present, pulls
from modelpool_sidecar.core.snapshot import Pool, Target
from modelpool_sidecar.core.state import State


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was looked at: it is taken only when the request goes there."""

    rotation: Rotation
    candidates: Pulls
    target: Target

    def take(self) -> None:
        """The request goes there."""
        self.rotation.take(self.candidates, self.target)


@dataclass(frozen=True, slots=True)
class Asking:
    """A request, as far as a strategy looks at it. `key`: what it hashes to, None where it has no key.

    `model`: the name that targets without one of their own pass on. `answers`: whether tokens come back.
    """

    pool: Pool
    state: State
    rng: Callable[[], float]
    stream: bool
    key: int | None
    model: str = ""
    answers: bool = True
    asker: Asker = NOBODY

    def choose(self, targets: Sequence[Target], now: float) -> tuple[Target | None, Turn | None]:
        """One of the targets, all of one tier; None where there is none. Looking changes nothing."""

        def share(target: Target) -> float:
            return self.state.share(target, now)

        if not targets:
            return None, None
        match self.pool.strategy.type:
            case "RoundRobin":
                return self._turn(pulls(targets, share))
            case "LeastRequests":
                return least_requests(self._standing(targets, share), self._in_flight, self.rng), None
            case "LowestLatency":
                standing = self._standing(targets, share)
                return lowest_latency(standing, self._waits(standing, now), self._in_flight, self.rng), None
            case "LowestCost":
                return lowest_cost(self._standing(targets, share), self._price, self.rng), None
            case "LowestUsage":
                standing = self._standing(targets, share)
                used = [self._used(target, now) for target, _ in standing]
                return lowest_usage(standing, used, self.rng), None
            case "ConsistentHash" if (key := self.key) is not None:
                standing = present(targets, share, lambda target: affinity.lot(key, target))
                return affinity.own(standing, key, self._in_flight), None
            case _:
                return draw(pulls(targets, share), self.rng), None

    def _turn(self, candidates: Pulls) -> tuple[Target, Turn]:
        rotation = self.state.learned.rotation(self.pool, candidates[0][0].priority)
        rotation.begin(candidates, self.rng)
        chosen = rotation.look(candidates)
        return chosen, Turn(rotation, candidates, chosen)

    def _standing(self, targets: Sequence[Target], share: Callable[[Target], float]) -> Pulls:
        return present(targets, share, lambda _target: self.rng())

    def _in_flight(self, target: Target) -> int:
        return self.state.health(target).in_flight

    def _used(self, target: Target, now: float) -> float:
        return max(self.state.levels.used(target.limits, self.asker, now), self.state.caps.used(target))

    def _price(self, target: Target) -> Decimal | None:
        return cost.expected(target.provider.prices.get(target.model or self.model), answers=self.answers)

    def _waits(self, candidates: Pulls, now: float) -> list[float]:
        """The wait that each lets one expect, in order; an unmeasured one counts as average."""
        learned = self.state.learned
        estimates = [learned.wait(target.key, stream=self.stream).estimate(now) for target, _ in candidates]
        usual = average(estimates)
        return [usual if estimate is None else estimate for estimate in estimates]


def least_requests(candidates: Pulls, in_flight: Callable[[Target], int], rng: Callable[[], float]) -> Target:
    """Of two that are drawn by weight the one with less in flight for its weight; of equals the first."""
    first = draw(candidates, rng)
    if len(candidates) == 1:
        return first
    second = draw([each for each in candidates if each[0] is not first], rng)
    weights = {target.name: pull for target, pull in candidates}
    busier = in_flight(first) / weights[first.name] > in_flight(second) / weights[second.name]
    return second if busier else first


def lowest_cost(candidates: Pulls, price: Callable[[Target], Decimal | None], rng: Callable[[], float]) -> Target:
    """The cheapest; equals are drawn by weight, and so are those without a price where no other is left."""
    prices = [price(target) for target, _ in candidates]
    best = min((each for each in prices if each is not None), default=None)
    return draw([each for each, known in zip(candidates, prices, strict=True) if known == best], rng)


def lowest_usage(candidates: Pulls, used: Sequence[float], rng: Callable[[], float]) -> Target:
    """The one of whose limits the smallest part is used; equals are drawn by weight."""
    least = min(used)
    return draw([each for each, part in zip(candidates, used, strict=True) if part <= least], rng)


def lowest_latency(
    candidates: Pulls, waits: Sequence[float], in_flight: Callable[[Target], int], rng: Callable[[], float]
) -> Target:
    """The one with the shortest wait, each request in flight counted as one more of it; equals are drawn by weight.

    What is in flight counts for more where the weight is below the usual, and for less where it is above.
    """
    usual = sum(pull for _, pull in candidates) / len(candidates)
    costs = [
        wait * (1 + in_flight(target) * usual / pull) for (target, pull), wait in zip(candidates, waits, strict=True)
    ]
    best = min(costs)
    return draw([each for each, cost in zip(candidates, costs, strict=True) if cost <= best], rng)
