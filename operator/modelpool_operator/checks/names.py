"""Which pool a model name belongs to where two of them claim it: the older one; of equal age, the first by name.

The loser keeps its other names. A pool that was never accepted takes no name from one that was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.types import shown
from modelpool_operator.checks.finding import Finding
from modelpool_operator.problems import Path, Problem

_YOUNGEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claims:
    """For each pool of one namespace, by name, the model names that it gets; and what is said to the losers."""

    models: Mapping[str, tuple[str, ...]]
    problems: Mapping[str, tuple[Problem, ...]]


def settle(pools: Iterable[ModelPool], refused: Mapping[str, tuple[str, ...]]) -> Claims:
    """The names of the pools of one namespace; `refused` are pools that cannot be read, with the names they claim."""
    owners: dict[str, ModelPool] = {}
    models: dict[str, tuple[str, ...]] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for pool in sorted(pools, key=_age):
        mine: list[str] = []
        lost: list[Problem] = []
        for path, model in claimed(pool):
            owner = owners.setdefault(model, pool)
            if owner is pool:
                mine.append(model)
            else:
                lost.append(_conflict(pool, owner, path, model))
        models[pool.metadata.name], problems[pool.metadata.name] = tuple(mine), tuple(lost)
    taken = set(owners)
    for name in sorted(refused):
        models[name] = tuple(model for model in refused[name] if model not in taken)
        taken.update(models[name])
    return Claims(models, problems)


def claimed(pool: ModelPool) -> list[tuple[Path, str]]:
    """The model names that a pool asks for, each with where it stands; without `models`, its own name."""
    if pool.spec.models is None:
        return [(("metadata", "name"), pool.metadata.name)]
    return [(("spec", "models", index, "name"), model.name) for index, model in enumerate(pool.spec.models)]


def _age(pool: ModelPool) -> tuple[datetime, str]:
    return pool.metadata.creation_timestamp or _YOUNGEST, pool.metadata.name


def _conflict(pool: ModelPool, owner: ModelPool, path: Path, model: str) -> Problem:
    older = _age(owner)[0] < _age(pool)[0]
    why = "is older" if older else "comes first by name"
    text = f"claims the model name {shown(model)}, which belongs to ModelPool {owner.metadata.name}: that one {why}"
    found = Finding(path, text, "ModelNameConflict")
    return found.problem(("ModelPool", pool.metadata.namespace, pool.metadata.name))
