"""Where things stand at the API server."""

from modelpool_config import mount
from modelpool_operator.api.meta import API_VERSION

PLURALS = {"Provider": "providers", "ModelPool": "modelpools"}
NAMESPACES = "/api/v1/namespaces"


def resources(kind: str, namespace: str | None = None) -> str:
    """The collection of one of our kinds, in one namespace or in all."""
    return f"/apis/{API_VERSION}{_in(namespace)}/{PLURALS[kind]}"


def status(kind: str, namespace: str, name: str) -> str:
    """The status of one object of ours."""
    return f"{resource(kind, namespace, name)}/status"


def resource(kind: str, namespace: str, name: str) -> str:
    """One object of ours."""
    return f"{resources(kind, namespace)}/{name}"


def core(plural: str, namespace: str | None = None) -> str:
    """A collection of the core group."""
    return f"/api/v1{_in(namespace)}/{plural}"


def secret(namespace: str, name: str) -> str:
    """One Secret."""
    return f"{core('secrets', namespace)}/{name}"


def config_map(namespace: str) -> str:
    """The ConfigMap that carries a namespace's config."""
    return f"{core('configmaps', namespace)}/{mount.CONFIG_MAP}"


def credentials(namespace: str) -> str:
    """The Secret that carries a namespace's credentials."""
    return secret(namespace, mount.SECRET)


def events(namespace: str) -> str:
    """Where events are recorded."""
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def leases(namespace: str) -> str:
    """Where Leases are."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def _in(namespace: str | None) -> str:
    return "" if namespace is None else f"/namespaces/{namespace}"
