"""Keys of callers from a Secret to the one that sidecars mount: watched, as digests, never anywhere else (B44)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fake_api import FakeApi
from fake_api_operator import operating
from fake_api_scenes import pool, provider
from modelpool_config import callerkeys
from modelpool_operator import manifests
from modelpool_operator.checks import callers

pytestmark = pytest.mark.slow

OLD, NEW, SHORT = "caller-canary-old-0123456789", "caller-canary-new-0123456789", "canary-short"
FILE = callers.file_name("shop", "team-keys")


def keys(**values: str) -> dict[str, Any]:
    metadata = {"name": "team-keys", "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def copied(api: FakeApi) -> dict[str, bytes] | None:
    found = api.get("Secret", "shop", "modelpool-credentials")
    text = None if found is None else manifests.read(found).credentials.get(FILE)
    return None if text is None else callerkeys.decode(text)


def ready(api: FakeApi) -> tuple[str, str] | None:
    found = api.get("ModelPool", "shop", "gold")
    conditions = ((found or {}).get("status") or {}).get("conditions") or []
    return next(((each["status"], each["reason"]) for each in conditions if each["type"] == "Ready"), None)


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with FakeApi() as running:
        running.put(provider("plain"))
        gold = pool("gold", "plain")
        gold["spec"]["callers"] = {"keys": {"secretRef": {"name": "team-keys"}}}
        running.put(gold)
        yield running


async def test_a_secret_of_keys_is_followed_and_its_keys_stay_where_they_are(api: FakeApi, tmp_path: Path) -> None:
    async with operating(api, tmp_path):
        await api.wait_for(lambda: ready(api) == ("False", "SecretNotFound"))
        assert copied(api) is None
        api.put(keys(alice=OLD))
        await api.wait_for(lambda: copied(api) == {"alice": callerkeys.digest(OLD)})
        await api.wait_for(lambda: ready(api) == ("True", "Ready"))
        api.put(keys(alice=NEW, bob=SHORT))
        await api.wait_for(lambda: copied(api) == {"alice": callerkeys.digest(NEW)})
        await api.wait_for(lambda: ready(api) == ("True", "Degraded"))
        api.put(keys())
        await api.wait_for(lambda: copied(api) == {})
        await api.wait_for(lambda: ready(api) == ("False", "InvalidCredential"))
        kinds = ("ConfigMap", "ModelPool", "Provider", "Event")
        told = json.dumps([item for kind in kinds for item in api.objects(kind)])
        told += json.dumps(api.get("Secret", "shop", "modelpool-credentials"))
    for canary in (OLD, NEW, SHORT):
        assert canary not in told


async def test_a_secret_that_is_deleted_leaves_its_keys_in_force(api: FakeApi, tmp_path: Path) -> None:
    """B47a."""
    api.put(keys(alice=OLD))
    async with operating(api, tmp_path):
        await api.wait_for(lambda: ready(api) == ("True", "Ready"))
        api.remove("Secret", "shop", "team-keys")
        await api.wait_for(lambda: ready(api) == ("True", "Degraded"))
        assert copied(api) == {"alice": callerkeys.digest(OLD)}
