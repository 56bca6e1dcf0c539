"""What the chart renders from its values: what is refused, which images run, and that the API server takes all."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import generate
from chart_support import CHART, INSTALL, Manifest, documents, helm_path, identity, rendered
from controlplane import ControlPlane
from controlplane_running import running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("charts")]

EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "traffic",
    "image": {"registry": "registry.example.com/team/", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "serviceAccount": {"annotations": {"example.com/team": "platform"}},
    "replicas": 3,
    "podDisruptionBudget": {"maxUnavailable": "50%"},
    "logLevel": "warning",
    "telemetry": {"otlpEndpoint": "http://collector.telemetry:4318"},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"team": "monitoring"}}}]},
    "extraEnv": [
        {"name": "MODELPOOL_LISTEN", "value": "[::]:8080"},
        {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": {"secretKeyRef": {"name": "otlp", "key": "headers"}}},
    ],
    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.com/a": "1"},
    "podLabels": {"example.com/b": "2", "app.kubernetes.io/component": "mine"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]}]
            }
        }
    },
    "topologySpread": {"topologyKeys": ["kubernetes.io/hostname"], "whenUnsatisfiable": "DoNotSchedule"},
}
WRITTEN_BY_THE_OPERATOR = {"ConfigMap", "Secret", "Lease", "Event", "Provider", "ModelPool"}


@pytest.fixture(scope="module")
def own_controlplane() -> Iterator[ControlPlane]:
    """One with the release's namespace, guarded as install.yaml guards it, and one to watch."""
    for plane in running():
        plane.kubectl("apply", "-f", "-", input=json.dumps(generate.PLACE)).ok()
        plane.kubectl("create", "namespace", "team-a").ok()
        yield plane


