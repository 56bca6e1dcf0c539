"""What stands behind a target that is a pool: that pool's own targets, as the outer pool asks them (B7).

A target behind another pool is the same one as there - the same health, the same limits, the same key - under a longer
name. On the way to it count, from the outside to the inside: the headers that each level asks for, all of them; the
parameters of each level, one after the other, as if the outer pool were a client of the inner one; the limits of each
level. The inner pool's strategy and its tiers stay its own (`nesting`); its fallback, deadline and last resort do not
apply.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from modelpool_config import models as contract
from modelpool_sidecar.core import allowance, hashing, parameters
from modelpool_sidecar.core.parameters import Parameters
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, PoolTarget, Target


@dataclass(slots=True)
class Chain:
    """What a pool's targets that are pools come to. `closed`: those whose pool cannot serve here."""

    pool_targets: list[PoolTarget] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    behind: dict[str, Pool] = field(default_factory=dict)
    closed: list[tuple[contract.PoolTarget, ClosedPool]] = field(default_factory=list)

    @property
    def unresolved(self) -> tuple[contract.Unresolved, ...]:
        """The targets that the pool has to do without in this sidecar."""
        return tuple(
            contract.Unresolved(target=raw.name, reason=pool.code, message=f"pool {pool.name}: {pool.message}")
            for raw, pool in self.closed
        )


def of(
    raw: contract.Pool,
    pools: Mapping[str, Pool | ClosedPool],
    compiled: Callable[[tuple[contract.Parameter, ...]], Parameters],
) -> Chain:
    """The chain of a pool. `pools`: those that are compiled, the inner ones among them; `compiled`: of parameters."""
    chain = Chain()
    shared = compiled(raw.parameters) if raw.pool_targets else ()
    for target in raw.pool_targets:
        inner = pools[target.pool]
        if isinstance(inner, ClosedPool):
            chain.closed.append((target, inner))
            continue
        limits = (*allowance.compiled("target", f"{raw.name}/{target.name}", target.limits), *inner.request_limits)
        through = PoolTarget(
            name=target.name,
            pool=inner,
            weight=target.weight,
            priority=target.priority,
            # Never the seed of a target: a key must not fall in the inner pool as it fell in the outer one.
            seed=hashing.number(f"{raw.name}/{target.name}/"),
            limits=limits,
            caps=allowance.caps("target", f"{raw.name}/{target.name}", target.limits),
        )
        chain.pool_targets.append(through)
        chain.behind |= {inner.name: inner, **inner.behind}
        changes = parameters.merged(shared, compiled(target.parameters))
        match = tuple((header.name.lower(), header.value) for header in target.match_headers)
        gated = inner.concurrency is not None or bool(inner.caller_caps or inner.caller_limits)
        for each in inner.targets.values():
            name = f"{target.name}/{each.name}"
            chain.targets[name] = replace(
                each,
                name=name,
                weight=each.weight if target.weight else 0,
                priority=target.priority,
                match=(*match, *each.match),
                parameters=(*changes, *each.parameters),
                changes_choices=each.changes_choices or parameters.change_choices(changes),
                limits=(*limits, *each.limits),
                caps=(*through.caps, *each.caps),
                places=(allowance.place("target", f"{raw.name}/{target.name}"), *each.places),
                through=through,
                inner=each,
                passed=(inner, *each.passed),
                gated=gated or each.gated,
            )
    return chain


def innermost_first(pools: Sequence[contract.Pool]) -> list[contract.Pool]:
    """Each pool after those behind its targets; `codec` has seen that there is no circle."""
    by_name, done = {pool.name: pool for pool in pools}, dict[str, contract.Pool]()

    def visit(pool: contract.Pool) -> None:
        for target in pool.pool_targets:
            inner = by_name.get(target.pool)  # one that is closed is not among them
            if inner is not None and inner.name not in done:
                visit(inner)
        done[pool.name] = pool

    for pool in pools:
        if pool.name not in done:
            visit(pool)
    return list(done.values())


def entries(pool: Pool) -> list[Target | PoolTarget]:
    """What stands in the pool itself."""
    own: list[Target | PoolTarget] = [target for target in pool.targets.values() if target.through is None]
    return [*own, *pool.pool_targets]


def told(pool: Pool, target: Target) -> dict[str, Any]:
    """For `/-/state`: through which pools a target is reached, the weights of its tier, and its part of the requests
    where every weight counts and nothing is away."""
    names, of, part = [], 0, 1.0
    here: Target | None = target
    while here is not None:
        entry = here.through or here
        among = [each.weight for each in entries(pool) if each.priority == entry.priority]
        of = sum(among)
        part *= entry.weight / of if of else 1 / len(among)
        if isinstance(entry, PoolTarget):
            pool = entry.pool
            names.append(pool.name)
        here = here.inner
    return {"through": names, "of": of, "part": round(part, 4)}
