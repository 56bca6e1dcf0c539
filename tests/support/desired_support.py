"""What should exist for some manifests, in short words."""

from typing import Any

from modelpool_config import models as contract
from modelpool_operator.desired import Desired, desired
from modelpool_operator.forms import Accepted
from modelpool_operator.resources import observe

Raw = dict[str, Any]


def run(*manifests: object, last: Desired | None = None, **more: Any) -> Desired:
    """One pass; `last` is the pass before, with its accepted forms and the keys that it handed out."""
    accepted: Accepted = last.accepted if last else {}
    copied = {name: part.credentials for name, part in last.namespaces.items()} if last else {}
    return desired(observe(list(manifests), **more), last_good=accepted, copied=copied)


def config_of(result: Desired, namespace: str = "default") -> contract.Config:
    return result.namespaces[namespace].config


def a_written_target(name: str, at: str = "openai", **more: Any) -> Raw:
    return {"name": name, "providerRef": {"name": at}, **more}
