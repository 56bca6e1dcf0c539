"""Manifests for somebody who has none: a Provider and a `*` pool from the usual variables.

They go the same way as manifests from disk, through the same checks, so a wrong OPENAI_BASE_URL is answered by the
same sentence as a wrong `baseURL`.
"""

import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from modelpool_cli.manifests import Place, Source

API_KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
NAME = "openai"
KEY = "api-key"
SOURCE = "the environment"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def sources(env: Mapping[str, str], own_port: int) -> list[Source]:
    """The manifests as a file of our own; none where no key is set. Keys do not stand in them."""
    if not env.get(API_KEY):
        return []
    spec: dict[str, object] = {
        "dialect": "OpenAI",
        "auth": {"type": "APIKey", "apiKey": {"secretRef": {"name": NAME, "key": KEY}}},
    }
    base_url = upstream(env, own_port)
    if base_url is not None:
        spec["baseURL"] = base_url
    objects = [
        _object("Provider", spec),
        _object("ModelPool", {"models": [{"name": "*"}], "targets": [_TARGET]}),
    ]
    return [Source(SOURCE, "\n---\n".join(json.dumps(each) for each in objects).encode())]


def secrets(env: Mapping[str, str]) -> dict[tuple[str, str], bytes]:
    """The key that the Provider refers to."""
    value = env.get(API_KEY)
    return {(NAME, KEY): value.encode("utf-8", "surrogateescape")} if value else {}


def told(field: str, message: str) -> tuple[Place, str]:
    """A problem of these manifests as one of the variable that it comes from, and what would be right."""
    if field.startswith("auth"):
        why = message.partition(", whose value ")[2].partition(";")[0] or "is no key"
        return Place(API_KEY, 0), f"its value {why}; set it to the key alone, in one line of ASCII"
    return Place(BASE_URL, 0), message.removeprefix("baseURL ")


def upstream(env: Mapping[str, str], own_port: int) -> str | None:
    """OPENAI_BASE_URL, unless it is our own address, as it is in a shell that was set up for us."""
    base_url = env.get(BASE_URL)
    if not base_url:
        return None
    try:
        parts = urlsplit(base_url)
        ours = parts.hostname in _LOOPBACK and parts.port == own_port
    except ValueError:
        return base_url  # the check says what is wrong with it
    return None if ours else base_url


_TARGET = {"name": NAME, "providerRef": {"name": NAME}}


def _object(kind: str, spec: Mapping[str, object]) -> dict[str, object]:
    return {"apiVersion": "modelpool.dev/v1alpha1", "kind": kind, "metadata": {"name": NAME}, "spec": spec}
