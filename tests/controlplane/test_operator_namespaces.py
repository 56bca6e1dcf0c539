"""Watching namespaces by name, with rights in those alone: one that may not be looked at stops no other."""

import json
from collections.abc import Iterator

import pytest

from controlplane_running import running
from manifests_for import a_pool_object, a_provider_object
from operator_process import Cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operator-leads")]

ONE, TWO = "one", "two"


@pytest.fixture
def house() -> Iterator[Cluster]:
    for plane in running():
        for name in (ONE, TWO):
            plane.kubectl("create", "namespace", name).ok()
        made = Cluster(plane, "--set", f"watchNamespaces={{{ONE},{TWO}}}")
        try:
            yield made
        finally:
            made.close()


def weight(house: Cluster, namespace: str) -> int:
    found: int = house.config(namespace)["pools"][0]["targets"][0]["weight"]
    return found


def test_a_namespace_without_its_role_binding_stops_no_other_and_heals(house: Cluster) -> None:
    env = {"MODELPOOL_WATCH_NAMESPACES": f"{ONE},{TWO}", "MODELPOOL_RESYNC_SECONDS": "5"}
    first = house.operator(**env)
    first.until_leading()
    for namespace in (ONE, TWO):
        house.apply(namespace, a_provider_object("left"), a_pool_object(left=1))
        house.wait(namespace, "modelpool/chat")
    assert first.stop() == 0

    binding = json.loads(
        house.plane.kubectl("get", "rolebinding", "modelpool-operator", "-n", TWO, "-o", "json").ok().stdout
    )
    house.delete(TWO, "rolebinding/modelpool-operator")
    second = house.operator(**env)
    second.until_leading()
    until(lambda: f"namespace {TWO} cannot be looked at, and is left as it is" in second.log)
    for namespace in (ONE, TWO):
        house.apply(namespace, a_pool_object(left=2))
    until(lambda: weight(house, ONE) == 2)
    assert weight(house, TWO) == 1
    assert second.get("/readyz")[0] == 200

    fresh = {"apiVersion": binding["apiVersion"], "kind": binding["kind"], "metadata": {"name": "modelpool-operator"}}
    house.apply(TWO, {**fresh, "roleRef": binding["roleRef"], "subjects": binding["subjects"]})
    until(lambda: weight(house, TWO) == 2, 30)
    house.apply(ONE, a_pool_object(left=3))
    until(lambda: weight(house, ONE) == 3)
    assert "Traceback" not in second.log
