"""Manifests that cluster tests apply: one Provider, one pool, one Secret, with what a test is about."""

from typing import Any

API = "modelpool.dev/v1alpha1"


def a_provider_object(
    name: str, base_url: str = "http://127.0.0.1:9/v1", secret: str | None = None, **spec: Any
) -> dict[str, Any]:
    """A Provider; `secret`: the Secret that holds its key."""
    made: dict[str, Any] = {"dialect": "OpenAI", "baseURL": base_url, **spec}
    if secret:
        made["auth"] = {"type": "APIKey", "apiKey": {"secretRef": {"name": secret, "key": "api-key"}}}
    return {"apiVersion": API, "kind": "Provider", "metadata": {"name": name}, "spec": made}


def a_pool_object(name: str = "chat", **weights: int) -> dict[str, Any]:
    """A pool with a target at each of these Providers."""
    targets = [{"name": each, "providerRef": {"name": each}, "weight": weight} for each, weight in weights.items()]
    return {"apiVersion": API, "kind": "ModelPool", "metadata": {"name": name}, "spec": {"targets": targets}}


def a_secret_object(value: str, name: str = "openai") -> dict[str, Any]:
    """A Secret with one key."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"api-key": value}}
