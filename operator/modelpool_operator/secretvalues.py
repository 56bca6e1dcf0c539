"""The values of the Secrets that Providers name, and of no others: read by name, once for each version."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelpool_operator import paths
from modelpool_operator.kube import ApiError, Kube
from modelpool_operator.store import Store
from modelpool_operator.table import Name, version_of

Data = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Values:
    """What could be read, the value before where the new one cannot be read for a passing reason (`passing`).

    `unreadable`: Secrets that are there and have no value yet, with why."""

    secrets: Mapping[Name, Data] = field(repr=False)
    unreadable: Mapping[Name, str]
    passing: bool


class SecretValues:
    """Holds each value as long as a Provider of the namespace names it and its version is the one that was seen."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube = kube
        self._store = store
        self._values: dict[str, dict[str, tuple[int, Data]]] = {}

    async def read(self, namespace: str, wanted: Iterable[str]) -> Values:
        """The Secrets with these names; one that is not there is left out."""
        before, held = self._values.get(namespace, {}), {}
        unreadable: dict[Name, str] = {}
        passing = False
        for name in wanted:
            mark = self._store.secrets.get((namespace, name))
            if mark is None:
                continue
            have = before.get(name)
            if have is not None and have[0] == mark.version:
                held[name] = have
                continue
            try:
                held[name] = await self._get(namespace, name)
            except ApiError as error:
                if error.absent:
                    continue
                passing = passing or not error.lasting
                if have is None or error.lasting:
                    unreadable[namespace, name] = str(error)
                else:
                    held[name] = have
        self._values[namespace] = held
        return Values({(namespace, name): data for name, (_, data) in held.items()}, unreadable, passing)

    def holds(self, namespace: str, name: str) -> bool:
        """Whether the Secret was read for something that is in force there."""
        return name in self._values.get(namespace, {})

    def forget(self, namespace: str) -> None:
        """Nothing of this namespace is needed any more."""
        self._values.pop(namespace, None)

    async def _get(self, namespace: str, name: str) -> tuple[int, Data]:
        secret = await self._kube.get(paths.secret(namespace, name))
        data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
        return version_of(secret["metadata"].get("resourceVersion")), data


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""
