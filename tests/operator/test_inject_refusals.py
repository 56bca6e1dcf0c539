"""Which pods cannot have the sidecar, and what is told about those that can; where pods stand in manifests."""

from typing import Any

import pytest

from modelpool_operator.inject import Injected, inject
from modelpool_operator.inject_checks import CannotInjectError
from modelpool_operator.inject_container import Options
from modelpool_operator.inject_workloads import PODS, OptedOut, inject_manifest

OPTIONS = Options("sidecar:1")
APP = {"name": "app"}
MOUNTED = [{"mountPath": "/etc/modelpool"}]


def refusal(pod: Any) -> str:
    with pytest.raises(CannotInjectError) as caught:
        inject(pod, OPTIONS)
    return str(caught.value)


OBSTACLES = {
    "spec asks for Windows: the sidecar's image is for Linux; leave such pods out": [
        {"os": {"name": "windows"}},
        {"nodeSelector": {"kubernetes.io/os": "windows"}},
    ],
    'spec.containers[0].name must not be "modelpool", the name of the sidecar; rename it': [
        {"containers": [{"name": "modelpool"}]},
        {"containers": [{"name": "modelpool", "restartPolicy": "Always", "volumeMounts": MOUNTED}]},
    ],
    'spec.initContainers[1].name must not be "modelpool", the name of the sidecar; rename it': [
        {"initContainers": [APP, {"name": "modelpool"}]},
        {"initContainers": [APP, {"name": "modelpool", "restartPolicy": "Always"}]},
        {"initContainers": [APP, {"name": "modelpool", "volumeMounts": MOUNTED}]},
    ],
    'spec.volumes[0].name must not be "modelpool", a volume of the sidecar; rename it': [
        {"volumes": [{"name": "modelpool", "emptyDir": {}}]},
        {"volumes": [{"name": "modelpool", "projected": {"sources": [{"configMap": {"name": "mine"}}]}}]},
        {"volumes": [{"name": "modelpool", "projected": {"sources": [{"secret": {}}, "modelpool-config"]}}]},
        {"volumes": [{"name": "modelpool", "projected": {"sources": None}}]},
        {"volumes": [{"name": "modelpool", "projected": None}]},
    ],
    'spec.volumes[0].name must not be "modelpool-no-token", a volume of the sidecar; rename it': [
        {"volumes": [{"name": "modelpool-no-token", "hostPath": {"path": "/"}}]},
    ],
    "spec.containers[0].ports[1].containerPort must not be one of 4891, 4892, 4893, on which the sidecar listens, not "
    "4892; let the container listen on another one": [
        {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 4892}]}]},
        {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 4892, "protocol": "TCP"}]}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("sentence", "spec"), [(s, spec) for s, specs in OBSTACLES.items() for spec in specs])
def test_where_it_cannot_work_the_sentence_names_the_field_and_what_to_do(sentence: str, spec: dict[str, Any]) -> None:
    assert refusal({"spec": {"containers": [APP], **spec}}) == sentence


SHAPES = {
    "spec must be a map with containers": [{}, {"spec": None}, {"spec": []}],
    "spec.containers must be a list with at least one container": [{"spec": {}}, {"spec": {"containers": []}}],
    "spec.containers must be a list": [{"spec": {"containers": APP}}],
    "spec.containers[1] must be a map": [{"spec": {"containers": [APP, "app"]}}],
    "spec.volumes must be a list": [{"spec": {"containers": [APP], "volumes": {"name": "a"}}}],
    "spec.containers[0].env must be a list": [{"spec": {"containers": [{"name": "app", "env": {"A": "1"}}]}}],
    "spec.initContainers[0].ports[0] must be a map": [
        {"spec": {"containers": [APP], "initContainers": [{"ports": [80]}]}}
    ],
    "metadata must be a map": [{"metadata": [], "spec": {"containers": [APP]}}],
    "metadata.labels must be a map": [{"metadata": {"labels": ["a"]}, "spec": {"containers": [APP]}}],
}  # fmt: skip


@pytest.mark.parametrize(("sentence", "pod"), [(s, pod) for s, pods in SHAPES.items() for pod in pods])
def test_what_is_no_pod_is_told_by_the_field_that_is_wrong(sentence: str, pod: Any) -> None:
    assert refusal(pod) == sentence


def test_what_works_otherwise_than_one_might_think_is_told_and_injected() -> None:
    found = inject({"spec": {"hostNetwork": True, "shareProcessNamespace": True, "containers": [APP]}}, OPTIONS)
    assert [warning.partition(" is on: ")[0] for warning in found.warnings] == ["hostNetwork", "shareProcessNamespace"]
    assert found.pod["spec"]["initContainers"][0]["name"] == "modelpool"


# -- manifests


def manifest(group: str, kind: str, pod: Any) -> dict[str, Any]:
    inner = pod
    for name in reversed(PODS[group, kind]):
        inner = {name: inner}
    return {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "web"}, **inner}


@pytest.mark.parametrize(("group", "kind"), PODS)
def test_every_kind_gets_the_sidecar_where_its_pod_stands(group: str, kind: str) -> None:
    pod = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [APP]}}
    found = inject_manifest(manifest(group, kind, pod), OPTIONS)
    assert isinstance(found, Injected)
    assert found.pod == manifest(group, kind, inject(pod, OPTIONS).pod)
    assert inject_manifest(found.pod, OPTIONS) == found


def test_the_kinds_are_those_that_the_help_names() -> None:
    assert {kind for _group, kind in PODS} == {
        *("Pod", "ReplicationController", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")
    }


@pytest.mark.parametrize(
    "other",
    [
        {"apiVersion": "v1", "kind": "Service", "spec": {"template": {"spec": {"containers": [APP]}}}},
        {"apiVersion": "example.com/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [APP]}}}},
        {"apiVersion": 1, "kind": "Pod", "spec": {"containers": [APP]}},
        {"kind": "Pod", "spec": {"containers": [APP]}},
        {},
    ],
)
def test_other_kinds_and_other_groups_have_no_pod(other: dict[str, Any]) -> None:
    assert inject_manifest(other, OPTIONS) is None


def test_a_pod_that_says_false_is_left_out_in_every_kind() -> None:
    pod = {"metadata": {"labels": {"modelpool.dev/inject": "false"}}, "spec": {}}
    assert [type(inject_manifest(manifest(*key, pod), OPTIONS)) for key in PODS] == [OptedOut] * len(PODS)


def test_the_field_is_named_from_the_root_of_the_manifest() -> None:
    wrong = {"spec": {"containers": []}}
    with pytest.raises(CannotInjectError, match=r"^spec\.jobTemplate\.spec\.template\.spec\.containers must be a list"):
        inject_manifest(manifest("batch", "CronJob", wrong), OPTIONS)
    with pytest.raises(CannotInjectError, match=r"^spec\.containers must be a list"):
        inject_manifest(manifest("", "Pod", wrong), OPTIONS)
    with pytest.raises(CannotInjectError, match=r"^spec\.jobTemplate\.spec must be a map$"):
        inject_manifest({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {}}}, OPTIONS)
