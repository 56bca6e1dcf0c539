"""Where the pod stands in a manifest, and the manifest with the sidecar in that pod."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelpool_operator.inject import Injected, Pod, inject, opted_out
from modelpool_operator.inject_checks import CannotInjectError
from modelpool_operator.inject_container import Options

_TEMPLATE = ("spec", "template")
PODS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""By API group and kind: the way to what has a pod's `metadata` and `spec`."""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """There is a pod in it, whose label says no."""


def inject_manifest(manifest: Mapping[str, Any], options: Options) -> Injected | OptedOut | None:
    """The manifest with the sidecar; None where there is no pod in it. Raises CannotInjectError."""
    path = _path(manifest)
    if path is None:
        return None
    return _at(manifest, path, (), options)


def _path(manifest: Mapping[str, Any]) -> tuple[str, ...] | None:
    version = manifest.get("apiVersion")
    group = version.rpartition("/")[0] if isinstance(version, str) else None
    return PODS.get((str(group), str(manifest.get("kind"))))


def _at(fields: Pod, path: Sequence[str], way: tuple[str, ...], options: Options) -> Injected | OptedOut:
    """Go down the way, and put what comes back in the place of what was there."""
    if not path:
        return _mutated(fields, way, options)
    name, *rest = path
    inner = fields.get(name)
    if not isinstance(inner, Mapping):
        raise CannotInjectError(f"{'.'.join((*way, name))} must be a map")
    found = _at(inner, rest, (*way, name), options)
    if isinstance(found, OptedOut):
        return found
    return Injected({**fields, name: found.pod}, found.warnings)


def _mutated(pod: Pod, way: tuple[str, ...], options: Options) -> Injected | OptedOut:
    where = "".join(f"{name}." for name in way)
    try:
        if opted_out(pod):
            return OptedOut()
        return inject(pod, options)
    except CannotInjectError as error:
        raise CannotInjectError(f"{where}{error}") from error
