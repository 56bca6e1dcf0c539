"""How the API server is reached, for our client and for kopf's."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_api import FakeApi
from modelpool_operator import access
from modelpool_operator.access import AccessError
from modelpool_operator.kube import Kube

TOKEN = "SHOUT-TOKEN"


def _file(folder: Path, user: dict[str, Any], **cluster: Any) -> str:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


async def test_a_kubeconfig_leads_to_the_api_server(tmp_path: Path) -> None:
    async with FakeApi() as api:
        found = await access.configuration(str(api.kubeconfig(tmp_path)))
        async with access.client(found) as client:
            namespace = await Kube(client).get("/api/v1/namespaces/default")
        assert namespace["metadata"]["name"] == "default"
        assert api.journal[-1].user_agent == "modelpool-operator"


async def test_a_token_is_handed_to_kopf_and_ends_there_before_the_file_does(tmp_path: Path) -> None:
    found = await access.configuration(_file(tmp_path, {"token": TOKEN}))
    info = await access.connection(found)
    assert (info.server, info.scheme, info.token) == ("https://127.0.0.1:1", "Bearer", TOKEN)
    assert info.expiration is not None
    left = info.expiration - datetime.now(UTC)
    assert timedelta(minutes=access.TOKEN_MINUTES - 1) < left <= timedelta(minutes=access.TOKEN_MINUTES)


async def test_without_a_token_kopf_gets_none_and_nothing_ends(tmp_path: Path) -> None:
    found = await access.configuration(_file(tmp_path, {}))
    info = await access.connection(found)
    assert (info.scheme, info.token, info.expiration) == (None, None, None)
    assert info.insecure is None


async def test_whoever_turned_the_certificate_check_off_did_so_for_kopf_too(tmp_path: Path) -> None:
    found = await access.configuration(_file(tmp_path, {}, **{"insecure-skip-tls-verify": True}))
    assert (await access.connection(found)).insecure is True


async def test_any_number_of_watches_leaves_room_for_the_lease(tmp_path: Path) -> None:
    """Three watches for each namespace that is watched by name, and each holds a connection."""
    async with FakeApi() as api, access.client(await access.configuration(str(api.kubeconfig(tmp_path)))) as client:
        kube = Kube(client)
        version = (await kube.list("/api/v1/pods")).version

        async def watch() -> None:
            async for _ in kube.watch("/api/v1/pods", version, seconds=60):
                pass

        watches = [asyncio.create_task(watch()) for _ in range(120)]
        try:
            await api.wait_for(lambda: api.watches("pods") == len(watches))
            await kube.elect("GET", "/api/v1/namespaces/default", None, 2.0)
        finally:
            for each in watches:
                each.cancel()
            await asyncio.wait(watches)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{{{:",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"apiVersion: v1",
        json.dumps({"current-context": "c", "contexts": [], "clusters": [], "users": []}).encode(),
    ],
)
async def test_a_broken_kubeconfig_is_told_in_one_line_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)
    with pytest.raises(AccessError) as caught:
        await access.configuration(str(path))
    assert str(caught.value).startswith(f"no API server can be found by KUBECONFIG={path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing", "."])
async def test_a_kubeconfig_that_is_no_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(AccessError, match="no API server can be found by KUBECONFIG="):
        await access.configuration(str(tmp_path / name))


async def test_certificates_that_cannot_be_used_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="no API server can be found by KUBECONFIG="):
        await access.configuration(_file(tmp_path, {}, **{"certificate-authority": str(tmp_path / "missing.crt")}))


async def test_outside_a_cluster_the_way_in_is_told() -> None:
    with pytest.raises(AccessError) as caught:
        await access.configuration(None)
    assert str(caught.value) == (
        "no API server can be found in this pod: Service host/port is not set.; outside a cluster set KUBECONFIG to "
        "the path of a kubeconfig"
    )
