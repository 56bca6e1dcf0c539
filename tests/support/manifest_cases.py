"""Manifests for tests: the smallest good ones, changed field by field."""

from pathlib import Path
from typing import Any

import yaml

API_VERSION = "modelpool.dev/v1alpha1"


def provider(name: str = "openai", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A Provider without a key; `spec` replaces or adds fields."""
    return resource("Provider", name, {"dialect": "OpenAI", **spec}, namespace)


def pool(name: str = "chat", namespace: str = "default", **spec: Any) -> dict[str, Any]:
    """A pool with one target at the Provider openai."""
    targets = [{"name": "mini", "providerRef": {"name": "openai"}, "model": "gpt-4o-mini"}]
    return resource("ModelPool", name, {"targets": targets, **spec}, namespace)


def secret(name: str = "openai", namespace: str = "default", **values: str) -> dict[str, Any]:
    """A Secret with plain values; `_` in a key's name stands for `-`."""
    data = {key.replace("_", "-"): value for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": data,
    }


def resource(kind: str, name: str, spec: object, namespace: str = "default") -> dict[str, Any]:
    """Any object of our API."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def keyed(name: str = "openai", key: str = "api-key", **more: Any) -> dict[str, Any]:
    """The `auth` of a Provider with a key from a Secret."""
    return {"type": "APIKey", "apiKey": {"secretRef": {"name": name, "key": key}, **more}}


def table(path: Path) -> list[dict[str, Any]]:
    """A data file of cases."""
    loaded: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded
