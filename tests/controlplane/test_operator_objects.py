"""What the operator does with its own objects, with other people's, and with what is wrong, on a real API server."""

import json
import time
from collections.abc import Iterator

import pytest

from manifests_for import a_pool_object, a_provider_object, a_secret_object
from modelpool_config import mount
from operator_process import CHART, SYSTEM, Cluster, OperatorProcess, cluster, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operator")]

BEYOND_CEL = "http://[64:ff9b::a9fe:a9fe]/v1"
"""An address of a metadata service in a form that no rule of the CRD can read: the operator's own check refuses it."""
CONFIG, SECRET = f"configmap/{mount.CONFIG_MAP}", f"secret/{mount.SECRET}"


@pytest.fixture(scope="module")
def house() -> Iterator[Cluster]:
    for made in cluster():
        made.operator().until_leading()
        yield made


@pytest.fixture
def shop(house: Cluster) -> str:
    """A namespace with a pool that runs."""
    namespace = house.plane.namespace("shop")
    house.apply(namespace, a_provider_object("left", secret="openai"), a_pool_object(left=1), a_secret_object("sk-1"))
    house.wait(namespace, "modelpool/chat")
    return namespace


def test_a_config_map_edited_by_hand_is_restored(house: Cluster, shop: str) -> None:
    before = house.config(shop)
    patch = json.dumps({"data": {"config.json": "{}", "config-mine.json": "{}", "sidecars.json": "7"}})
    house.plane.kubectl("patch", "-n", shop, CONFIG, "--type=merge", "-p", patch).ok()
    until(lambda: house.config(shop) == before)
    until(lambda: set((house.get(shop, CONFIG) or {})["data"]) == {"config.json", "sidecars.json"})
    assert (house.get(shop, CONFIG) or {})["data"]["sidecars.json"] == "1"


@pytest.mark.parametrize("what", [CONFIG, SECRET])
def test_what_is_deleted_by_hand_is_made_anew(house: Cluster, shop: str, what: str) -> None:
    before = house.get(shop, what) or {}
    house.delete(shop, what)
    found = until(lambda: house.get(shop, what))
    assert found["metadata"]["uid"] != before["metadata"]["uid"]
    assert found.get("data") == before.get("data")


def test_a_credential_edited_by_hand_is_restored(house: Cluster, shop: str) -> None:
    before = (house.get(shop, SECRET) or {})["data"]
    patch = json.dumps({"data": {**dict.fromkeys(before, "d3Jvbmc="), "strange": "d3Jvbmc="}})
    house.plane.kubectl("patch", "-n", shop, SECRET, "--type=merge", "-p", patch).ok()
    until(lambda: (house.get(shop, SECRET) or {})["data"] == before)


def test_a_status_edited_by_hand_is_restored(house: Cluster, shop: str) -> None:
    patch = json.dumps({"status": {"conditions": [], "targetsResolved": "9/9"}})
    house.plane.kubectl("patch", "-n", shop, "modelpool/chat", "--subresource=status", "--type=merge", "-p", patch).ok()
    until(lambda: (house.get(shop, "modelpool/chat") or {})["status"].get("targetsResolved") == "1/1")
    house.wait(shop, "modelpool/chat")


def test_nothing_is_written_into_what_belongs_to_users(house: Cluster, shop: str) -> None:
    for what in ("provider/left", "modelpool/chat", "secret/openai"):
        shown = json.loads(
            house.plane.kubectl("get", "-n", shop, what, "-o", "json", "--show-managed-fields").ok().stdout
        )
        metadata = shown["metadata"]
        assert "finalizers" not in metadata
        assert set(metadata.get("annotations", {})) <= {"kubectl.kubernetes.io/last-applied-configuration"}
        writers = {(each["manager"], each.get("subresource", "")) for each in metadata["managedFields"]}
        assert writers <= {("kubectl-client-side-apply", ""), ("modelpool-status", "status")}


