"""Which targets a pool's requests come to, those behind its targets that are pools too (B7).

It walks the config, not the manifests: links that lead in a circle, or to a pool that cannot serve, are gone from
there, and how much stands behind a pool has an end (`behind`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from modelpool_config import models as contract


@dataclass(frozen=True, slots=True)
class Reached:
    """One target at a Provider. `name`: as the sidecars write it, `near/b`; `through`: the pools on the way, from the
    outside to the inside; `asked`: the models that it may be asked for."""

    name: str
    through: tuple[str, ...]
    provider: contract.Provider
    asked: tuple[str, ...]

    def __str__(self) -> str:
        way = "".join(f"ModelPool {pool}, " for pool in self.through)
        return f"target {self.name} ({way}Provider {self.provider.name})"

    @property
    def declared(self) -> tuple[contract.Model | None, ...]:
        """What is known of each model that it may be asked for; a name that is a pattern is none of them."""
        known = {model.name: model for model in self.provider.models}
        return tuple(known.get(name) for name in self.asked if not name.endswith("*"))


@dataclass(frozen=True, slots=True)
class Inner:
    """A pool behind a target; `target` is the name of that one, `near` or `near/far`."""

    target: str
    pool: str


class Reach:
    """The pools of one namespace that can run, and what each comes to."""

    def __init__(self, config: contract.Config | None) -> None:
        self._pools = {pool.name: pool for pool in (config.pools if config else ())}
        self._providers = {provider.name: provider for provider in (config.providers if config else ())}

    def targets(self, pool: str) -> tuple[Reached, ...]:
        """In the order of the manifests, a pool's own first; none where the pool does not run."""
        found = self._pools.get(pool)
        return () if found is None else tuple(self._walk(found, found.models, "", ()))

    def pools(self, pool: str) -> tuple[Inner, ...]:
        """The pools behind its targets, one that is behind two of them twice."""
        found = self._pools.get(pool)
        return () if found is None else tuple(self._inner(found, ""))

    def lost(self, pool: str) -> tuple[str, ...]:
        """The pools that it may fall back to and that cannot run."""
        found = self._pools.get(pool)
        named = [] if found is None else [name for each in found.fallback.pools for name in each.pools]
        return tuple(name for name in dict.fromkeys(named) if name not in self._pools)

    def _walk(
        self, pool: contract.Pool, names: tuple[str, ...], before: str, through: tuple[str, ...]
    ) -> Iterator[Reached]:
        for own in pool.targets:
            asked = names if own.model is None else (own.model,)
            yield Reached(before + own.name, through, self._providers[own.provider], asked)
        for each in pool.pool_targets:
            yield from self._walk(self._pools[each.pool], names, f"{before}{each.name}/", (*through, each.pool))

    def _inner(self, pool: contract.Pool, before: str) -> Iterator[Inner]:
        for each in pool.pool_targets:
            yield Inner(before + each.name, each.pool)
            yield from self._inner(self._pools[each.pool], f"{before}{each.name}/")
