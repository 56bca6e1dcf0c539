"""Where pools lead to other pools: is each of them there, and does every way end (B7, B20)?

A way that leads back to the pool it began at is no fallback: it would be walked for nothing. Each pool on such a circle
says so and does without the links that make it; it serves from its own targets. A target that is a pool is left out
where it stands behind itself; where it takes a fallback to lead back, the fallback goes and the target stays.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from modelpool_config import models as contract
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.checks.finding import Finding
from modelpool_operator.problems import Path, Problem, hint_at

NOT_FOUND = "PoolNotFound"
FALLBACK: Path = ("spec", "fallback")
_Edges = Mapping[str, tuple[str, ...]]
_Missing = Callable[[Path, str], Finding | None]


@dataclass(frozen=True, slots=True)
class Links:
    """The pools that one pool may go on to, and what is wrong with the others that it names. `left_out`: why targets
    that are pools cannot be asked, by their names."""

    pools: tuple[contract.FallbackPools, ...]
    problems: tuple[Problem, ...]
    left_out: Mapping[str, contract.Unresolved] = field(default_factory=dict)


def follow(
    namespace: str, pools: Mapping[str, ModelPool], known: Collection[str], elsewhere: Mapping[str, str]
) -> dict[str, Links]:
    """For each running pool of a namespace. `known`: the names of all pools there, those that cannot run included;
    `elsewhere`: by name, the namespaces of other pools."""
    behind = {name: tuple(dict.fromkeys(other for _, _, other in _targets(pool))) for name, pool in pools.items()}
    edges = {
        name: tuple(dict.fromkeys((*behind[name], *(other for _, _, other in _named(pool)))))
        for name, pool in pools.items()
    }
    missing = functools.partial(_missing, namespace, known=known, elsewhere=elsewhere)
    return {name: _links(namespace, pool, edges, behind, missing) for name, pool in pools.items()}


def _links(namespace: str, pool: ModelPool, edges: _Edges, behind: _Edges, missing: _Missing) -> Links:
    name = pool.metadata.name
    left: dict[contract.Reason, list[str]] = {}
    problems: list[Problem] = []
    left_out: dict[str, contract.Unresolved] = {}
    for target, path, other in _targets(pool):
        found = missing(path, other) or _circle(path, name, other, behind)
        if found is not None:
            problems.append(found.problem(("ModelPool", namespace, name)))
            left_out[target] = contract.Unresolved(target=target, reason=found.reason, message=f"poolRef {found.text}")
    for when, path, other in _named(pool):
        found = missing(path, other) or _circle(path, name, other, edges)
        if found is None:
            left.setdefault(when, []).append(other)
        else:
            problems.append(found.problem(("ModelPool", namespace, name)))
    kept = tuple(contract.FallbackPools(when=when, pools=tuple(each)) for when, each in left.items())
    return Links(kept, tuple(problems), left_out)


def _targets(pool: ModelPool) -> Iterator[tuple[str, Path, str]]:
    for index, target in enumerate(pool.spec.targets):
        if target.pool_ref is not None:
            yield target.name, ("spec", "targets", index, "poolRef", "name"), target.pool_ref.name


def _named(pool: ModelPool) -> Iterator[tuple[contract.Reason, Path, str]]:
    for index, each in enumerate((pool.spec.fallback.pools if pool.spec.fallback else None) or ()):
        for place, ref in enumerate(each.pool_refs):
            yield each.when, ("spec", "fallback", "pools", index, "poolRefs", place, "name"), ref.name


def _missing(
    namespace: str, path: Path, other: str, known: Collection[str], elsewhere: Mapping[str, str]
) -> Finding | None:
    if other in known:
        return None
    hint = hint_at(other, known, elsewhere, f"kubectl get mpool -n {namespace}")
    text = f"leads nowhere: there is no ModelPool {other} in namespace {namespace}; {hint}"
    return Finding(path, text, NOT_FOUND, "ResolvedRefs")


def _circle(path: Path, name: str, other: str, edges: _Edges) -> Finding | None:
    """Whether the link to `other` leads back; the shortest way is the one that is told."""
    way = _way(other, name, edges)
    if way is None:
        return None
    return Finding(path, f"leads back here, so that the pool does without it: {' -> '.join((name, *way))}", "Cycle")


def _way(start: str, end: str, edges: _Edges) -> tuple[str, ...] | None:
    """The shortest way, both ends included."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    waiting = [start]
    for here in waiting:  # it grows as the way is found
        if here == end:
            return ways[here]
        for there in edges.get(here, ()):
            if there not in ways:
                ways[there] = (*ways[here], there)
                waiting.append(there)
    return None
