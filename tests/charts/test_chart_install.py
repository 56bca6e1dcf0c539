"""What happens to definitions and objects when the chart is installed, upgraded, removed and put back."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart_support import CHART, INSTALL, ROOT, documents
from controlplane import ControlPlane
from controlplane_definitions import forget
from controlplane_running import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]

CRDS = ["modelpools.modelpool.dev", "providers.modelpool.dev"]
NAMESPACED = "deployments,pods,services,serviceaccounts,roles,rolebindings,poddisruptionbudgets"
QUICKSTART = ROOT / "examples" / "quickstart"


@pytest.fixture(scope="module")
def own_controlplane() -> Iterator[ControlPlane]:
    """One for the tests here, with a namespace to watch."""
    for plane in running():
        plane.kubectl("create", "namespace", "team-a").ok()
        yield plane


@pytest.fixture
def plane(own_controlplane: ControlPlane) -> Iterator[ControlPlane]:
    """It again, and after the test nothing of ours is left on it but namespaces."""
    yield own_controlplane
    for release in own_controlplane.helm("list", "-A", "-o", "json").json:
        own_controlplane.helm("uninstall", release["name"], "-n", release["namespace"]).ok()
    ours = ["-A", "-l", "app.kubernetes.io/part-of=modelpool"]
    own_controlplane.kubectl("delete", NAMESPACED, *ours).ok()
    own_controlplane.kubectl("delete", "clusterroles,clusterrolebindings", *ours[1:]).ok()
    forget(own_controlplane, CRDS)


def _install(plane: ControlPlane, release: str, namespace: str, *options: str) -> Any:
    return plane.helm("install", release, str(CHART), "--namespace", namespace, "--create-namespace", *options)


def _uninstall(plane: ControlPlane, release: str = "modelpool", namespace: str = "modelpool-system") -> str:
    return plane.helm("uninstall", release, "--namespace", namespace).ok().stdout


def _declare(plane: ControlPlane) -> dict[str, str]:
    """The quickstart's objects, by name with their identity."""
    # A new definition is served a moment after it is stored.
    deadline = time.monotonic() + 60
    while (applied := plane.kubectl("apply", "--server-side", "-f", str(QUICKSTART))).code:
        assert time.monotonic() < deadline, applied.stderr
        time.sleep(0.05)
    return _declared(plane)


def _declared(plane: ControlPlane) -> dict[str, str]:
    paths = [f"/apis/modelpool.dev/v1alpha1/{plural}" for plural in ("providers", "modelpools")]
    # While the server takes in a changed definition it answers 429.
    _until(lambda: all(plane.request("GET", path).status == 200 for path in paths))
    found = [each for path in paths for each in plane.request("GET", path).ok()["items"]]
    assert found
    return {f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["uid"] for each in found}


def _definitions(plane: ControlPlane) -> list[str]:
    found = plane.kubectl("get", "crd", "-o", "json").json["items"]
    return sorted(each["metadata"]["name"] for each in found if each["spec"]["group"] == "modelpool.dev")


def _deployment(plane: ControlPlane) -> dict[str, Any]:
    return dict(plane.kubectl("get", "deployment", "modelpool-operator", "-n", "modelpool-system", "-o", "json").json)


def _env(deployment: dict[str, Any]) -> dict[str, str]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it did not come true within 60 s"
        time.sleep(0.05)


def _pods(plane: ControlPlane) -> list[dict[str, Any]]:
    selected = "app.kubernetes.io/component=operator"
    return list(plane.kubectl("get", "pods", "-n", "modelpool-system", "-l", selected, "-o", "json").json["items"])


