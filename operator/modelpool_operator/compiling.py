"""One namespace from what was seen to the bytes that are published and the status of each object: pure, and slow enough
with a thousand pools to be done in a thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelpool_config import codec
from modelpool_config.models import ClosedPool, Config, Pool
from modelpool_operator import conditions, manifests
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks.reached import Reach
from modelpool_operator.conditions import Behind, Publication, Status
from modelpool_operator.desired import Desired, desired
from modelpool_operator.forms import Accepted
from modelpool_operator.namespaces import Namespace
from modelpool_operator.problems import Key
from modelpool_operator.resources import Observed


@dataclass(frozen=True, slots=True)
class Compiled:
    """What should be published. `config` None: the namespace gets none. `digests`: of each pool, closed ones too;
    `reach`: what each that runs comes to."""

    result: Desired
    config: bytes | None = field(repr=False)
    accepted: bytes = field(repr=False)
    credentials: Mapping[str, str] = field(repr=False)
    digests: Mapping[str, str]
    reach: Reach = field(repr=False)


@dataclass(frozen=True, slots=True)
class Present:
    """What an object says now: its status, and the generation that was judged."""

    generation: int
    status: Mapping[str, Any]


def compile_namespace(namespace: str, observed: Observed, last_good: Accepted, copied: Mapping[str, str]) -> Compiled:
    """The namespace's config, proved readable with the sidecar's own decoder; InvalidConfigError is a fault of ours."""
    result = desired(observed, last_good=last_good, copied={namespace: copied})
    made: Namespace | None = result.namespaces.get(namespace)
    config = None if made is None else codec.encode(made.config)
    if config is not None:
        codec.decode(config)
    return Compiled(
        result,
        config,
        manifests.pack({key: form for key, form in result.accepted.items() if _is_used(result, key)}),
        made.credentials if made else {},
        {} if made is None else digests(made.config),
        Reach(made.config if made else None),
    )


def _is_used(result: Desired, key: Key) -> bool:
    """A Provider that no pool uses has nothing to fall back to, and takes no room."""
    return key[0] != "Provider" or result.verdicts[key].used


def digests(config: Config) -> dict[str, str]:
    """The digest of each pool by name."""
    each: list[Pool | ClosedPool] = [*config.pools, *config.closed]
    return {pool.name: codec.pool_digest(config, pool) for pool in each}


def digests_of(config: bytes | None) -> dict[str, str]:
    """The same of a config as it stands in a ConfigMap; none where it cannot be read."""
    try:
        return {} if config is None else digests(codec.decode(config))
    except codec.InvalidConfigError:
        return {}


def status_of(compiled: Compiled, key: Key, publication: Publication, present: Present, now: datetime) -> Status:
    """The status of one object as it should be."""
    result = compiled.result
    verdict, resource = result.verdicts[key], result.accepted.get(key)
    if key[0] == "Provider":
        provider = resource if isinstance(resource, Provider) else None
        return conditions.provider_status(verdict, provider, publication, present.status, present.generation, now)
    pool = resource if isinstance(resource, ModelPool) else None
    behind = _behind(compiled, key)
    digest = compiled.digests.get(key[2], "")
    return conditions.pool_status(verdict, pool, behind, digest, publication, present.status, present.generation, now)


def _behind(compiled: Compiled, key: Key) -> Behind:
    _, namespace, name = key
    verdicts, reached = compiled.result.verdicts, compiled.reach.targets(name)
    return Behind(
        reached,
        {each.provider.name: verdicts["Provider", namespace, each.provider.name] for each in reached},
        [(each, verdicts["ModelPool", namespace, each.pool]) for each in compiled.reach.pools(name)],
        [(each, verdicts["ModelPool", namespace, each]) for each in compiled.reach.lost(name)],
    )


def different(
    compiled: Compiled, publication: Publication, presents: Mapping[Key, Present], now: datetime
) -> frozenset[Key]:
    """The objects whose status says something else than it should."""
    return frozenset(
        key
        for key, present in presents.items()
        if key in compiled.result.verdicts
        and conditions.words(present.status) != conditions.words(status_of(compiled, key, publication, present, now))
    )
