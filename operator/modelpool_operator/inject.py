"""A pod with the sidecar in it: the one mutation that the admission webhook and `modelpool inject` share.

A pure function of pod and options. Injecting twice is injecting once: a sidecar of ours, of any version, is replaced,
and nothing that somebody else wrote is. Where the sidecar could not work, the pod is refused with a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpool_operator import inject_checks, inject_container
from modelpool_operator.inject_container import CLIENTS, LABEL, OPT_OUT_LABEL, Client, Options

Pod = Mapping[str, Any]
"""`metadata` and `spec`, as in a Pod or in a workload's `template`."""


@dataclass(frozen=True, slots=True)
class Injected:
    """The mutated pod, and sentences about what its owner should know."""

    pod: dict[str, Any]
    warnings: tuple[str, ...] = ()


def opted_out(pod: Pod) -> bool:
    """Whether its label says that no sidecar is wanted; that wins over everything else."""
    metadata = pod.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return isinstance(labels, Mapping) and labels.get(OPT_OUT_LABEL) == "false"


def inject(pod: Pod, options: Options) -> Injected:
    """The pod with the sidecar. Raises CannotInjectError. The order of fields stays; the pod itself is not touched."""
    inject_checks.refuse(pod)
    spec = pod["spec"]
    warnings = [*inject_checks.warn(spec)]
    others = [each for each in spec.get("initContainers") or () if not inject_container.is_container(each)]
    volumes = [each for each in spec.get("volumes") or () if not inject_container.is_volume(each)]
    metadata = pod.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), LABEL: "true"}
    return Injected(
        _with(
            pod,
            before="spec",
            metadata={**metadata, "labels": labels},
            spec=_with(
                spec,
                before="containers",
                initContainers=[
                    inject_container.container(options),
                    *(_pointed_here(each, warnings) for each in others),
                ],
                containers=[_pointed_here(each, warnings) for each in spec["containers"]],
                volumes=[*volumes, *inject_container.volumes()],
            ),
        ),
        tuple(warnings),
    )


def _with(fields: Mapping[str, Any], *, before: str, **more: Any) -> dict[str, Any]:
    """These fields set: in place where they are there, else in front of the one that is named."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name == before:
            found |= {each: more[each] for each in more if each not in fields}
        found[name] = more.get(name, value)
    return found


def _pointed_here(container: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """A container whose SDKs find the sidecar; what it sets itself stays, and is told where it leads past the sidecar.

    Variables that `envFrom` brings cannot be seen here, and `env` wins over them: the address is set all the same, for
    that is what was asked for, and the key is left to them.
    """
    env = list(container.get("env") or ())
    for client in CLIENTS:
        env += _added(container, client, warnings)
    return {**container, "env": env}


def _added(container: Mapping[str, Any], client: Client, warnings: list[str]) -> list[dict[str, str]]:
    name, url, key = container.get("name"), client.url_variable, client.key_variable
    own_url, own_key = _variable(container, url), _variable(container, key)
    if own_url is not None and own_url.get("value") != client.url:
        warnings.append(f"container {name} sets {url} itself: what it sends there does not go through the sidecar")
        return []
    added = [{"name": url, "value": client.url}] if own_url is None else []
    if own_key is None and not container.get("envFrom"):
        added.append({"name": key, "value": client.key})
    elif own_key is None:
        warnings.append(
            f"container {name} has envFrom: an {url} in it is overridden; {key} is left to it, and where it brings "
            f"none, set {key} to any word, for the SDK insists on one"
        )
    return added


def _variable(container: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((each for each in container.get("env") or () if each.get("name") == name), None)
