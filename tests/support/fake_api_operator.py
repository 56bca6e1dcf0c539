"""The operator in the test's own process, at a door of the fake API; and whether it has done its work."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fake_api import MAIN, FakeApi
from fake_api_door import Asked
from modelpool_operator import compiling, manifests, process
from modelpool_operator.compiling import Present
from modelpool_operator.conditions import Publication
from modelpool_operator.manifests import Found
from modelpool_operator.resources import observe
from modelpool_operator.settings import Settings

LEASE = "modelpool-system/modelpool-operator"
KINDS = ("Provider", "ModelPool")


@dataclass(slots=True)
class Running:
    """One replica. Its identity is the name of its door."""

    task: "asyncio.Task[int]"
    identity: str


@contextlib.asynccontextmanager
async def operating(api: FakeApi, folder: Path, door: str = MAIN, **settings: Any) -> AsyncIterator[Running]:
    """An operator that competes at this door; ended afterwards."""
    if api.get("Namespace", None, "modelpool-system") is None:
        api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "modelpool-system"}})
    kubeconfig = str(api.doors[door].kubeconfig(folder))
    made = Settings(host="127.0.0.1", port=0, identity=door, kubeconfig=kubeconfig, **settings)
    running = Running(asyncio.create_task(process.serve(made)), door)
    running.task.add_done_callback(lambda _: api.changed.fire())
    try:
        yield running
    finally:
        running.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running.task


def published(api: FakeApi, namespace: str) -> Found | None:
    """What stands in the ConfigMap of a namespace."""
    found = api.get("ConfigMap", namespace, "modelpool-config")
    return None if found is None else manifests.read(found)


def wrongs(api: FakeApi) -> list[str]:
    """What is published that should not be, and what should be that is not; by what is in the store now."""
    objects = [item for kind in (*KINDS, "Secret") for item in api.objects(kind)]
    pools = {item["metadata"]["namespace"] for item in api.objects("ModelPool")}
    labelled = {
        item["metadata"]["name"]
        for item in api.objects("Namespace")
        if item["metadata"]["labels"].get("modelpool.dev/injection") == "enabled"
    }
    return [wrong for namespace in sorted(pools | labelled) for wrong in _wrongs(api, namespace, objects)]


def _wrongs(api: FakeApi, namespace: str, objects: Iterable[dict[str, Any]]) -> Iterable[str]:
    inside = [item for item in objects if item["metadata"]["namespace"] == namespace]
    found = published(api, namespace)
    observed = observe(inside, namespaces=[namespace])
    secret = api.get("Secret", namespace, "modelpool-credentials")
    held = manifests.read(secret).credentials if secret else {}
    compiled = compiling.compile_namespace(namespace, observed, {}, held)
    if found is None or found.content.config != compiled.config:
        yield f"the config of {namespace} is {_short(found and found.content.config)}, not {_short(compiled.config)}"
        return
    if not compiled.credentials.items() <= held.items():
        yield f"the Secret of {namespace} holds {sorted(held)}, not what {sorted(compiled.credentials)} should be"
    presents = {
        (item["kind"], namespace, item["metadata"]["name"]): Present(
            item["metadata"]["generation"], item.get("status") or {}
        )
        for item in inside
        if item["kind"] in KINDS
    }
    publication = Publication(compiled.digests, found.written)
    for key in compiling.different(compiled, publication, presents, datetime.now(UTC)):
        yield f"the status of {key} is {presents[key].status}"
    for key, present in presents.items():
        if present.status.get("observedGeneration") != present.generation:
            yield f"the status of {key} is of generation {present.status.get('observedGeneration')}"


def _short(config: bytes | None) -> str:
    if config is None:
        return "absent"
    pools = json.loads(config).get("pools") or []
    told = {each["name"]: [(target["provider"], target["weight"]) for target in each["targets"]] for each in pools}
    return f"of {len(config)} bytes, {told}"


async def healed(api: FakeApi, seconds: float = 10.0) -> None:
    """Until everything is published as it should be; AssertionError with what is not."""
    try:
        await api.wait_for(lambda: not wrongs(api), seconds)
    except AssertionError as error:
        raise AssertionError(f"{wrongs(api)}\n{error}") from None


def trespasses(api: FakeApi) -> list[Asked]:
    """The writes that came from somebody who did not hold the Lease then."""
    return [asked for asked in api.writes() if asked.holders.get(LEASE) != asked.door]
