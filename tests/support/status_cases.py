"""A namespace from manifests to the status of each object, as the operator would say it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from modelpool_operator import compiling, conditions
from modelpool_operator.compiling import Compiled, Present
from modelpool_operator.conditions import Publication, Said
from modelpool_operator.forms import Accepted
from modelpool_operator.problems import Key
from modelpool_operator.resources import observe

NAMESPACE = "default"
NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
PROVIDER: Key = ("Provider", NAMESPACE, "openai")
POOL: Key = ("ModelPool", NAMESPACE, "chat")


@dataclass(frozen=True)
class World:
    """One namespace as it was compiled; `publication` None: everything stands in its ConfigMap."""

    compiled: Compiled
    publication: Publication | None = None

    def status(
        self, key: Key = POOL, present: Mapping[str, Any] | None = None, now: datetime = NOW, generation: int = 1
    ) -> dict[str, Any]:
        """The status of one object; `present`: what it says so far."""
        published = self.publication or Publication(self.compiled.digests, NOW)
        return compiling.status_of(self.compiled, key, published, Present(generation, present or {}), now)

    def said(self, kind: str, key: Key = POOL) -> tuple[str, str, str]:
        """One condition: status, reason and message."""
        found = conditions.find(self.status(key), kind)
        return found["status"], found["reason"], found["message"]

    def with_publication(self, publication: Publication) -> "World":
        """The same, where something else stands in its ConfigMap."""
        return replace(self, publication=publication)


def world(
    *manifests: object,
    last: World | None = None,
    copied: Mapping[str, str] | None = None,
    unreadable: Mapping[tuple[str, str], str] | None = None,
    blocked: Said | None = None,
) -> World:
    """These manifests compiled. `last`: the time before, with its accepted forms and the keys that it handed out;
    `blocked`: why nothing of it could be written."""
    accepted: Accepted = last.compiled.result.accepted if last else {}
    known = copied if copied is not None else (last.compiled.credentials if last else {})
    observed = replace(observe(list(manifests)), unreadable=unreadable or {})
    compiled = compiling.compile_namespace(NAMESPACE, observed, accepted, known)
    return World(compiled, Publication({}, blocked=blocked) if blocked else None)