def test_two_operators_are_made_and_may_be_drained_one_at_a_time(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    _until(lambda: len(_pods(plane)) == 2)
    assert {each["spec"]["serviceAccountName"] for each in _pods(plane)} == {"modelpool-operator"}
    budget = ["get", "pdb", "modelpool-operator", "-n", "modelpool-system", "-o", "json"]
    _until(lambda: plane.kubectl(*budget).json["status"].get("expectedPods") == 2)
    assert plane.kubectl(*budget).json["status"]["desiredHealthy"] == 1


def test_an_upgrade_changes_what_was_asked_for_and_keeps_every_object(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    before = _declare(plane)
    upgrade = ["upgrade", "modelpool", str(CHART), "--namespace", "modelpool-system"]
    plane.helm(*upgrade, "--set=logLevel=debug").ok()
    assert _env(_deployment(plane))["MODELPOOL_LOG_LEVEL"] == "debug"
    assert _declared(plane) == before
    generation = _deployment(plane)["metadata"]["generation"]
    plane.helm(*upgrade, "--set=logLevel=debug").ok()
    assert _deployment(plane)["metadata"]["generation"] == generation, "the same again changes nothing"


def test_an_upgrade_brings_new_fields_into_the_definitions_and_keeps_every_object(
    plane: ControlPlane, tmp_path: Path
) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    before = _declare(plane)
    newer = tmp_path / "modelpool"
    shutil.copytree(CHART, newer)
    chart = yaml.safe_load((newer / "Chart.yaml").read_text())
    (newer / "Chart.yaml").write_text(yaml.safe_dump({**chart, "version": "0.2.0", "appVersion": "0.2.0"}))
    crd = newer / "templates" / "crds" / "modelpools.modelpool.dev.yaml"
    text = crd.read_text()
    at = "              properties:\n                models:\n"
    assert text.count(at) == 1
    crd.write_text(
        text.replace(at, at.replace("models:", "tomorrow: {type: string, description: New.}\n                models:"))
    )
    plane.helm("upgrade", "modelpool", str(newer), "--namespace", "modelpool-system").ok()
    assert _declared(plane) == before
    patch = ["patch", "modelpool/chat", "--type=merge", "-p", '{"spec":{"tomorrow":"here"}}', "-o"]
    _until(lambda: plane.kubectl(*patch, "jsonpath={.spec.tomorrow}").stdout == "here")
    (container,) = _deployment(plane)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "modelpool-operator:0.2.0"


def test_uninstalling_keeps_definitions_and_objects_and_removes_the_rest(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    before = _declare(plane)
    said = _uninstall(plane)
    assert all(name in said for name in CRDS)
    assert _declared(plane) == before
    kinds = (
        "deployments,services,serviceaccounts,roles,rolebindings,pdb,networkpolicies,clusterroles,clusterrolebindings"
    )
    left = plane.kubectl("get", kinds, "-A", "-o", "name").ok().stdout
    assert "modelpool" not in left

    _install(plane, "modelpool", "modelpool-system").ok()
    assert _declared(plane) == before, "the same release comes back to what it left"


def test_definitions_that_are_not_to_be_kept_go_with_the_release(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system", "--set=crds.keep=false").ok()
    _uninstall(plane)
    _until(lambda: _definitions(plane) == [])


def test_kept_definitions_are_taken_over_by_another_release_when_it_is_told_to(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    before = _declare(plane)
    _uninstall(plane)
    refused = _install(plane, "llm", "modelpool-new")
    assert refused.code == 1
    assert "invalid ownership metadata" in refused.stderr
    _install(plane, "llm", "modelpool-new", "--take-ownership").ok()
    assert _declared(plane) == before


def test_a_second_release_is_refused_for_the_definitions_and_taken_without(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    narrow = "--set=watchNamespaces={team-a}"
    refused = _install(plane, "second", "modelpool-second", narrow)
    assert refused.code == 1
    assert 'CustomResourceDefinition "modelpools.modelpool.dev" in namespace "" exists' in refused.stderr
    _install(plane, "second", "modelpool-second", narrow, "--set=crds.enabled=false").ok()
    _uninstall(plane, "second", "modelpool-second")
    assert _definitions(plane) == CRDS
    owner = plane.kubectl("get", "crd", CRDS[0], "-o", "json").json["metadata"]["annotations"]
    assert owner["meta.helm.sh/release-name"] == "modelpool"


def test_two_releases_under_one_name_that_watch_one_namespace_are_refused(plane: ControlPlane) -> None:
    narrow = "--set=watchNamespaces={team-a}"
    _install(plane, "modelpool", "modelpool-system", narrow).ok()
    refused = _install(plane, "modelpool", "modelpool-second", narrow, "--set=crds.enabled=false")
    assert refused.code == 1
    assert 'Role "modelpool-operator" in namespace "team-a" exists' in refused.stderr


def test_a_release_can_be_narrowed_to_namespaces_and_widened_again(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    upgrade = ["upgrade", "modelpool", str(CHART), "--namespace", "modelpool-system"]
    secrets = ["auth", "can-i", "get", "secrets", "--as=system:serviceaccount:modelpool-system:modelpool-operator"]
    plane.helm(*upgrade, "--set=watchNamespaces={team-a}").ok()
    assert _env(_deployment(plane))["MODELPOOL_WATCH_NAMESPACES"] == "team-a"
    _until(lambda: plane.kubectl(*secrets, "-n", "default").code == 1)
    _until(lambda: plane.kubectl(*secrets, "-n", "team-a").code == 0)
    plane.helm(*upgrade, "--reset-values").ok()
    assert "MODELPOOL_WATCH_NAMESPACES" not in _env(_deployment(plane))
    _until(lambda: plane.kubectl(*secrets, "-n", "default").code == 0)


def test_install_yaml_can_be_applied_again_and_again(plane: ControlPlane) -> None:
    apply = ["apply", "--server-side", "-f", str(INSTALL)]
    plane.kubectl(*apply).ok()
    before = _declare(plane)
    _until(lambda: len(_pods(plane)) == 2)
    versions = _versions(plane)
    plane.kubectl(*apply).ok()
    diff = plane.kubectl("diff", "--server-side", "-f", str(INSTALL))
    assert (diff.code, diff.stdout) == (0, "")
    assert _versions(plane) == versions
    assert _declared(plane) == before


def _versions(plane: ControlPlane) -> dict[str, Any]:
    """How often each object's wanted state has changed; where that is not counted, its resourceVersion."""
    found = plane.kubectl("get", "-f", str(INSTALL), "-o", "json").json["items"]
    assert len(found) == len(documents(INSTALL.read_text()))
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"].get(
            "generation", each["metadata"]["resourceVersion"]
        )
        for each in found
    }


def test_what_kubectl_installed_is_taken_over_by_helm_when_it_is_told_to(plane: ControlPlane) -> None:
    plane.kubectl("apply", "--server-side", "-f", str(INSTALL)).ok()
    before = _declare(plane)
    uid = _deployment(plane)["metadata"]["uid"]
    _install(
        plane, "modelpool", "modelpool-system", "--take-ownership", "--set=logLevel=debug", "--force-conflicts"
    ).ok()
    assert _env(_deployment(plane))["MODELPOOL_LOG_LEVEL"] == "debug"
    assert _deployment(plane)["metadata"]["uid"] == uid
    assert _declared(plane) == before


def test_helm_test_makes_its_account_asks_in_a_pod_and_takes_the_account_away(plane: ControlPlane) -> None:
    _install(plane, "modelpool", "modelpool-system").ok()
    # No node runs it here, so it ends with its time.
    done = plane.helm("test", "modelpool", "--namespace", "modelpool-system", "--timeout", "1s")
    assert done.code == 1
    assert "Pod/modelpool-system/modelpool-selftest not ready" in done.stderr
    pod = plane.kubectl("get", "pod", "modelpool-selftest", "-n", "modelpool-system", "-o", "json").json
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python3", "-m", "modelpool_operator.selftest"]
    assert [each["mountPath"] for each in container["volumeMounts"]] == [
        "/var/run/secrets/kubernetes.io/serviceaccount"
    ]
    left = plane.kubectl("get", "serviceaccounts,roles,rolebindings", "-n", "modelpool-system", "-o", "name").ok()
    assert "selftest" not in left.stdout
