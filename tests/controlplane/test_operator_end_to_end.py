"""The way of a change, whole: helm install, kubectl apply, the operator with its own ServiceAccount's token, a volume
as the kubelet fills it, the sidecar on it, and the official SDK that asks.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from manifests_for import a_pool_object, a_provider_object, a_secret_object
from modelpool_sidecar.fake import FakeProvider
from operator_process import Cluster, Kubelet, cluster, in_thread, until
from otlp_receiver import OtlpReceiver
from process_support import Process, eventually, listening

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operator")]

HELLO: Any = [{"role": "user", "content": "hello"}]
OLD, NEW = "sk-canary-old-7f3a", "sk-canary-new-91be"


@pytest.fixture(scope="module")
def collector() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def house(collector: OtlpReceiver) -> Iterator[Cluster]:
    for made in cluster():
        made.operator(**collector.env).until_leading()
        yield made


@asynccontextmanager
async def fakes(*names: str) -> AsyncIterator[dict[str, FakeProvider]]:
    made = {name: FakeProvider(name) for name in names}
    for each in made.values():
        await each.start()
    try:
        yield made
    finally:
        for each in made.values():
            await each.stop()


async def asked(process: Process, count: int, model: str = "chat", *, at_once: int = 8) -> Counter[str]:
    """So many plain questions through the SDK, without retries; who answered each. An error is a failure."""
    base_url = process.url("/v1")
    gate = asyncio.Semaphore(at_once)
    async with AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0) as client:

        async def one() -> str:
            async with gate:
                answer = await client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
                return str(answer.headers["x-modelpool-target"])

        return Counter(await asyncio.gather(*(one() for _ in range(count))))


async def streamed(process: Process, model: str = "chat") -> str:
    async with AsyncOpenAI(base_url=process.url("/v1"), api_key="unused", max_retries=0) as client:
        stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def test_from_apply_to_an_answer_and_through_every_later_edit(house: Cluster, tmp_path: Path) -> None:
    namespace = house.plane.namespace("shop")
    async with fakes("left", "right") as there:
        urls = {name: each.base_url for name, each in there.items()}
        await in_thread(
            house.apply,
            namespace,
            # The pool first: objects may come in any order.
            a_pool_object(left=80, right=20),
            a_pool_object("other", right=1),
            *(a_provider_object(name, url, "openai") for name, url in urls.items()),
        )
        await in_thread(house.wait, namespace, "modelpool/chat", "ResolvedRefs", "False")
        assert (await in_thread(house.condition, namespace, "modelpool/chat", "Ready"))["reason"] == "SecretNotFound"
        await in_thread(house.apply, namespace, a_secret_object(OLD))
        await in_thread(house.wait, namespace, "modelpool/chat")

        with Kubelet(house.plane, namespace, tmp_path / "volume") as kubelet:
            async with listening(kubelet.volume.root) as process:
                await eventually(process.is_ready)
                assert await streamed(process) in {"I am left as chat.", "I am right as chat."}
                split = await asked(process, 300)
                assert 0.7 < split["left"] / 300 < 0.9

                # A weight changes under load: the split follows, and no request is lost.
                load = asyncio.create_task(asked(process, 1500))
                await in_thread(house.apply, namespace, a_pool_object(left=10, right=90))
                await eventually(lambda: _weights_are(process, {"left": 10, "right": 90}))
                assert sum((await load).values()) == 1500
                split = await asked(process, 300)
                assert split["left"] / 300 < 0.2

                # A key rotates under load: the new one is used, and no request is lost.
                there["left"].attempts.clear()
                stop = asyncio.Event()
                load = asyncio.create_task(_until_told(process, stop))
                await in_thread(house.apply, namespace, a_secret_object(NEW))
                await eventually(lambda: NEW in _keys(there), 20)
                stop.set()
                assert await load > 0
                assert _keys(there) <= {OLD, NEW}

                # A Provider is deleted: its pool says so and answers 503, the other pool goes on.
                await in_thread(house.apply, namespace, a_pool_object(left=1))
                await in_thread(house.wait, namespace, "modelpool/chat")
                await in_thread(house.delete, namespace, "provider/left")
                await in_thread(house.wait, namespace, "modelpool/chat", "ResolvedRefs", "False")
                await eventually(lambda: _answers(process, 503))
                answer = await process.ask()
                assert answer.code == "no_target"
                assert "Provider left" in answer.json["error"]["message"]
                assert await in_thread(house.reason, namespace, "modelpool/other") == ("True", "Ready")
                assert (await process.ask(model="other")).status == 200

                # It comes back, and everything heals.
                await in_thread(house.apply, namespace, a_provider_object("left", urls["left"], "openai"))
                await in_thread(house.wait, namespace, "modelpool/chat")
                await eventually(lambda: _answers(process, 200))

                # A Secret vanishes: the last copied key stays in force, and the status says so (B47a).
                await in_thread(house.delete, namespace, "secret/openai")
                await in_thread(house.wait, namespace, "provider/left", "ResolvedRefs", "False")
                degraded = ("True", "Degraded")
                await in_thread(until, lambda: house.reason(namespace, "modelpool/chat") == degraded)
                there["left"].attempts.clear()
                assert await asked(process, 20) == {"left": 20}
                assert _keys(there) == {NEW}

    everything = _all_that_is_told(house, namespace, process)
    assert OLD not in everything
    assert NEW not in everything
    for coded in (base64.b64encode(OLD.encode()).decode(), base64.b64encode(NEW.encode()).decode()):
        assert coded not in everything


async def _weights_are(process: Process, weights: dict[str, int]) -> bool:
    config = (await process.get("/-/config")).json
    found = next(each for each in config["pools"] if each["name"] == "chat")
    return {each["name"]: each["weight"] for each in found["targets"]} == weights


async def _answers(process: Process, status: int) -> bool:
    return (await process.ask()).status == status


async def _until_told(process: Process, stop: asyncio.Event) -> int:
    count = 0
    while not stop.is_set():
        count += sum((await asked(process, 16)).values())
    return count


def _keys(there: dict[str, FakeProvider]) -> set[str]:
    return {(each.header("authorization") or "").removeprefix("Bearer ") for each in there["left"].attempts}


def _all_that_is_told(house: Cluster, namespace: str, process: Process) -> str:
    """Everything but the Secrets: objects with status, ConfigMaps, events, logs, metrics."""
    listed = house.plane.kubectl("get", "llm,configmaps,events,leases", "-n", namespace, "-o", "json").ok().stdout
    described = house.describe(namespace, "llm")
    operator = house.operators[0]
    return "\n".join([listed, described, operator.log, operator.get("/metrics")[1], *process.err, *process.out])


def test_one_line_tells_the_truth(house: Cluster) -> None:
    namespace = house.plane.namespace("line")
    house.apply(
        namespace,
        a_provider_object("here"),
        a_pool_object("half", here=1, absent=1),
        a_pool_object("none", absent=1),
    )
    house.wait(namespace, "modelpool/half")
    house.wait(namespace, "modelpool/none", "Ready", "False")
    shown = house.plane.kubectl("get", "llm", "-A").ok().stdout
    rows = {
        row[1].partition("/")[2]: row[2:5]
        for line in shown.splitlines()
        if (row := line.split()) and row[0] == namespace
    }
    assert rows["half"] == ["True", "Degraded", "1/2"]
    assert rows["none"] == ["False", "ProviderNotFound", "0/1"]
    assert rows["here"] == ["True", "Ready", "OpenAI"]


async def test_the_quickstart_answers_in_a_pod_whose_sidecar_is_written_by_hand(house: Cluster, tmp_path: Path) -> None:
    namespace = house.plane.namespace("quick")
    examples = Path(__file__).parents[2] / "examples"
    for what in ("quickstart", "manual-sidecar.yaml"):
        await in_thread(
            lambda what=what: house.plane.kubectl("apply", "-n", namespace, "-f", str(examples / what)).ok()
        )
    await in_thread(house.wait, namespace, "modelpool/chat")
    deployment = await in_thread(house.get, namespace, "deployment/web")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    (sources,) = [each["projected"]["sources"] for each in volumes if "projected" in each]
    assert sources == [
        {"configMap": {"name": "modelpool-config", "optional": True}},
        {"secret": {"name": "modelpool-credentials", "optional": True}},
    ]
    with Kubelet(house.plane, namespace, tmp_path / "volume") as kubelet:
        async with listening(kubelet.volume.root) as process:
            await eventually(process.is_ready)
            assert sum((await asked(process, 20)).values()) == 20


def test_each_look_at_a_namespace_is_a_span_and_no_key_is_in_one(house: Cluster, collector: OtlpReceiver) -> None:
    namespace = house.plane.namespace("traced")
    house.apply(namespace, a_secret_object(OLD), a_provider_object("a", secret="openai"), a_pool_object(a=1))
    house.wait(namespace, "modelpool/chat")
    assert house.operators[0].stop() == 0, "what is queued is sent at the end"
    mine = [span for span in collector.spans if span.attributes.get("k8s.namespace.name") == namespace]
    assert {span.name for span in mine} == {"reconcile"}
    assert max(span.attributes.get("modelpool.pools", 0) for span in mine) == 1
    assert collector.resource["service.name"] == "modelpool-operator"
    for body in collector.bodies:
        assert OLD.encode() not in body
        assert NEW.encode() not in body
