"""Which target is next in a pool some of whose targets are pools: level by level, each by its own strategy (B1, B7).

Theory. A walk knows flat targets, those behind other pools among them. To choose, the ones that may be asked are
gathered under the entries of their pool; its strategy chooses among these entries; where that is a pool, the first of
its tiers that has such a target is looked at in the same way. So weights multiply, and whatever is not available, or
was asked before, is missing at every level alike.

A strategy looks at values, and a pool stands for those of its targets that it would choose among now:

- share: of the one that takes most. In flight: of all of them together, as its weight is for all of them.
- latency: of the one with the shortest expected wait, its own requests in flight counted, of those that are measured.
- price: the lowest where the pool itself asks the cheapest, else their mean by weight; unknown where one is unknown.
- usage: of the one of whose limits the smallest part is used, or its own where more of those is used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from modelpool_sidecar.core import strategies
from modelpool_sidecar.core.selection import pulls
from modelpool_sidecar.core.snapshot import Pool, PoolTarget, Target
from modelpool_sidecar.core.strategies import Asking, Turn


@dataclass(slots=True)
class Branch:
    """One entry of a pool, with the targets of that pool which it stands for: itself, or those behind it."""

    entry: Target | PoolTarget
    targets: list[Target]
    _below: "list[Branch] | None" = None

    @property
    def below(self) -> "list[Branch]":
        """What the pool behind the entry would choose among: entries of its own, as far as they may be asked."""
        if self._below is None:
            self._below = branches(first_tier(self))
        return self._below

    @property
    def name(self) -> str:
        """The entry's."""
        return self.entry.name

    @property
    def weight(self) -> int:
        """The entry's; a drained one is there only where all are."""
        return self.entry.weight

    @property
    def priority(self) -> int:
        """The entry's."""
        return self.entry.priority

    @property
    def seed(self) -> int:
        """The entry's."""
        return self.entry.seed


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns that led to a target, one for each pool on the way that takes turns."""

    target: Target
    turns: tuple[Turn[Branch], ...]

    def take(self) -> None:
        """The request goes there."""
        for turn in self.turns:
            turn.take()


def choose(asking: Asking, pool: Pool, targets: Sequence[Target]) -> tuple[Target | None, Turns | None]:
    """One of the targets that may be asked, all of one tier of the pool; None where there is none."""
    if not targets:
        return None, None
    chosen, turns = _descend(asking, pool, branches(_undrained(targets)))
    return chosen, Turns(chosen, turns)


def _descend(asking: Asking, pool: Pool, among: list[Branch]) -> tuple[Target, tuple[Turn[Branch], ...]]:
    branch, turn = strategies.choose(asking, pool, among, _Values(asking)) if len(among) > 1 else (among[0], None)
    turns = () if turn is None else (turn,)
    if isinstance(branch.entry, Target):
        return branch.entry, turns
    found, more = _descend(asking, branch.entry.pool, branch.below)
    return next(target for target in branch.targets if target.inner is found), (*turns, *more)


def branches(targets: Iterable[Target]) -> list[Branch]:
    """The entries of the pool whose targets these are."""
    found: dict[str, Branch] = {}
    for target in targets:
        entry = target.through or target
        known = found.get(entry.name)
        if known is None:
            found[entry.name] = Branch(entry, [target])
        else:
            known.targets.append(target)
    return list(found.values())


def first_tier(branch: Branch) -> list[Target]:
    """What the pool behind the entry would choose among: of its own targets, as it knows them."""
    own = [target.inner for target in branch.targets if target.inner is not None]
    able = _undrained(own)
    first = min(target.priority for target in able)
    return [target for target in able if target.priority == first]


def _undrained(targets: Sequence[Target]) -> Sequence[Target]:
    """Those without weight 0 anywhere on their way, where there are some (B2)."""
    return [target for target in targets if target.weight > 0] or targets


class _Values:
    """What an entry shows to the strategy of its pool."""

    __slots__ = ("_asking",)

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def share(self, each: Branch) -> float:
        if isinstance(each.entry, Target):
            return self._asking.share(each.entry)
        most = 0.0
        for inner in each.below:
            most = max(most, self.share(inner))
            if most >= 1:
                break
        return most

    def in_flight(self, each: Branch) -> int:
        if isinstance(each.entry, Target):
            return self._asking.in_flight(each.entry)
        return sum(self.in_flight(inner) for inner in each.below)

    def latency(self, each: Branch) -> tuple[float | None, int]:
        if isinstance(each.entry, Target):
            return self._asking.latency(each.entry)
        known = [self.latency(inner) for inner in each.below]
        measured = [(wait * (1 + running), wait, running) for wait, running in known if wait is not None]
        return min(measured)[1:] if measured else (None, min(running for _, running in known))

    def price(self, each: Branch) -> Decimal | None:
        if isinstance(each.entry, Target):
            return self._asking.price(each.entry)
        inner = each.below
        prices = [self.price(one) for one in inner]
        known = [price for price in prices if price is not None]
        if each.entry.pool.strategy.type == "LowestCost":
            return min(known, default=None)
        if len(known) < len(prices):
            return None
        weights = [Decimal(int(pull)) for _, pull in pulls(inner, lambda _one: 1.0)]
        return sum((price * weight for price, weight in zip(known, weights, strict=True)), Decimal(0)) / sum(weights)

    def used(self, each: Branch) -> float:
        if isinstance(each.entry, Target):
            return self._asking.used(each.entry)
        state, entry = self._asking.state, each.entry
        own = max(state.levels.used(entry.limits, self._asking.asker, self._asking.now), state.caps.used(entry.caps))
        return max(own, min(self.used(inner) for inner in each.below))
