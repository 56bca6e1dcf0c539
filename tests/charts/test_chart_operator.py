"""The operator with what the chart gives it, and nothing else: its variables, its account's token, its rights."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import chart_support
from chart_support import CHART, OWN, ROOT, selftest
from controlplane import ControlPlane
from controlplane_running import running
from operator_process import Kubelet, OperatorProcess, in_thread, until
from process_support import eventually, listening

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]

QUICKSTART = str(ROOT / "examples" / "quickstart")


@pytest.fixture
def own_controlplane() -> Iterator[ControlPlane]:
    """One for each test, with two namespaces to watch."""
    for plane in running():
        for name in (OWN, "shop", "mill"):
            plane.kubectl("create", "namespace", name).ok()
        yield plane


@pytest.fixture
def operators() -> Iterator[list[OperatorProcess]]:
    """Those that the test starts; ended after it."""
    made: list[OperatorProcess] = []
    yield made
    for each in made:
        each.stop()


def _install(plane: ControlPlane, *options: str) -> None:
    plane.helm("install", "modelpool", str(CHART), "--namespace", OWN, *options).ok()


def _start(plane: ControlPlane, own: str = OWN, name: str = "modelpool-operator") -> OperatorProcess:
    """One pod of the Deployment, as far as there can be one without a node."""
    deployment = plane.kubectl("get", "deployment", name, "-n", own, "-o", "json").json
    pod = deployment["spec"]["template"]["spec"]
    env = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    return OperatorProcess(plane.kubeconfig_for(own, pod["serviceAccountName"]), **env)


def _declare(plane: ControlPlane, namespace: str) -> None:
    """The quickstart. New definitions are served a moment after they are stored."""
    until(lambda: plane.kubectl("apply", "--server-side", "-n", namespace, "-f", QUICKSTART).code == 0)


def _port(operator: OperatorProcess) -> str:
    found = re.search(r"probes on port (\d+)", operator.log)
    assert found is not None
    return found[1]


def _ready(plane: ControlPlane, namespace: str) -> str:
    path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    return plane.kubectl("get", "modelpool/chat", "-n", namespace, "-o", path).ok().stdout


def test_both_replicas_are_ready_and_one_leads(
    own_controlplane: ControlPlane, operators: list[OperatorProcess], tmp_path: Path
) -> None:
    plane = own_controlplane
    _install(plane)
    operators += [_start(plane), _start(plane)]
    until(lambda: all(each.get("/readyz")[0] == 200 for each in operators) and any(each.leads for each in operators))
    assert sorted(each.leads for each in operators) == [False, True]
    for each in operators:
        (tmp_path / _port(each)).mkdir()
        assert each.get("/livez")[0] == 200
    _declare(plane, "shop")
    until(lambda: _ready(plane, "shop") == "True")

    hooks = chart_support.rendered(plane, "--show-only=templates/tests/selftest.yaml")
    chart_support.apply(plane, [each for each in hooks if each["kind"] != "Pod"])
    for each in operators:
        done = selftest(plane, f"http://127.0.0.1:{_port(each)}", tmp_path / _port(each))
        assert (done.returncode, done.stdout.count("ok    ")) == (0, 4), done.stdout
    assert not [line for each in operators for line in each.lines if "forbidden" in line.lower()]


def test_with_roles_alone_the_operator_serves_the_namespaces_that_it_watches_and_no_other(
    own_controlplane: ControlPlane, operators: list[OperatorProcess]
) -> None:
    plane = own_controlplane
    _install(plane, "--set=watchNamespaces={shop}")
    for namespace in ("mill", "shop"):
        _declare(plane, namespace)
    operators.append(_start(plane))
    operators[0].until_leading()
    until(lambda: _ready(plane, "shop") == "True")
    names = ["configmap/modelpool-config", "secret/modelpool-credentials"]
    assert plane.kubectl("get", *names, "-n", "shop").code == 0
    assert plane.kubectl("get", *names, "-n", "mill").code == 1
    assert _ready(plane, "mill") == ""
    assert not [line for line in operators[0].lines if "forbidden" in line.lower()]


async def test_a_sidecar_serves_on_when_everything_is_uninstalled(
    own_controlplane: ControlPlane, operators: list[OperatorProcess], tmp_path: Path
) -> None:
    plane = own_controlplane
    await in_thread(_install, plane)
    operators.append(await in_thread(_start, plane))
    await in_thread(_declare, plane, "shop")
    await in_thread(until, lambda: _ready(plane, "shop") == "True")
    with Kubelet(plane, "shop", tmp_path / "volume") as kubelet:
        async with listening(kubelet.volume.root) as sidecar:
            await eventually(sidecar.is_ready)
            assert (await sidecar.ask()).status == 200
            before = kubelet.swaps
            await in_thread(operators[0].stop)
            (await in_thread(plane.helm, "uninstall", "modelpool", "-n", OWN)).ok()
            for _ in range(20):
                assert (await sidecar.ask()).status == 200
            assert kubelet.swaps == before
    assert _ready(plane, "shop") == "True", "the objects and their definitions are kept"


def test_of_two_releases_that_overlap_the_second_writes_nothing_and_says_so(
    own_controlplane: ControlPlane, operators: list[OperatorProcess]
) -> None:
    plane = own_controlplane
    _install(plane)
    _declare(plane, "shop")
    operators.append(_start(plane))
    until(lambda: _ready(plane, "shop") == "True")
    before = plane.kubectl("get", "configmap/modelpool-config", "-n", "shop", "-o", "json").json
    second = ["--set=crds.enabled=false", "--set=watchNamespaces={shop,mill}"]
    plane.helm("install", "second", str(CHART), "--namespace", "second", "--create-namespace", *second).ok()
    _declare(plane, "mill")
    until(lambda: _ready(plane, "mill") == "True")
    operators.append(_start(plane, "second", "second-modelpool-operator"))
    operators[1].until_leading()
    said = "namespace {}: is served by another instance, modelpool-system/modelpool: nothing is written there"
    until(lambda: all(said.format(namespace) in operators[1].log for namespace in ("shop", "mill")))
    for namespace in ("shop", "mill"):
        assert operators[1].metric(f'modelpool_operator_name_conflict{{namespace="{namespace}"}}') == 1.0
    assert plane.kubectl("get", "configmap/modelpool-config", "-n", "shop", "-o", "json").json == before
    assert _ready(plane, "shop") == "True"
