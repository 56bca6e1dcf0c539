"""One leads, whatever happens to it; and an API server that goes away takes nothing along."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests_for import a_pool_object, a_provider_object
from operator_process import SYSTEM, Cluster, Kubelet, OperatorProcess, cluster, in_thread, until
from process_support import eventually, listening

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operator-leads")]

FAKE = {"dialect": "Fake"}


@pytest.fixture
def house() -> Iterator[Cluster]:
    yield from cluster()


def weight(house: Cluster, namespace: str) -> int:
    pools = house.config(namespace).get("pools") or [{"targets": [{"weight": -1}]}]
    found: int = pools[0]["targets"][0]["weight"]
    return found


def holder(house: Cluster) -> str:
    found = house.get(SYSTEM, "lease/modelpool-operator") or {"spec": {}}
    return str(found["spec"].get("holderIdentity", ""))


def pair(house: Cluster) -> tuple[OperatorProcess, OperatorProcess]:
    """Who leads, and who stands by."""
    first = house.operator(MODELPOOL_IDENTITY="first")
    first.until_leading()
    second = house.operator(MODELPOOL_IDENTITY="second")
    until(lambda: "standing by: first leads" in second.log)
    assert second.get("/readyz")[0] == 200, "a standby is ready, too"
    return first, second


def test_when_the_leader_is_killed_the_other_writes_within_thirty_seconds(house: Cluster) -> None:
    first, second = pair(house)
    namespace = house.plane.namespace("shop")
    house.apply(namespace, a_provider_object("left"), a_pool_object(left=1))
    house.wait(namespace, "modelpool/chat")
    first.kill()
    killed = time.monotonic()
    house.apply(namespace, a_pool_object(left=2))
    until(lambda: weight(house, namespace) == 2, 30)
    assert time.monotonic() - killed < 30
    assert holder(house) == "second"
    assert second.leads


def test_a_leader_that_ends_hands_over_at_once(house: Cluster) -> None:
    first, second = pair(house)
    assert first.stop() == 0
    ended = time.monotonic()
    until(lambda: holder(house) == "second", 6)
    second.until_leading()
    assert time.monotonic() - ended < 6


def test_a_leader_that_stood_still_writes_nothing_when_it_wakes(house: Cluster) -> None:
    first, second = pair(house)
    namespace = house.plane.namespace("shop")
    house.apply(namespace, a_provider_object("left"), a_pool_object(left=1))
    house.wait(namespace, "modelpool/chat")
    written = first.metric('modelpool_operator_writes_total{what="config_map"}')
    first.pause()
    house.apply(namespace, a_pool_object(left=2))
    until(lambda: weight(house, namespace) == 2, 30)
    first.resume()
    until(lambda: "not leading any more" in first.log)
    house.apply(namespace, a_pool_object(left=3))
    until(lambda: weight(house, namespace) == 3)
    assert first.metric('modelpool_operator_writes_total{what="config_map"}') == written
    assert not first.leads
    assert second.leads
    until(lambda: "standing by: second leads" in first.log)


async def test_while_the_api_server_is_away_sidecars_serve_and_afterwards_all_goes_on(
    house: Cluster, tmp_path: Path
) -> None:
    operator = house.operator()
    await in_thread(operator.until_leading)
    namespace = house.plane.namespace("shop")
    fake = {"apiVersion": "modelpool.dev/v1alpha1", "kind": "Provider", "metadata": {"name": "left"}, "spec": FAKE}
    await in_thread(house.apply, namespace, fake, a_pool_object(left=1))
    await in_thread(house.wait, namespace, "modelpool/chat")
    with Kubelet(house.plane, namespace, tmp_path / "volume") as kubelet:
        async with listening(kubelet.volume.root) as process:
            await eventually(process.is_ready)
            await in_thread(house.plane.stop_api)
            away = time.monotonic()
            answered = 0
            while time.monotonic() - away < 30:
                assert (await process.ask()).status == 200
                answered += 1
            assert answered > 100
            assert operator.get("/livez")[0] == 200
            assert not operator.leads, "the Lease ran out meanwhile"
            await in_thread(house.plane.start_api)
            back = time.monotonic()
            await in_thread(house.apply, namespace, a_pool_object(left=7))
            await in_thread(until, lambda: weight(house, namespace) == 7, 30)
            assert time.monotonic() - back < 30
            assert operator.running
            assert "Traceback" not in operator.log