def test_an_object_of_somebody_else_under_our_name_is_left_alone(house: Cluster) -> None:
    namespace = house.plane.namespace("taken")
    foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": mount.CONFIG_MAP}, "data": {"mine": "yes"}}
    house.apply(namespace, foreign)
    house.apply(namespace, a_provider_object("left"), a_pool_object(left=1))
    house.wait(namespace, "modelpool/chat", "Programmed", "False")
    assert house.reason(namespace, "modelpool/chat") == ("False", "NameConflict")
    assert "remove it" in house.condition(namespace, "modelpool/chat", "Ready")["message"]
    assert (house.get(namespace, CONFIG) or {})["data"] == {"mine": "yes"}
    name = f'modelpool_operator_name_conflict{{namespace="{namespace}"}}'
    assert house.operators[0].metric(name) == 1.0
    house.delete(namespace, CONFIG)
    house.wait(namespace, "modelpool/chat")
    assert [each["name"] for each in house.config(namespace)["pools"]] == ["chat"]


def test_a_refused_edit_leaves_the_last_accepted_form_in_force_also_after_a_restart(house: Cluster, shop: str) -> None:
    house.apply(shop, a_provider_object("left", base_url=BEYOND_CEL, secret="openai"))
    house.wait(shop, "provider/left", "Accepted", "False")
    in_force = {"Accepted": ("False", "InvalidSpec"), "Programmed": ("True", "LastGood")}
    assert {kind: house.reason(shop, "provider/left", kind) for kind in in_force} == in_force
    message = house.condition(shop, "provider/left", "Accepted")["message"]
    assert message.startswith("baseURL must not point to a link-local address: 64:ff9b::a9fe:a9fe")
    until(lambda: house.reason(shop, "modelpool/chat") == ("True", "Degraded"))
    assert house.config(shop)["providers"][0]["baseUrl"] == "http://127.0.0.1:9/v1"

    house.operators[0].stop()
    house.operators[0] = house.operator()
    house.operators[0].until_leading()
    house.apply(shop, a_pool_object("later", left=1))
    house.wait(shop, "modelpool/later")
    assert {kind: house.reason(shop, "provider/left", kind) for kind in in_force} == in_force
    assert house.config(shop)["providers"][0]["baseUrl"] == "http://127.0.0.1:9/v1"

    house.apply(shop, a_provider_object("left", base_url="http://127.0.0.1:8/v1", secret="openai"))
    house.wait(shop, "provider/left")
    assert house.config(shop)["providers"][0]["baseUrl"] == "http://127.0.0.1:8/v1"


def test_one_bad_object_stops_no_other(house: Cluster, shop: str) -> None:
    house.apply(
        shop,
        a_provider_object("beyond", base_url=BEYOND_CEL),
        a_pool_object("broken", beyond=1),
        a_pool_object("lost", absent=1),
        a_provider_object("keyless", secret="nowhere"),
        a_pool_object("second", left=1),
    )
    house.wait(shop, "modelpool/second")
    assert house.reason(shop, "provider/beyond", "Programmed") == ("False", "InvalidSpec")
    assert house.reason(shop, "modelpool/broken") == ("False", "InvalidSpec")
    assert house.reason(shop, "modelpool/lost") == ("False", "ProviderNotFound")
    assert house.reason(shop, "provider/keyless") == ("False", "SecretNotFound")
    message = house.condition(shop, "provider/keyless", "ResolvedRefs")["message"]
    assert f"kubectl create secret generic nowhere -n {shop} --from-literal=api-key=YOUR_KEY" in message
    config = house.config(shop)
    assert [each["name"] for each in config["pools"]] == ["chat", "second"]
    assert {each["name"]: each["code"] for each in config["closed"]} == {"broken": "no_target", "lost": "no_target"}


def test_events_tell_of_transitions_and_of_nothing_else(house: Cluster, shop: str) -> None:
    house.delete(shop, "secret/openai")
    until(lambda: house.reason(shop, "modelpool/chat") == ("True", "Degraded"))
    house.apply(shop, a_secret_object("sk-2"))
    until(lambda: house.reason(shop, "modelpool/chat") == ("True", "Ready"))

    def told() -> list[str]:
        listed = house.plane.kubectl("get", "events.v1.events.k8s.io", "-n", shop, "-o", "json").ok().json["items"]
        mine = [each for each in listed if each["regarding"]["name"] == "chat"]
        return [each["reason"] for each in sorted(mine, key=lambda each: each["eventTime"])]

    until(lambda: told()[-2:] == ["Degraded", "Ready"])
    assert told().count("Ready") == 2
    described = house.describe(shop, "modelpool/chat")
    assert "modelpool.dev/operator" in described


