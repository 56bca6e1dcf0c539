"""The fake API answers as a real one does: the same requests to both, and the same answers but for what is random."""

import contextlib
import io
import json
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from controlplane import ControlPlane
from controlplane_definitions import established, forget
from fake_api import FakeApi
from modelpool_operator.crds import definition

GROUP = "contract.modelpool.dev"
"""A group of its own: the real server is shared with tests that need the real one to come and go."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
SPEC = {"dialect": "OpenAI", "baseURL": "https://one.example/v1"}


def definitions() -> list[dict[str, Any]]:
    made = [definition.render(each) for each in definition.DEFINITIONS]
    for each in made:
        each["spec"]["group"] = GROUP
        each["metadata"]["name"] = f"{each['spec']['names']['plural']}.{GROUP}"
    return made


@dataclass
class Client:
    """One of the two servers. `said`: every answer so far, without what is random."""

    session: aiohttp.ClientSession
    namespace: str
    said: list[Any] = field(default_factory=list)
    _versions: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: Any = None, *, accept: str = "application/json", **how: Any
    ) -> Any:
        """`how`: content_type, and parameters of the query. Returns the answer as it came."""
        headers = {"Accept": accept, "Content-Type": how.pop("content_type", "application/json")}
        data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self.session.request(method, self._path(path), params=how, data=data, headers=headers) as response:
            text = await response.text()
        answer = json.loads(text) if text.startswith("{") else text
        self.said.append((method, path, response.status, self.essence(answer)))
        return answer

    async def apply(self, path: str, body: Any, manager: str = "m", **how: Any) -> Any:
        return await self.ask("PATCH", path, body, content_type=APPLY, fieldManager=manager, **how)

    async def watch(self, path: str, count: int, *, accept: str = "application/json", **how: Any) -> list[Any]:
        """The first events of a watch."""
        found = []
        params = {"watch": "true", "timeoutSeconds": "20", **how}
        async with self.session.get(self._path(path), params=params, headers={"Accept": accept}) as response:
            if response.status != 200:
                self.said.append(("watch", path, response.status, self.essence(await response.json())))
                return []
            while len(found) < count and (line := await response.content.readline()):
                found.append(json.loads(line))
        self.said.append(("watch", path, [(event["type"], self.essence(event["object"])) for event in found]))
        return found

    def essence(self, value: Any) -> Any:
        """Without what is random; versions are numbered in the order in which they were seen."""
        if isinstance(value, list):
            return [self.essence(each) for each in value]
        if isinstance(value, dict):
            left = {key: child for key, child in value.items() if key not in ("managedFields", "uid", "selfLink")}
            if left.get("details") == {}:
                del left["details"]
            if str(value.get("kind", "")).endswith("List"):
                left["metadata"] = {key: "" for key in value["metadata"] if key in ("continue", "remainingItemCount")}
            return {key: self._essence_of(key, child) for key, child in left.items()}
        return value.replace(self.namespace, "NS") if isinstance(value, str) else value

    def _essence_of(self, key: str, value: Any) -> Any:
        if key in ("creationTimestamp", "deletionTimestamp"):
            return "then"
        if key == "resourceVersion":
            if value not in self._versions:
                self._versions.append(value)
            return self._versions.index(value)
        if key == "message":
            return re.sub(r"\d{3,}", "N", str(value).replace(self.namespace, "NS"))
        return self.essence(value)

    def _path(self, path: str) -> str:
        core, ours = f"/api/v1/namespaces/{self.namespace}", f"/apis/{GROUP}/v1alpha1/namespaces/{self.namespace}"
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"
        return path.replace("CORE", core).replace("OURS", ours).replace("LEASES", leases).replace("NS", self.namespace)


def config_map(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def provider(**parts: Any) -> dict[str, Any]:
    kind = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Provider", "metadata": {"name": "p"}}
    return {**kind, "spec": SPEC, **parts}


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": "Any",
        "message": "",
        "lastTransitionTime": "2026-11-21T04:00:00Z",
    }


def lease(**spec: Any) -> dict[str, Any]:
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    return {**kind, "spec": {"leaseDurationSeconds": 15, **spec}}


async def creating_and_deleting(client: Client) -> None:
    await client.ask("GET", "CORE/configmaps/c")
    await client.ask("POST", "CORE/configmaps", config_map(a="1"))
    await client.ask("POST", "CORE/configmaps", config_map(a="2"))
    await client.ask("GET", "CORE/configmaps/c")
    await client.ask("DELETE", "CORE/configmaps/c")
    await client.ask("DELETE", "CORE/configmaps/c")
    await client.ask("POST", "/api/v1/namespaces/nowhere-NS/configmaps", config_map(a="1"))
    await client.ask("POST", "OURS/providers", provider())
    await client.ask("POST", "OURS/providers", provider())
    await client.ask("DELETE", "OURS/providers/p")
    await client.ask("GET", "OURS/providers/p")
    await client.ask("GET", "OURS/nothing/p")
    await client.ask("GET", "/apis/nothing.example/v1/things")


async def replacing_with_a_version(client: Client) -> None:
    first = await client.ask("POST", "LEASES", lease(holderIdentity="a"))
    await client.ask("PUT", "LEASES/l", {**first, "spec": {**first["spec"], "holderIdentity": "b"}})
    await client.ask("PUT", "LEASES/l", {**first, "spec": {**first["spec"], "holderIdentity": "c"}})
    await client.ask("PUT", "LEASES/l", lease(holderIdentity="d"))
    await client.ask("PUT", "LEASES/other", {**lease(), "metadata": {"name": "other"}})
    await client.ask("GET", "LEASES/l")
    await client.ask("POST", "CORE/configmaps", config_map(a="1"))
    await client.ask("PUT", "CORE/configmaps/c", config_map(a="2"))
    await client.ask("PUT", "CORE/configmaps/c", config_map(a="2"))


async def applying(client: Client) -> None:
    path = "CORE/configmaps/c"
    await client.apply(path, config_map(a="1", b="2"))
    await client.apply(path, config_map(a="1", b="2"))
    await client.apply(path, config_map(a="3"))
    await client.apply(path, config_map(a="4", c="1"), "other")
    await client.apply(path, config_map(a="3", c="1"), "other")
    await client.apply(path, config_map(c="2"))
    await client.apply(path, config_map(c="2"), force="true")
    await client.apply(path, config_map(c="2"), "other", force="true")
    await client.apply(path, config_map(), force="true")
    await client.apply(path, config_map(), "other", force="true")
    await client.ask("PATCH", path, {"data": {"h": "by hand"}}, content_type=MERGE, fieldManager="hand")
    await client.apply(path, config_map(h="ours"))
    await client.apply(path, config_map(h="ours", i="ours"), force="true")


async def applying_with_a_version(client: Client) -> None:
    path = "CORE/configmaps/c"
    first = await client.apply(path, config_map(a="1"))
    await client.apply(path, config_map(a="2"))
    stale = {**config_map(a="3"), "metadata": {"name": "c", "resourceVersion": first["metadata"]["resourceVersion"]}}
    await client.apply(path, stale, force="true")
    await client.ask("DELETE", path)
    await client.apply(path, stale, force="true")


async def applying_status(client: Client) -> None:
    path = "OURS/providers/p"
    status = {"conditions": [condition("Ready"), condition("Accepted")], "observedGeneration": 1}
    await client.apply(f"{path}/status", provider(status=status))
    await client.apply(path, provider(status=status))
    await client.apply(
        f"{path}/status", {**provider(status=status), "spec": {**SPEC, "baseURL": "https://x.example"}}, "s"
    )
    await client.apply(f"{path}/status", provider(status=status), "s")
    await client.apply(path, provider(spec={**SPEC, "baseURL": "https://two.example/v1"}))
    changed = {"conditions": [condition("Accepted", "False"), condition("Ready")]}
    await client.apply(f"{path}/status", provider(status=changed), "s")
    await client.apply(f"{path}/status", provider(status={"conditions": [condition("Other")]}), "t")
    await client.apply(f"{path}/status", provider(status={"conditions": [condition("Ready")]}), "s")
    await client.apply(f"{path}/status", provider(status={"conditions": [condition("Ready", "False")]}), "t")
    await client.ask("GET", path)
    await client.ask("GET", f"{path}/status")
    await client.ask("PATCH", path, {"spec": {"traffic": "Drained"}}, content_type=MERGE)
    await client.ask("PATCH", path, {"spec": {"traffic": None}}, content_type=MERGE)


async def refused_forms(client: Client) -> None:
    await client.ask("PATCH", "CORE/configmaps/c", config_map(), content_type=APPLY)
    await client.apply("CORE/configmaps/d", config_map(), "m")
    await client.ask("PATCH", "CORE/configmaps/c", {"data": {}}, content_type=MERGE)
    await client.ask("GET", "CORE/pods", fieldSelector="spec.nothing=1")
    await client.ask("GET", "OURS/providers", fieldSelector="spec.dialect=OpenAI")
    await client.ask("PUT", "CORE/configmaps/c", {**config_map(), "metadata": {"name": "d"}})
    await client.ask("POST", "CORE/configmaps", {**config_map(), "metadata": {"name": "d", "namespace": "other"}})
    await client.ask("POST", "CORE/configmaps", {**config_map(), "metadata": {}})
    await client.ask("GET", "CORE/configmaps/c/status")
    await client.ask("GET", "/api/v1/configmaps/c")
    await client.ask("PATCH", "CORE/configmaps", {}, content_type=MERGE)
    await client.apply("CORE/configmaps/c", config_map())
    await client.ask("GET", "CORE/configmaps/c", accept=f"{PARTIAL},application/json")
    big = {**config_map(), "data": {"a": "x" * (1024 * 1024 + 1)}}
    await client.apply("CORE/configmaps/c", big)


async def secrets(client: Client) -> None:
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": {"x": "y"}}}
    await client.apply("CORE/secrets/s", {**kind, "data": {"k": "a2V5"}})
    await client.ask("GET", "CORE/secrets/s", accept=PARTIAL)
    await client.ask("GET", "CORE/secrets", accept=PARTIAL_LIST)
    await client.ask("GET", "CORE/secrets", accept=PARTIAL_LIST, labelSelector="x=z")
    await client.ask("GET", "CORE/secrets", fieldSelector="metadata.name=s")
    await client.ask("GET", "CORE/secrets", fieldSelector="metadata.name=t")


async def pages(client: Client) -> None:
    for name in "abcde":
        await client.ask("POST", "OURS/providers", {**provider(), "metadata": {"name": name, "labels": {"n": name}}})
    page = await client.ask("GET", "OURS/providers", limit="2")
    await client.ask("DELETE", "OURS/providers/d")
    page = await client.ask("GET", "OURS/providers", limit="2", **{"continue": page["metadata"]["continue"]})
    await client.ask("GET", "OURS/providers", limit="2", **{"continue": page["metadata"]["continue"]})
    await client.ask("GET", "OURS/providers", labelSelector="n in (a, b)")
    await client.ask("GET", "OURS/providers", labelSelector="n!=a,n")
    await client.ask("GET", "OURS/providers", labelSelector="!n")


async def watching(client: Client) -> None:
    begun = await client.ask("GET", "CORE/configmaps", labelSelector="is=on")
    await client.ask("POST", "CORE/configmaps", config_map(a="1"))
    for labels in ({"is": "on"}, {"is": "on", "more": "1"}, {"is": "off"}, {"is": "on"}):
        body = {"metadata": {"labels": labels}}
        await client.ask("PATCH", "CORE/configmaps/c", body, content_type=MERGE)
    await client.ask("PATCH", "CORE/configmaps/c", body, content_type=MERGE)
    await client.ask("DELETE", "CORE/configmaps/c")
    since = begun["metadata"]["resourceVersion"]
    await client.watch("CORE/configmaps", 5, labelSelector="is=on", resourceVersion=since)
    await client.watch("CORE/configmaps", 7, fieldSelector="metadata.name=c", resourceVersion=since, accept=PARTIAL)
    await client.watch(
        "CORE/configmaps", 1, fieldSelector="metadata.name=c", resourceVersion=since, accept=PARTIAL_LIST
    )
    await client.ask("POST", "OURS/providers", provider())
    await client.watch("OURS/providers", 1)
    await client.watch(
        "OURS/providers",
        2,
        accept=PARTIAL,
        allowWatchBookmarks="true",
        sendInitialEvents="true",
        resourceVersionMatch="NotOlderThan",
    )
    await client.watch("OURS/providers", 1, resourceVersion="1")


async def deleting_what_has_finalizers(client: Client) -> None:
    held = {"name": "p", "finalizers": ["modelpool.dev/test"]}
    await client.ask("POST", "OURS/providers", provider(metadata=held))
    await client.ask("DELETE", "OURS/providers/p")
    await client.ask("DELETE", "OURS/providers/p")
    await client.ask("PATCH", "OURS/providers/p", {"metadata": {"finalizers": None}}, content_type=MERGE)
    await client.ask("GET", "OURS/providers/p")


async def namespaces(client: Client) -> None:
    await client.ask("GET", "/api/v1/namespaces/NS")
    await client.ask("GET", "/api/v1/namespaces", fieldSelector="metadata.name=NS")
    await client.ask("PATCH", "/api/v1/namespaces/NS", {"metadata": {"labels": {"l": "1"}}}, content_type=MERGE)
    await client.ask("GET", "/api/v1/namespaces/NS", accept=PARTIAL)
    await client.ask("DELETE", "/api/v1/namespaces/NS")


async def pods_and_events(client: Client) -> None:
    container = {"name": "app", "image": "app"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"modelpool.dev/sidecar": "true"}}}
    await client.ask("POST", "CORE/pods", {**pod, "spec": {"containers": [container]}}, accept=PARTIAL)
    selected = {"labelSelector": "modelpool.dev/sidecar=true", "accept": PARTIAL_LIST}
    await client.ask("GET", "CORE/pods", fieldSelector="status.phase!=Pending", **selected)
    await client.ask("GET", "CORE/pods", fieldSelector="status.phase=Pending", **selected)
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "e-", "namespace": client.namespace},
        "eventTime": "2026-11-21T04:00:00.000000Z",
        "reportingController": "modelpool.dev/operator",
        "reportingInstance": "one",
        "action": "Publish",
        "reason": "Any",
        "type": "Normal",
        "note": "any",
        "regarding": {"kind": "ConfigMap", "namespace": client.namespace, "name": "c", "apiVersion": "v1"},
    }
    path = f"/apis/events.k8s.io/v1/namespaces/{client.namespace}/events"
    made = await client.ask("POST", path, event)
    assert made["metadata"]["name"].startswith("e-")
    client.said.pop()


SCENARIOS = (
    creating_and_deleting,
    replacing_with_a_version,
    applying,
    applying_with_a_version,
    applying_status,
    refused_forms,
    secrets,
    pages,
    watching,
    deleting_what_has_finalizers,
    namespaces,
    pods_and_events,
)


@contextlib.asynccontextmanager
async def real(plane: ControlPlane, namespace: str) -> AsyncIterator[Client]:
    context = ssl.create_default_context(cafile=str(plane.ca))
    context.load_cert_chain(plane.certificates / "admin.crt", plane.certificates / "admin.key")
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(plane.url, connector=connector) as session:
        yield Client(session, namespace)


@contextlib.asynccontextmanager
async def fake() -> AsyncIterator[Client]:
    async with FakeApi() as api, aiohttp.ClientSession(api.url) as session:
        for each in definitions():
            api.put(each)
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-1"}})
        yield Client(session, "shop-1")


@pytest.fixture(scope="module")
def defined(controlplane: ControlPlane) -> Any:
    for each in definitions():
        controlplane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(each)).ok()
    names = [each["metadata"]["name"] for each in definitions()]
    established(controlplane, names)
    yield controlplane
    forget(controlplane, names)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_fake_answers_as_the_real_server_does(
    defined: ControlPlane, namespace: str, scenario: Callable[[Client], Awaitable[None]]
) -> None:
    async with real(defined, namespace) as server, fake() as model:
        await scenario(server)
        await scenario(model)
        assert len(server.said) == len(model.said)
        for said, expected in zip(model.said, server.said, strict=True):
            assert said == expected