@pytest.fixture
def everything(tmp_path: Path) -> str:
    """A file that sets every value that can be set."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(EVERYTHING))
    return str(path)


def _one(manifests: list[Manifest], kind: str, name: str = "modelpool-operator") -> Manifest:
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def _container(manifests: list[Manifest], name: str = "modelpool-operator") -> dict[str, Any]:
    (found,) = _one(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_install_yaml_is_what_the_chart_renders(own_controlplane: ControlPlane) -> None:
    how = f"bring it up to date: .venv/bin/python deploy/generate.py --helm {helm_path(own_controlplane)}"
    chart = rendered(own_controlplane, "--no-hooks", "--set=crds.keep=false")
    place, *file = documents(INSTALL.read_text())
    assert place == generate.PLACE
    assert sorted(map(identity, file)) == sorted(map(identity, chart)), how
    assert sorted(file, key=identity) == sorted(chart, key=identity), how
    assert INSTALL.read_text() == generate.files(helm_path(own_controlplane))[INSTALL], how


@pytest.mark.parametrize("options", [[], ["--set=watchNamespaces={team-a}", "--set=crds.enabled=false"]])
def test_lint_finds_nothing(options: list[str], everything: str, own_controlplane: ControlPlane) -> None:
    for values in ([], ["--values", everything]):
        done = own_controlplane.helm("lint", "--strict", "--quiet", str(CHART), *options, *values)
        assert (done.code, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("options", [[], ["--set=watchNamespaces={team-a}"]], ids=["cluster", "namespaces"])
def test_the_api_server_takes_what_is_rendered(
    options: list[str], everything: str, own_controlplane: ControlPlane
) -> None:
    for values in ([], ["--values", everything]):
        # The pod of `helm test` asks for its account, which a dry run does not make; it has a test of its own.
        manifests = [each for each in rendered(own_controlplane, *options, *values) if each["kind"] != "Pod"]
        text = yaml.safe_dump_all(manifests)
        apply = ["apply", "--server-side", "--dry-run=server", "-f", "-"]
        done = own_controlplane.kubectl(*apply, input=text).ok()
        assert done.stdout.count("serverside-applied") == len(manifests)
        assert "Warning" not in done.stderr


@pytest.mark.parametrize("options", [[], ["--set=watchNamespaces={team-a}"]], ids=["cluster", "namespaces"])
def test_nothing_is_rendered_that_the_operator_writes(
    options: list[str], everything: str, own_controlplane: ControlPlane
) -> None:
    manifests = rendered(own_controlplane, *options, "--values", everything)
    assert not {each["kind"] for each in manifests} & WRITTEN_BY_THE_OPERATOR
    assert not [each for each in manifests if "status" in each]


def test_every_value_shows_where_it_belongs(everything: str, own_controlplane: ControlPlane) -> None:
    monitor = ["--set=metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus"]
    manifests = rendered(own_controlplane, "--values", everything, *monitor)
    name = "traffic-operator"
    pod = _one(manifests, "Deployment", name)["spec"]["template"]
    container = _container(manifests, name)
    assert container["image"] == "registry.example.com/team/modelpool-operator:1.2.3"
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == EVERYTHING["resources"]
    assert container["env"] == [
        {"name": "MODELPOOL_INSTANCE", "value": "modelpool-system/modelpool"},
        {"name": "MODELPOOL_LOG_LEVEL", "value": "warning"},
        {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.telemetry:4318"},
        *EVERYTHING["extraEnv"],
    ]
    for key in ("imagePullSecrets", "priorityClassName", "nodeSelector", "tolerations", "affinity"):
        assert pod["spec"][key] == EVERYTHING[key], key
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
    assert spread["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == EVERYTHING["podAnnotations"]
    assert pod["metadata"]["labels"]["example.com/b"] == "2"
    assert _one(manifests, "Deployment", name)["spec"]["replicas"] == 3
    assert _one(manifests, "ServiceAccount", name)["metadata"]["annotations"] == {"example.com/team": "platform"}
    assert _one(manifests, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == "50%"
    (ingress,) = _one(manifests, "NetworkPolicy", name)["spec"]["ingress"]
    assert ingress["from"][0] == EVERYTHING["networkPolicy"]["from"][0]
    tested = _one(manifests, "Pod", "traffic-selftest")
    assert ingress["from"][1]["podSelector"]["matchLabels"].items() <= tested["metadata"]["labels"].items()
    assert tested["spec"]["containers"][0]["image"] == container["image"]
    watching = _one(manifests, "ServiceMonitor", name)
    assert watching["metadata"]["labels"]["release"] == "prometheus"
    assert watching["spec"]["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]


def test_what_selects_the_operators_pods_selects_them_and_not_the_pod_of_the_test(
    own_controlplane: ControlPlane,
) -> None:
    manifests = rendered(
        own_controlplane, "--set=networkPolicy.enabled=true", "--set=podLabels.app\\.kubernetes\\.io/component=mine"
    )
    deployment = _one(manifests, "Deployment")["spec"]
    selectors = [
        deployment["selector"]["matchLabels"],
        _one(manifests, "Service")["spec"]["selector"],
        _one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    tested = _one(manifests, "Pod", "modelpool-selftest")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
        assert not selector.items() <= tested.items()
        assert not [key for key in selector if key.endswith("version")], "a selector cannot change with an upgrade"


@pytest.mark.parametrize(
    ("options", "image"),
    [
        ([], "modelpool-operator:0.1.0"),
        (["image.registry=registry.example.com:5000/team"], "registry.example.com:5000/team/modelpool-operator:0.1.0"),
        (["image.tag=main"], "modelpool-operator:main"),
        (["image.tag=main", "image.operator.tag=fix"], "modelpool-operator:fix"),
        (["image.operator.repository=team/op", "image.registry=r.example.com"], "r.example.com/team/op:0.1.0"),
        (["image.tag=x", f"image.operator.digest=sha256:{'a' * 64}"], f"modelpool-operator@sha256:{'a' * 64}"),
    ],
)
def test_an_image_is_named_by_registry_repository_and_tag_or_digest(
    options: list[str], image: str, own_controlplane: ControlPlane
) -> None:
    sets = [f"--set={option}" for option in options]
    assert _container(rendered(own_controlplane, *sets))["image"] == image
    mirrored = [each.replace("operator", "sidecar").replace("/op", "/side") for each in sets]
    sidecar = image.replace("operator", "sidecar").replace("/op:", "/side:")
    assert f"modelpool inject --image {sidecar} -f deploy.yaml | kubectl" in _notes(own_controlplane, *mirrored)


def _notes(plane: ControlPlane, *options: str) -> str:
    install = ["install", "modelpool", str(CHART), "-n", "modelpool-system", "--dry-run=client"]
    return plane.helm(*install, *options).ok().stdout.partition("\nNOTES:\n")[2]


def test_the_notes_say_where_images_come_from_what_to_wait_for_and_how_to_ask(own_controlplane: ControlPlane) -> None:
    said = _notes(own_controlplane)
    assert "watches the whole cluster" in said
    assert "make images" in said
    assert "kind load docker-image" in said
    assert "--set image.registry=" in said
    assert "kubectl -n modelpool-system rollout status deployment/modelpool-operator" in said
    assert "kubectl -n default wait --for=condition=Ready modelpool/chat" in said
    narrow = _notes(own_controlplane, "--set=watchNamespaces={team-a,team-b}", "--set=image.registry=r.example.com")
    assert "watches team-a, team-b" in narrow
    assert "kubectl -n team-a apply" in narrow
    assert "make images" not in narrow, "whoever names a registry has pushed them"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--set=replicaCount=3", "additional properties 'replicaCount' not allowed"),
        ("--set=image.repo=x", "'/image': additional properties 'repo' not allowed"),
        ("--set=image.operator.registry=x", "'/image/operator': additional properties 'registry' not allowed"),
        ("--set=replicas=two", "'/replicas': got string, want integer"),
        ("--set=replicas=6", "'/replicas': maximum: got 6, want 5"),
        ("--set=logLevel=DEBUG", "'/logLevel': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("--set=watchNamespaces=team-a", "'/watchNamespaces': got string, want array"),
        ("--set=watchNamespaces={Team_A}", "'/watchNamespaces/0': 'Team_A' does not match pattern"),
        ("--set=watchNamespaces={a,a}", "'/watchNamespaces': items at 0 and 1 are equal"),
        ("--set=crds.keep=maybe", "'/crds/keep': got string, want boolean"),
        ("--set=image.operator.digest=latest", "'/image/operator/digest': 'latest' does not match pattern"),
        ("--set=image.registry=https://r.example.com", "'/image/registry': 'https://r.example.com' does not match"),
        ("--set=telemetry.otlpEndpoint=collector:4318", "'/telemetry/otlpEndpoint': 'collector:4318' does not match"),
        ("--set=podDisruptionBudget.maxUnavailable=0", "'/podDisruptionBudget/maxUnavailable': 'oneOf' failed"),
        ("--set=extraEnv[0].nmae=A", "'/extraEnv/0': additional properties 'nmae' not allowed"),
        (
            "--set=extraEnv[0].name=MODELPOOL_LOG_LEVEL",
            "extraEnv must not set MODELPOOL_LOG_LEVEL: it comes from logLevel",
        ),
        ("--kube-version=1.28.9", "which is incompatible with Kubernetes v1.28.9"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(option: str, said: str, own_controlplane: ControlPlane) -> None:
    done = own_controlplane.helm("template", "modelpool", str(CHART), option)
    assert done.code == 1
    assert said in done.stderr


@pytest.mark.parametrize("version", ["1.29.0", "1.29.7-gke.1008000", "1.36.0"])
def test_every_supported_kubernetes_is_taken(version: str, own_controlplane: ControlPlane) -> None:
    assert rendered(own_controlplane, f"--kube-version={version}")


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("modelpool", "modelpool-operator"),
        ("prod", "prod-modelpool-operator"),
        ("my-modelpool-eu", "my-modelpool-eu-operator"),
        (
            "a-release-name-that-is-as-long-as-helm-allows-one-to",
            "a-release-name-that-is-as-long-as-helm-allows-on-operator",
        ),
    ],
)
def test_names_come_from_the_release_and_what_is_owned_is_named_after_it_alone(
    release: str, name: str, own_controlplane: ControlPlane
) -> None:
    manifests = rendered(own_controlplane, release=release)
    (instance, *_others) = _container(manifests, name)["env"]
    assert instance == {"name": "MODELPOOL_INSTANCE", "value": f"modelpool-system/{release}"}
    renewing, creating = _one(manifests, "Role", f"{name}-leader")["rules"]
    assert (renewing["resourceNames"], "resourceNames" in creating) == ([f"{release}-operator"], False)


def test_a_release_name_that_the_operator_cannot_take_is_refused(own_controlplane: ControlPlane) -> None:
    done = own_controlplane.helm("template", "model.pool", str(CHART))
    assert done.code == 1
    assert 'the release\'s name "model.pool" must have no dots' in done.stderr


def test_the_chart_can_be_part_of_another_one(tmp_path: Path, own_controlplane: ControlPlane) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "modelpool")
    (parent / "Chart.yaml").write_text("{apiVersion: v2, name: platform, version: 1.0.0}")
    (parent / "values.yaml").write_text("{global: {team: platform}, modelpool: {replicas: 1}}")
    done = own_controlplane.helm("template", "platform", str(parent), "-n", "modelpool-system").ok()
    deployment = _one(documents(done.stdout), "Deployment", "platform-modelpool-operator")
    assert deployment["spec"]["replicas"] == 1


def _pods(plane: ControlPlane) -> dict[str, Manifest]:
    manifests = rendered(plane)
    template = copy.deepcopy(_one(manifests, "Deployment")["spec"]["template"])
    operator = {"apiVersion": "v1", "kind": "Pod", **template}
    operator["metadata"] |= {"name": "as-the-deployment-makes-it", "namespace": "modelpool-system"}
    return {"operator": operator, "selftest": _one(manifests, "Pod", "modelpool-selftest")}


@pytest.mark.parametrize("which", ["operator", "selftest"])
def test_a_pod_is_admitted_where_pod_security_is_restricted(which: str, own_controlplane: ControlPlane) -> None:
    pod = _pods(own_controlplane)[which]
    create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"]
    pod["spec"]["serviceAccountName"] = "default"
    own_controlplane.kubectl(*create, input=json.dumps(pod)).ok()
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["runAsUser"] == 65532
    for asked in ("allowPrivilegeEscalation", "capabilities", "runAsNonRoot", "seccompProfile"):
        without = copy.deepcopy(pod)
        del without["spec"]["containers"][0]["securityContext"][asked]
        done = own_controlplane.kubectl(*create, input=json.dumps(without))
        assert done.code == 1, asked
        assert 'violates PodSecurity "restricted:latest"' in done.stderr
