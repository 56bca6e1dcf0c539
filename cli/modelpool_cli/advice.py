"""What helps on disk, in place of the kubectl line that helps in a cluster.

The operator's sentences end with the command that mends the matter there. Whoever runs manifests from disk has no such
command: a Secret is a file beside the others, an option, or a variable.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from modelpool_cli.manifests import Loaded
from modelpool_config import models as contract
from modelpool_operator.namespaces import Namespace
from modelpool_operator.problems import Problem
from modelpool_operator.resources import Observed

_MAKE = re.compile(r"; kubectl create secret generic (\S+) -n \S+ --from-literal=([^;]+)=YOUR_KEY")
_KUBECTL = re.compile(r"; kubectl [^;)]*")
_VALUE = re.compile(r'names the key "([^"]*)" of the Secret "([^"]*)", whose value')
_NO_HEADER = "has characters that no header can carry"
_Told = TypeVar("_Told", contract.ClosedPool, contract.Unresolved)
_TWICE = "; the first one holds"


@dataclass(frozen=True, slots=True)
class Advice:
    """`given`: what `--secret` names, as the Secret's name and key."""

    observed: Observed
    loaded: Loaded
    given: Collection[tuple[str, str]]

    def sentence(self, problem: Problem) -> str:
        """What is wrong, and what helps here."""
        if problem.message.endswith(_TWICE) and problem.key in self.observed.documents:
            first = self.loaded.manifests[self.observed.documents[problem.key]].place(("metadata", "name"))
            return f"{problem.message.removesuffix(_TWICE)}; the first one, {first}, holds"
        message = without_kubectl(problem.message)
        named = _VALUE.search(message) if problem.reason == "InvalidCredential" else None
        return message if named is None else f"{message}; {self._mend(problem.namespace, named[2], named[1], message)}"

    def _mend(self, namespace: str, name: str, key: str, message: str) -> str:
        """What to do about a value that is there and cannot be sent."""
        if (name, key) in self.given:
            return f"--secret {name}/{key} must name the key itself"
        number = self.observed.documents.get(("Secret", namespace, name))
        if number is None:
            return "give it another value"
        manifest = self.loaded.manifests[number]
        coded = manifest.value.get("data")
        path = ("data" if isinstance(coded, dict) and key in coded else "stringData", key)
        place = manifest.place(path)
        plain = manifest.value.get("stringData")
        if path[0] == "data" and not (isinstance(plain, dict) and key in plain) and _NO_HEADER in message:
            return f"what stands under data, {place}, is taken as base64: plain text belongs in stringData"
        return f"correct it at {place}"


def without_kubectl(message: str) -> str:
    """The sentence of a problem or of a closed pool, with what helps on disk."""
    helps = r"; put a Secret beside it, or pass --secret \1/\2=env:VARIABLE"
    return _KUBECTL.sub("", _MAKE.sub(helps, message))


def of_disk(namespaces: Mapping[str, Namespace]) -> dict[str, Namespace]:
    """The same configs, whose refusals and left-out targets tell their reason without kubectl."""
    return {name: replace(each, config=_config(each.config)) for name, each in namespaces.items()}


def _config(config: contract.Config) -> contract.Config:
    pools = tuple(
        pool.model_copy(update={"unresolved": tuple(_told(entry) for entry in pool.unresolved)})
        for pool in config.pools
    )
    return config.model_copy(update={"pools": pools, "closed": tuple(_told(pool) for pool in config.closed)})


def _told(entry: _Told) -> _Told:
    return entry.model_copy(update={"message": without_kubectl(entry.message)})
