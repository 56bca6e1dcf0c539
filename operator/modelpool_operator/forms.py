"""Which form of each object is in force: as it stands now, as it was last accepted, or none (B47)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import names
from modelpool_operator.checks import pool as pool_checks
from modelpool_operator.checks import provider as provider_checks
from modelpool_operator.problems import Key, Problem
from modelpool_operator.resources import Observed, with_document

Accepted = Mapping[Key, Provider | ModelPool]
"""The last accepted form of each object. Whoever calls keeps it between two calls."""


class Form(StrEnum):
    """Which form of an object is in force."""

    CURRENT = "Current"
    LAST_GOOD = "LastGood"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Judged:
    """One object before its references: the form in force, and what is wrong with the one that was written."""

    resource: Provider | ModelPool | None
    form: Form
    problems: tuple[Problem, ...]
    models: tuple[str, ...] = ()
    written: ModelPool | None = None
    """A pool as it was written, where it can be read."""


def judge(observed: Observed, last_good: Accepted) -> dict[Key, Judged]:
    """Every object that was observed, those that cannot be read included."""
    judged: dict[Key, Judged] = {}
    for name, provider in observed.providers.items():
        problems = provider_checks.judge(provider)
        judged["Provider", *name] = _settle(("Provider", *name), provider, problems, last_good)
    for name, pool in observed.pools.items():
        problems = pool_checks.judge(pool)
        models = tuple(model for _path, model in names.claimed(pool))
        judged["ModelPool", *name] = _settle(("ModelPool", *name), pool, problems, last_good, models)
    for key, refused in observed.refused.items():
        judged[key] = _settle(key, None, refused.problems, last_good, refused.models)
    return {
        key: Judged(
            entry.resource,
            entry.form,
            tuple(with_document(problem, observed.documents) for problem in entry.problems),
            entry.models,
            entry.written,
        )
        for key, entry in sorted(judged.items())
    }


def _settle(
    key: Key,
    resource: Provider | ModelPool | None,
    problems: tuple[Problem, ...],
    last_good: Accepted,
    models: tuple[str, ...] = (),
) -> Judged:
    if resource is not None and not problems:
        return Judged(resource, Form.CURRENT, (), models)
    last = last_good.get(key)
    written = resource if isinstance(resource, ModelPool) else None
    return Judged(last, Form.NONE if last is None else Form.LAST_GOOD, problems, models, written)