def test_a_labelled_namespace_gets_a_valid_empty_config_and_keeps_it(house: Cluster) -> None:
    namespace = house.plane.namespace("waiting", {"modelpool.dev/injection": "enabled"})
    until(lambda: house.config(namespace).get("pools") == [])
    until(lambda: house.get(namespace, SECRET))
    house.apply(namespace, a_provider_object("left"), a_pool_object(left=1))
    house.wait(namespace, "modelpool/chat")
    house.delete(namespace, "modelpool/chat")
    until(lambda: house.config(namespace)["pools"] == [])
    until(lambda: house.reason(namespace, "provider/left", "Programmed") == ("True", "Unused"))


def test_sidecars_are_counted(house: Cluster, shop: str) -> None:
    for number in range(3):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"app-{number}", "labels": {"modelpool.dev/sidecar": "true"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }
        house.apply(shop, pod)
    until(lambda: (house.get(shop, CONFIG) or {})["data"]["sidecars.json"] == "3")
    digest = (house.get(shop, "modelpool/chat") or {})["status"]["config"]["digest"]
    done = json.dumps({"status": {"phase": "Succeeded"}})
    house.plane.kubectl("patch", "-n", shop, "pod/app-0", "--subresource=status", "--type=merge", "-p", done).ok()
    # Fewer are told only after a minute; the digest of the pool never moves by the number.
    assert (house.get(shop, CONFIG) or {})["data"]["sidecars.json"] == "3"
    assert (house.get(shop, "modelpool/chat") or {})["status"]["config"]["digest"] == digest


def test_a_namespace_deletes_cleanly_while_the_operator_runs_and_while_it_does_not(house: Cluster, shop: str) -> None:
    other = house.plane.namespace("shop")
    house.apply(other, a_provider_object("left"), a_pool_object(left=1))
    house.wait(other, "modelpool/chat")
    began = time.monotonic()
    house.plane.kubectl("delete", "namespace", shop, "--timeout=60s").ok()
    assert time.monotonic() - began < 60
    operator = house.operators[0]
    operator.stop()
    house.plane.kubectl("delete", "namespace", other, "--timeout=60s").ok()
    house.operators[0] = house.operator()
    house.operators[0].until_leading()
    for log in (operator.log, house.operators[0].log):
        assert "Traceback" not in log
        assert "ERROR" not in log


def test_another_instance_refuses_a_namespace_that_is_served(house: Cluster, shop: str) -> None:
    second = "modelpool-second"
    done = house.plane.helm(
        "install",
        "second",
        str(CHART),
        "-n",
        second,
        "--create-namespace",
        "--set",
        "crds.enabled=false",
        "--set",
        "fullnameOverride=second",
    )
    assert done.code == 0, done.stderr
    try:
        rival: OperatorProcess = house.operator("second", second)
        rival.until_leading()
        before = house.get(shop, CONFIG) or {}
        until(lambda: f"namespace {shop}: is served by another instance, {SYSTEM}/modelpool" in rival.log)
        house.apply(shop, a_pool_object(left=3))
        until(lambda: house.config(shop)["pools"][0]["targets"][0]["weight"] == 3)
        assert rival.metric('modelpool_operator_writes_total{what="config_map"}') == 0.0
        assert rival.metric('modelpool_operator_writes_total{what="status"}') == 0.0
        assert (house.get(shop, CONFIG) or {})["metadata"]["uid"] == before["metadata"]["uid"]
        assert rival.stop() == 0
    finally:
        house.plane.helm("uninstall", "second", "-n", second).ok()


def test_uninstalling_leaves_what_sidecars_run_on(house: Cluster, shop: str) -> None:
    before = house.get(shop, CONFIG) or {}
    keys = house.get(shop, SECRET) or {}
    house.operators[0].stop()
    house.plane.helm("uninstall", "modelpool", "-n", SYSTEM).ok()
    assert (house.get(shop, CONFIG) or {})["metadata"] == before["metadata"]
    assert (house.get(shop, SECRET) or {})["data"] == keys["data"]
    assert house.reason(shop, "modelpool/chat") == ("True", "Ready")
    house.plane.helm("install", "modelpool", str(CHART), "-n", SYSTEM).ok()
    house.operators[0] = house.operator()
    house.operators[0].until_leading()
    house.apply(shop, a_pool_object(left=4))
    until(lambda: house.config(shop)["pools"][0]["targets"][0]["weight"] == 4)
