"""The values of the Secrets that Providers and pools name, and of no others: read by name, once for each version."""

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
    """Holds each value as long as something in the namespace names it and its version is the one that was seen."""

    def __init__(self, kube: Kube, store: Store) -> None:
        self._kube = kube
        self._store = store
        self._values: dict[str, dict[str, tuple[int, Data]]] = {}
        self._named: dict[str, frozenset[str]] = {}

    async def read(self, namespace: str, wanted: Iterable[str]) -> Values:
        """The Secrets with these names; one that is not there is left out."""
        names = tuple(wanted)
        before, held = self._values.get(namespace, {}), {}
        unreadable: dict[Name, str] = {}
        passing, silent = False, None
        for name in names:
            mark = self._store.secrets.get((namespace, name))
            if mark is None:
                continue
            have = before.get(name)
            if have is not None and have[0] >= mark.version:
                held[name] = have
                continue
            try:
                held[name] = await self._get(namespace, name, silent)
            except ApiError as error:
                if error.absent:
                    continue
                passing = passing or not error.lasting
                silent = None if error.status else error
                if have is None or error.lasting:
                    unreadable[namespace, name] = str(error)
                else:
                    held[name] = have
        self._values[namespace], self._named[namespace] = held, frozenset(names)
        return Values({(namespace, name): data for name, (_, data) in held.items()}, unreadable, passing)

    def holds(self, namespace: str, name: str) -> bool:
        """Whether something that is in force there names the Secret, be it there or not."""
        return name in self._named.get(namespace, ())

    def forget(self, namespace: str) -> None:
        """Nothing of this namespace is needed any more."""
        self._values.pop(namespace, None)
        self._named.pop(namespace, None)

    async def _get(self, namespace: str, name: str, silent: ApiError | None) -> tuple[int, Data]:
        """One Secret; `silent`: the last one was not answered, and nobody waits as long for each of them."""
        if silent is not None:
            raise silent
        secret = await self._kube.get(paths.secret(namespace, name))
        data = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
        return version_of(secret["metadata"].get("resourceVersion")), data


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return b""
