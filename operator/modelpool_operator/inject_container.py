"""What is added to a pod: the sidecar's container, its volumes, the label, and the variables of the clients.

Every value that a cluster was seen to insist on stands here: all of PodSecurity's settings on the container itself,
because a pod need not have its own; files that others than root may read, because volume files belong to root; an
empty folder over the token, which the sidecar does not need and so never holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpool_config import mount
from modelpool_operator.inject_quantities import amount

NAME = "modelpool"
"""Of the container, and of the volume with config and credentials."""
TOKEN_VOLUME = "modelpool-no-token"  # noqa: S105 - the name of a volume
LABEL = "modelpool.dev/sidecar"
OPT_OUT_LABEL = "modelpool.dev/inject"
DATA_PORT = 4891
ADMIN_PORT = 4892
PORTS = (DATA_PORT, ADMIN_PORT, 4893)
USER_ID = 65532
_FILE_MODE = 0o444
_TOKEN_DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - the name of a folder


class OptionsError(ValueError):
    """No container can have these; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    """What may differ from one sidecar to another. Quantities as Kubernetes writes them; a limit None: no limit.

    `env`: further variables of the sidecar, such as where its traces go. OptionsError, QuantityError.
    """

    image: str
    cpu: str = "50m"
    cpu_limit: str | None = None
    memory: str = "64Mi"
    memory_limit: str | None = "256Mi"
    log_level: str = "info"
    env: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for what, request, limit in (("cpu", self.cpu, self.cpu_limit), ("memory", self.memory, self.memory_limit)):
            if limit is not None and amount(request) > amount(limit):
                raise OptionsError(f"the {what} limit must not be below what is asked for, {request}, not {limit}")


@dataclass(frozen=True, slots=True)
class Client:
    """The variables by which one family of SDKs finds the sidecar. They insist on a key, which is never sent on."""

    url_variable: str
    url: str
    key_variable: str
    key: str = "unused"


CLIENTS = (Client("OPENAI_BASE_URL", f"http://127.0.0.1:{DATA_PORT}/v1", "OPENAI_API_KEY"),)


def container(options: Options) -> dict[str, Any]:
    """The native sidecar: an init container that goes on."""
    return {
        "name": NAME,
        "image": options.image,
        "restartPolicy": "Always",
        "env": _env(options),
        "ports": [{"name": "modelpool-admin", "containerPort": ADMIN_PORT}],
        "startupProbe": _probe("/livez", periodSeconds=1, failureThreshold=60),
        "livenessProbe": _probe("/livez", periodSeconds=10, timeoutSeconds=5),
        "readinessProbe": _probe("/readyz", periodSeconds=2, timeoutSeconds=5),
        "resources": _resources(options),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": NAME, "mountPath": mount.DIRECTORY, "readOnly": True},
            {"name": TOKEN_VOLUME, "mountPath": _TOKEN_DIRECTORY, "readOnly": True},
        ],
    }


def volumes() -> list[dict[str, Any]]:
    """Config and credentials in one volume, so that both are swapped in one step; both may come later than the pod."""
    return [
        {
            "name": NAME,
            "projected": {
                "defaultMode": _FILE_MODE,
                "sources": [
                    {"configMap": {"name": mount.CONFIG_MAP, "optional": True}},
                    {"secret": {"name": mount.SECRET, "optional": True}},
                ],
            },
        },
        {"name": TOKEN_VOLUME, "emptyDir": {}},
    ]


def is_container(value: Mapping[str, Any]) -> bool:
    """Whether an init container is a sidecar of ours, whatever its version."""
    mounted = value.get("volumeMounts")
    return (
        value.get("name") == NAME
        and value.get("restartPolicy") == "Always"
        and isinstance(mounted, list)
        and any(isinstance(each, dict) and each.get("mountPath") == mount.DIRECTORY for each in mounted)
    )


def is_volume(value: Mapping[str, Any]) -> bool:
    """Whether a volume is one of ours."""
    if value.get("name") == TOKEN_VOLUME:
        return "emptyDir" in value
    projected = value.get("projected")
    sources = projected.get("sources") if isinstance(projected, dict) else None
    return value.get("name") == NAME and mount.CONFIG_MAP in [
        source["configMap"].get("name")
        for source in (sources if isinstance(sources, list) else [])
        if isinstance(source, dict) and isinstance(source.get("configMap"), dict)
    ]


def _env(options: Options) -> list[dict[str, Any]]:
    """The probes' port listens on the pod's address, where the kubelet asks; the others are local to the pod."""
    given = dict(options.env)
    attributes = {
        "k8s.namespace.name": "$(POD_NAMESPACE)",
        "k8s.pod.name": "$(POD_NAME)",
        "k8s.node.name": "$(NODE_NAME)",
    }
    known = [
        _downward("MODELPOOL_ADMIN_HOST", "status.podIP"),
        _downward("POD_NAMESPACE", "metadata.namespace"),
        _downward("POD_NAME", "metadata.name"),
        _downward("NODE_NAME", "spec.nodeName"),
        {
            "name": "OTEL_RESOURCE_ATTRIBUTES",
            "value": ",".join(f"{name}={value}" for name, value in attributes.items()),
        },
        {"name": "MODELPOOL_LOG_LEVEL", "value": options.log_level},
    ]
    return [
        *(each for each in known if each["name"] not in given),
        *({"name": name, "value": value} for name, value in given.items()),
    ]


def _downward(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _probe(path: str, **times: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": ADMIN_PORT}, **times}


def _resources(options: Options) -> dict[str, Any]:
    limits = {"cpu": options.cpu_limit, "memory": options.memory_limit}
    given = {name: value for name, value in limits.items() if value is not None}
    resources: dict[str, Any] = {"requests": {"cpu": options.cpu, "memory": options.memory}}
    return {**resources, "limits": given} if given else resources
