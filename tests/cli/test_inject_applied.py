"""What `modelpool inject` prints, on a real API server: it is applied as it is, admitted where it must be, stays."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli_process import modelpool
from controlplane import ControlPlane
from modelpool_operator.inject_workloads import PODS

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment.yaml"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
APP: Mapping[str, Any] = {"name": "app", "image": "app:1"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def a_manifest(group: str, kind: str) -> dict[str, Any]:
    """The smallest of its kind that an API server takes."""
    pod: dict[str, Any] = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [APP]}}
    found: dict[str, Any] = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "web"}}
    if kind == "Pod":
        return {**found, "spec": pod["spec"]}
    if kind in ("Job", "CronJob"):
        pod["spec"]["restartPolicy"] = "Never"
    if kind == "CronJob":
        return {**found, "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": pod}}}}
    selector = {"app": "web"} if kind == "ReplicationController" else {"matchLabels": {"app": "web"}}
    more = {} if kind == "Job" else {"selector": selector}
    more |= {"serviceName": "web"} if kind == "StatefulSet" else {}
    return {**found, "spec": {**more, "template": pod}}


def injected(tmp_path: Path, *objects: Mapping[str, Any], words: tuple[str, ...] = ()) -> str:
    path = tmp_path / "in.yaml"
    path.write_text("\n---\n".join(json.dumps(each) for each in objects))
    found = modelpool("inject", "-f", str(path), *words)
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout


def a_pod(**container: Any) -> dict[str, Any]:
    spec = {"containers": [{**APP, **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}


@pytest.mark.parametrize("way", ["--server-side", "--validate=strict"])
def test_every_kind_is_taken_without_a_complaint(
    controlplane: ControlPlane, namespace: str, tmp_path: Path, way: str
) -> None:
    text = injected(tmp_path, *(a_manifest(group, kind) for group, kind in PODS))
    found = controlplane.kubectl("apply", way, "--dry-run=server", "-n", namespace, "-f", "-", input=text).ok()
    assert found.stderr == ""
    assert len(found.stdout.splitlines()) == len(PODS)


def test_the_oldest_api_server_that_is_supported_takes_it_too(applied_crds: ControlPlane, tmp_path: Path) -> None:
    """Bare pods are left out: without controllers there is no ServiceAccount for them."""
    text = injected(tmp_path, *(a_manifest(group, kind) for group, kind in PODS if kind != "Pod"))
    found = applied_crds.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", input=text).ok()
    assert found.stderr == ""
    assert len(found.stdout.splitlines()) == len(PODS) - 1


def test_the_restricted_pod_security_admits_the_pod_and_the_sidecar_gets_no_token(
    controlplane: ControlPlane, tmp_path: Path
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = controlplane.namespace(labels=labels)
    text = injected(tmp_path, a_pod(securityContext=RESTRICTED))
    controlplane.kubectl("apply", "-n", namespace, "-f", "-", input=text).ok()
    spec = controlplane.kubectl("get", "pod", "web", "-n", namespace, "-o", "json").json["spec"]
    volumes = {
        container["name"]: {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}[TOKEN]
        for container in (*spec["initContainers"], *spec["containers"])
    }
    assert volumes["modelpool"] == "modelpool-no-token"
    assert volumes["app"].startswith("kube-api-access-")
    controlplane.kubectl("delete", "namespace", namespace, "--wait=false").ok()


def test_a_quota_that_demands_limits_is_met_by_options(
    controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    quota = ("quota", "q", "--hard=limits.cpu=2,limits.memory=2Gi,requests.cpu=2,requests.memory=2Gi")
    controlplane.kubectl("create", *quota, "-n", namespace).ok()
    pod = a_pod(resources={"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"cpu": "1", "memory": "8Mi"}})

    def applied(*words: str) -> tuple[int, str]:
        text = injected(tmp_path, pod, words=words)
        found = controlplane.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", "-", input=text)
        return found.code, found.stderr

    controlplane.until(lambda: applied("--cpu-limit", "500m")[0] == 0)
    code, complaint = applied()
    assert code == 1
    assert "must specify limits.cpu for: modelpool" in complaint


def test_what_the_server_has_is_injected_again_and_nothing_differs(
    controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    first = modelpool("inject", "-f", str(EXAMPLE)).stdout
    controlplane.kubectl("apply", "-n", namespace, "-f", "-", input=first).ok()
    live = tmp_path / "live.yaml"
    live.write_text(controlplane.kubectl("get", "deployment", "web", "-n", namespace, "-o", "yaml").ok().stdout)
    again = modelpool("inject", "-f", str(live))
    assert again.returncode == 0, again.stderr
    for text in (first, again.stdout):
        different = controlplane.kubectl("diff", "-n", namespace, "-f", "-", input=text)
        assert (different.code, different.stdout) == (0, "")
