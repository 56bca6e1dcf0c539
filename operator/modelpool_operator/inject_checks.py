"""Whether a pod can have the sidecar, and what its owner should know if it can.

Shapes first: what is not a pod is told by the field that is wrong, never by a traceback. The API server has checked
them before the admission webhook sees a pod; a manifest on disk has been checked by nobody.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from modelpool_operator import inject_container
from modelpool_operator.inject_container import NAME, PORTS, TOKEN_VOLUME

_LISTS = ("initContainers", "containers", "volumes")
_LISTS_OF_A_CONTAINER = ("env", "envFrom", "ports", "volumeMounts")


class CannotInjectError(ValueError):
    """The sidecar would not work in this pod; the message is a sentence that begins with the field."""


def refuse(pod: Mapping[str, Any]) -> None:
    """Raises CannotInjectError where it cannot work."""
    problem = next(chain(_shapes(pod), _obstacles(pod)), None)
    if problem is not None:
        raise CannotInjectError(problem)


def warn(spec: Mapping[str, Any]) -> Iterator[str]:
    """What works otherwise than one might think."""
    if spec.get("hostNetwork"):
        yield (
            "hostNetwork is on: the sidecar listens on the node's own loopback, where every process of the node can "
            "use its keys, and two such pods cannot run on one node"
        )
    if spec.get("shareProcessNamespace"):
        yield "shareProcessNamespace is on: other containers that run as root can read the sidecar's keys under /proc"


def _shapes(pod: Mapping[str, Any]) -> Iterator[str]:
    """What is not what a pod has there; who asks takes the first, and what follows may rely on what stands before."""
    spec = pod.get("spec")
    if isinstance(spec, Mapping):
        yield from _metadata_shapes(pod.get("metadata"))
        if not spec.get("containers"):
            yield "spec.containers must be a list with at least one container"
        for name in _LISTS:
            yield from _maps(f"spec.{name}", spec.get(name))
        for where, container in _containers(spec):
            for name in _LISTS_OF_A_CONTAINER:
                yield from _maps(f"{where}.{name}", container.get(name))
    else:
        yield "spec must be a map with containers"


def _metadata_shapes(metadata: object) -> Iterator[str]:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        yield "metadata must be a map"
    elif not isinstance(metadata.get("labels") or {}, Mapping):
        yield "metadata.labels must be a map"


def _maps(where: str, value: object) -> Iterator[str]:
    if isinstance(value, list):
        yield from (
            f"{where}[{index}] must be a map" for index, each in enumerate(value) if not isinstance(each, Mapping)
        )
    elif value is not None:
        yield f"{where} must be a list"


def _obstacles(pod: Mapping[str, Any]) -> Iterator[str]:
    spec = pod["spec"]
    if _is_windows(spec):
        yield "spec asks for Windows: the sidecar's image is for Linux; leave such pods out"
    for where, container in _containers(spec):
        if container.get("name") == NAME and not (
            where.startswith("spec.initContainers") and inject_container.is_container(container)
        ):
            yield f'{where}.name must not be "{NAME}", the name of the sidecar; rename it'
        yield from _taken_ports(where, container)
    for index, volume in enumerate(_list(spec, "volumes")):
        if volume.get("name") in (NAME, TOKEN_VOLUME) and not inject_container.is_volume(volume):
            yield f'spec.volumes[{index}].name must not be "{volume["name"]}", a volume of the sidecar; rename it'


def _is_windows(spec: Mapping[str, Any]) -> bool:
    system, selector = spec.get("os"), spec.get("nodeSelector")
    return (isinstance(system, Mapping) and system.get("name") == "windows") or (
        isinstance(selector, Mapping) and selector.get("kubernetes.io/os") == "windows"
    )


def _taken_ports(where: str, container: Mapping[str, Any]) -> Iterator[str]:
    """UDP ports are others'. Of our own sidecar only the port is declared that it has to itself."""
    if container.get("name") == NAME:
        return
    for index, port in enumerate(_list(container, "ports")):
        if port.get("containerPort") in PORTS and port.get("protocol", "TCP") == "TCP":
            yield (
                f"{where}.ports[{index}].containerPort must not be one of {', '.join(map(str, PORTS))}, on which the "
                f"sidecar listens, not {port['containerPort']}; let the container listen on another one"
            )


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ("initContainers", "containers"):
        for index, container in enumerate(_list(spec, name)):
            yield f"spec.{name}[{index}]", container


def _list(fields: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else ()
