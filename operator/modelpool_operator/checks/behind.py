"""Can a target that is a pool be asked: does that pool serve, and is not too much behind it (B7)?

Pools are looked at from the inside to the outside. What stands behind a target is counted with it: every sidecar holds
all of it, for each pool on the way.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from modelpool_config import models as contract
from modelpool_operator.api.modelpool import ModelPool

MOST_LEVELS = 5
"""Pools that stand behind each other, the outermost counted."""
MOST_TARGETS = 256
"""Targets of one pool, those behind its targets counted."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a pool that serves: pools behind each other, and targets with a Provider."""

    levels: int
    targets: int


@dataclass(frozen=True, slots=True)
class Shut:
    """Why a pool cannot be asked, as reason and sentence."""

    reason: str
    message: str


class Behind:
    """The pools that were looked at, by name. `known`: those that no form of is in force, with their sentence."""

    def __init__(self, refused: Mapping[str, str]) -> None:
        self._known: dict[str, Size | Shut] = {
            name: Shut("InvalidSpec", f"ModelPool {name} was not accepted: {message}")
            for name, message in refused.items()
        }

    def add(self, pool: contract.Pool | contract.ClosedPool, unresolved: tuple[contract.Unresolved, ...]) -> None:
        """A pool was compiled."""
        if isinstance(pool, contract.ClosedPool):
            message = f"ModelPool {pool.name}: {pool.message}"
            self._known[pool.name] = Shut(unresolved[0].reason, message)
        else:
            self._known[pool.name] = self.size(len(pool.targets), (target.pool for target in pool.pool_targets))

    def size(self, own: int, pools: Iterable[str]) -> Size:
        """Of a pool with so many targets at Providers and these pools behind its others."""
        sizes = [size for name in pools if isinstance(size := self._known[name], Size)]
        return Size(1 + max((size.levels for size in sizes), default=0), own + sum(size.targets for size in sizes))

    def why_not(self, pool: str, before: Size) -> tuple[Shut | None, str | None]:
        """Why a target cannot be asked, None where it can; and the end of a sentence about the target, where it is one
        too many. `before`: what the outer pool has so far."""
        found = self._known[pool]
        if isinstance(found, Shut):
            return found, None
        if found.levels >= MOST_LEVELS:
            text = f"must have at most {MOST_LEVELS - 1} pools behind each other, not {found.levels}"
        elif before.targets + found.targets > MOST_TARGETS:
            text = f"must lead to at most {MOST_TARGETS} targets with all others, not {before.targets + found.targets}"
        else:
            return None, None
        return Shut("InvalidSpec", f"ModelPool {pool}: a target {text}"), text


def innermost_first(pools: Mapping[str, ModelPool], left_out: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The names of pools, each after those behind its targets. `left_out`: targets that lead nowhere or in a circle."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        for target in pools[name].spec.targets:
            inner = target.pool_ref.name if target.pool_ref is not None else None
            if inner in pools and inner not in done and target.name not in left_out[name]:
                yield from visit(str(inner))
        done.add(name)
        yield name

    for name in pools:
        if name not in done:
            yield from visit(name)
