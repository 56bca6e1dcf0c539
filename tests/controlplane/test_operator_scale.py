"""A thousand pools and two hundred Providers in one namespace: how soon, in how much memory, with how many writes."""

import json
import random
import string
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from manifests_for import a_pool_object, a_provider_object
from modelpool_config import codec, mount
from operator_process import Cluster, OperatorProcess, cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operator-scale")]

POOLS, PROVIDERS = 1000, 200
WITHIN_SECONDS = 12.0
MEMORY_BYTES = 200 * 1000 * 1000


@pytest.fixture(scope="module")
def house() -> Iterator[Cluster]:
    for made in cluster():
        # What is measured here is not traced: that alone makes it two or three times as slow.
        made.operator(COVERAGE_PROCESS_CONFIG="", COVERAGE_PROCESS_START="").until_leading()
        yield made


def create(house: Cluster, namespace: str, objects: list[dict[str, Any]]) -> float:
    """All of them, some at a time; when the last one was stored."""
    plurals = {"Provider": "providers", "ModelPool": "modelpools"}

    def one(each: dict[str, Any]) -> None:
        path = f"/apis/modelpool.dev/v1alpha1/namespaces/{namespace}/{plurals[each['kind']]}"
        house.plane.request("POST", path, each).ok()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, objects))
    return time.monotonic()


def written(house: Cluster, namespace: str) -> list[str]:
    """The pools in the namespace's ConfigMap."""
    found = house.plane.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{mount.CONFIG_MAP}")
    if found.status != 200:
        return []
    plain, zipped = found.json.get("data", {}), found.json.get("binaryData", {})
    if "config.json" in plain:
        return [pool["name"] for pool in json.loads(plain["config.json"])["pools"]]
    import base64

    return [pool.name for pool in codec.decode(base64.b64decode(zipped["config.json.gz"])).pools]


def statuses(operator: OperatorProcess) -> float:
    return operator.metric('modelpool_operator_writes_total{what="status"}')


def test_a_thousand_pools_are_published_soon_in_little_memory_and_one_edit_writes_one_status(house: Cluster) -> None:
    operator = house.operators[0]
    namespace = house.plane.namespace("large")
    providers = [a_provider_object(f"provider-{number}") for number in range(PROVIDERS)]
    pools = [
        a_pool_object(f"pool-{number}", **{f"provider-{(number * 7 + each) % PROVIDERS}": 1 for each in range(3)})
        for number in range(POOLS)
    ]
    last = create(house, namespace, [*providers, *pools])
    until(lambda: len(written(house, namespace)) == POOLS, WITHIN_SECONDS)
    took = time.monotonic() - last
    print(f"published {took:.2f} s after the last write, {operator.rss_bytes() / 1e6:.0f} MB")  # noqa: T201 - measured
    assert took < WITHIN_SECONDS

    until(lambda: statuses(operator) >= POOLS + PROVIDERS, 60)
    until(lambda: operator.metric('modelpool_operator_worklist{name="report"}') == 0, 30)
    print(f"every status {time.monotonic() - last:.2f} s after, {operator.rss_bytes() / 1e6:.0f} MB")  # noqa: T201
    assert operator.rss_bytes() < MEMORY_BYTES

    before, reconciles = statuses(operator), operator.metric('modelpool_operator_reconciles_total{result="ok"}')
    edited = a_pool_object("pool-500", **{"provider-1": 5})
    began = time.monotonic()
    house.apply(namespace, edited)
    house.wait(namespace, "modelpool/pool-500")
    until(lambda: (house.get(namespace, "modelpool/pool-500") or {})["status"]["observedGeneration"] == 2)
    print(f"one edit: {time.monotonic() - began:.2f} s")  # noqa: T201 - measured
    until(lambda: operator.metric('modelpool_operator_reconciles_total{result="ok"}') > reconciles)
    until(lambda: operator.metric('modelpool_operator_worklist{name="report"}') == 0)
    assert 1 <= statuses(operator) - before <= 3
    assert operator.rss_bytes() < MEMORY_BYTES
    assert "ERROR" not in operator.log


def test_what_does_not_fit_is_told_before_the_api_server_refuses_it(house: Cluster) -> None:
    namespace = house.plane.namespace("huge")
    random.seed(7)
    letters = string.ascii_lowercase + string.digits

    def incompressible(number: int) -> dict[str, Any]:
        path = "".join(random.choices(letters, k=1900))
        return a_provider_object(f"p-{number}", base_url=f"https://example.com/{path}")

    house.apply(namespace, a_provider_object("small"), a_pool_object("first", small=1))
    house.wait(namespace, "modelpool/first")
    create(house, namespace, [incompressible(number) for number in range(900)])
    pools = [
        a_pool_object(f"wide-{start}", **{f"p-{number}": 1 for number in range(start, start + 60)})
        for start in range(0, 900, 60)
    ]
    create(house, namespace, pools)
    # Nine hundred statuses are on their way, too; how soon is the other test's question.
    until(lambda: house.reason(namespace, "modelpool/wide-840") == ("False", "ConfigTooLarge"), 120)
    message = house.condition(namespace, "modelpool/wide-840", "Ready")["message"]
    assert "split the namespace" in message
    # What was published before runs on, and says so.
    assert house.reason(namespace, "modelpool/first") == ("True", "Ready")
    assert "first" in written(house, namespace)
    for pool in pools:
        house.delete(namespace, f"modelpool/{pool['metadata']['name']}")
    house.apply(namespace, a_pool_object("second", small=1))
    until(lambda: house.reason(namespace, "modelpool/second") == ("True", "Ready"), 120)
    assert set(written(house, namespace)) == {"first", "second"}
