"""The two admin faces, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from edge_support import client
from modelpool_sidecar.admin import AdminServer


class Source:
    """What a sidecar would tell."""

    def __init__(self) -> None:
        self.not_ready: str | None = None
        self.names: Sequence[str] = ("secondary", "primary")
        self.broken: dict[str, str] = {}

    def ready(self) -> str | None:
        return self.not_ready

    def metrics(self) -> bytes:
        return b"modelpool_up 1\n"

    def digest(self) -> Mapping[str, object]:
        return {"config": "sha256:0"}

    def config(self) -> Mapping[str, object]:
        return {"namespace": "default"}

    def state(self) -> Mapping[str, object]:
        raise RuntimeError

    def fakes(self) -> Sequence[str]:
        return self.names

    def break_fake(self, name: str, fault: str) -> None:
        if fault == "Sulk":
            raise ValueError("there is no fault 'Sulk', but Refuse, Reset, Hang, Cut and Stall")
        self.broken[name] = fault

    def mend_fake(self, name: str) -> None:
        self.broken.pop(name, None)


@asynccontextmanager
async def faces(source: Source) -> AsyncIterator[tuple[int, int]]:
    before = asyncio.all_tasks()
    server = AdminServer(source)
    public, local = await server.start_public("127.0.0.1", 0), await server.start_local(["127.0.0.1", "::1"], 0)
    try:
        yield public, local
    finally:
        await server.close()
    assert asyncio.all_tasks() <= before


async def ask(port: int, method: str, path: str, more: str = "Host: localhost\r\n") -> tuple[int, dict[str, str], str]:
    async with client(port) as it:
        await it.send(f"{method} {path} HTTP/1.1\r\n{more}\r\n".encode())
        status, headers, body = await it.answer()
        return status, headers, body.decode()


async def test_the_public_face_tells_life_readiness_metrics_and_digest() -> None:
    async with faces(Source()) as (port, _):
        assert (await ask(port, "GET", "/livez"))[::2] == (200, "ok\n")
        assert (await ask(port, "GET", "/readyz"))[::2] == (200, "ok\n")
        status, headers, body = await ask(port, "GET", "/metrics", "Host: 10.0.0.1:4892\r\n")
        assert (status, body) == (200, "modelpool_up 1\n")
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        status, _, body = await ask(port, "GET", "/-/digest")
        assert (status, json.loads(body)) == (200, {"config": "sha256:0"})


async def test_it_is_alive_before_it_is_ready() -> None:
    source = Source()
    source.not_ready = "no valid config yet"
    async with faces(source) as (port, _):
        assert (await ask(port, "GET", "/livez"))[0] == 200
        assert (await ask(port, "GET", "/readyz"))[::2] == (503, "no valid config yet\n")


@pytest.mark.parametrize("path", ["/-/config", "/-/state", "/-/fake/primary/break", "/"])
async def test_the_public_face_shows_and_changes_nothing_else(path: str) -> None:
    async with faces(Source()) as (port, _):
        for method in ("GET", "POST"):
            status, _, body = await ask(port, method, path)
            assert status == 404
            assert json.loads(body)["error"]["message"].startswith(f"there is no {path} here, but /livez")


async def test_the_loopback_face_shows_the_config() -> None:
    async with faces(Source()) as (_, port):
        status, _, body = await ask(port, "GET", "/-/config")
        assert (status, json.loads(body)) == (200, {"namespace": "default"})


async def test_a_fault_of_ours_is_answered_in_json() -> None:
    async with faces(Source()) as (_, port):
        status, _, body = await ask(port, "GET", "/-/state")
        assert (status, json.loads(body)["error"]["message"]) == (500, "the sidecar failed; its log says how")


async def test_a_fake_is_broken_and_mended() -> None:
    source = Source()
    async with faces(source) as (_, port):
        status, _, body = await ask(port, "POST", "/-/fake/primary/break?as=Hang")
        assert (status, json.loads(body)) == (200, {"name": "primary", "broken": "Hang"})
        assert source.broken == {"primary": "Hang"}
        await ask(port, "POST", "/-/fake/secondary/break")
        assert source.broken["secondary"] == "500"
        status, _, body = await ask(port, "POST", "/-/fake/primary/mend")
        assert (status, json.loads(body)) == (200, {"name": "primary", "broken": None})
        assert source.broken == {"secondary": "500"}


async def test_an_unknown_fault_is_a_sentence() -> None:
    async with faces(Source()) as (_, port):
        status, _, body = await ask(port, "POST", "/-/fake/primary/break?as=Sulk")
    assert status == 400
    assert json.loads(body)["error"]["message"].startswith("there is no fault 'Sulk'")


@pytest.mark.parametrize(
    ("names", "there"), [(("secondary", "primary"), "there is primary, secondary"), ((), "this sidecar plays none")]
)
@pytest.mark.parametrize("verb", ["break", "mend"])
async def test_an_unknown_fake_is_told_which_there_are(verb: str, names: tuple[str, ...], there: str) -> None:
    source = Source()
    source.names = names
    async with faces(source) as (_, port):
        status, _, body = await ask(port, "POST", f"/-/fake/openai/{verb}")
    assert status == 404
    assert json.loads(body)["error"]["message"] == f"no Fake provider is called 'openai'; {there}"


async def test_what_changes_something_is_a_post() -> None:
    source = Source()
    async with faces(source) as (_, port):
        status, _, body = await ask(port, "GET", "/-/fake/primary/break")
    assert status == 405
    assert json.loads(body)["error"]["message"] == "GET is not for /-/fake/primary/break; use POST"
    assert source.broken == {}


@pytest.mark.parametrize(
    "headers",
    [
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
    ],
)
async def test_a_web_page_reaches_nothing_on_the_loopback_face(headers: str) -> None:
    source = Source()
    async with faces(source) as (_, port):
        assert (await ask(port, "POST", "/-/fake/primary/break", headers))[0] == 403
        assert (await ask(port, "GET", "/-/config", headers))[0] == 403
    assert source.broken == {}


async def test_a_page_of_this_machine_does() -> None:
    async with faces(Source()) as (_, port):
        more = f"Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
        assert (await ask(port, "POST", "/-/fake/primary/mend", more))[0] == 200


async def test_the_status_page_is_on_the_loopback_face_alone_and_for_this_machine_alone() -> None:
    async with faces(Source()) as (public, local):
        status, headers, body = await ask(local, "GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert body.startswith("<!doctype html>")
        assert (await ask(local, "GET", "/", "Host: evil.example\r\n"))[0] == 403
        assert (await ask(public, "GET", "/"))[0] == 404
