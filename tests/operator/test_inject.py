"""The mutation: the sidecar goes in, what somebody wrote stays, and doing it twice is doing it once."""

import copy
from typing import Any

import pytest

from modelpool_operator.inject import inject, opted_out
from modelpool_operator.inject_checks import CannotInjectError
from modelpool_operator.inject_container import Options, OptionsError
from modelpool_operator.inject_quantities import QuantityError, amount
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry import settings as telemetry_settings

IMAGE = "registry.example/modelpool-sidecar:1"
OPTIONS = Options(IMAGE)
OURS = [{"name": "OPENAI_BASE_URL", "value": "http://127.0.0.1:4891/v1"}, {"name": "OPENAI_API_KEY", "value": "unused"}]


def a_pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "app", "image": "app:1"}], **spec}}


def injected(pod: dict[str, Any], options: Options = OPTIONS) -> dict[str, Any]:
    return inject(pod, options).pod


def sidecar_of(pod: dict[str, Any]) -> dict[str, Any]:
    sidecar = pod["spec"]["initContainers"][0]
    assert sidecar["name"] == "modelpool"
    return sidecar


def app_with(**fields: Any) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The app's variables, and the warnings."""
    found = inject(a_pod(containers=[{"name": "app", **fields}]), OPTIONS)
    return found.pod["spec"]["containers"][0].get("env"), found.warnings


# -- the sidecar


def test_the_sidecar_is_native_and_starts_before_every_other_container() -> None:
    pod = injected(a_pod(initContainers=[{"name": "migrate"}, {"name": "mesh", "restartPolicy": "Always"}]))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["modelpool", "migrate", "mesh"]
    assert sidecar_of(pod)["restartPolicy"] == "Always"
    assert sidecar_of(pod)["image"] == IMAGE
    assert "lifecycle" not in sidecar_of(pod)


def test_it_is_admitted_by_the_restricted_pod_security_whatever_the_pod_says() -> None:
    context = sidecar_of(injected(a_pod()))["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_config_and_keys_come_as_one_optional_volume_that_a_user_other_than_root_may_read() -> None:
    pod = injected(a_pod())
    volume = pod["spec"]["volumes"][0]
    assert volume == {
        "name": "modelpool",
        "projected": {
            "defaultMode": 0o444,
            "sources": [
                {"configMap": {"name": "modelpool-config", "optional": True}},
                {"secret": {"name": "modelpool-credentials", "optional": True}},
            ],
        },
    }
    mounts = sidecar_of(pod)["volumeMounts"]
    assert mounts[0] == {"name": "modelpool", "mountPath": str(Settings().config_dir), "readOnly": True}
    assert all("subPath" not in mount for mount in mounts)


def test_no_token_reaches_the_sidecar_and_the_apps_own_stays() -> None:
    token = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    pod = injected(a_pod(containers=[{"name": "app", "volumeMounts": [token]}], volumes=[{"name": token["name"]}]))
    assert {"name": "modelpool-no-token", "emptyDir": {}} in pod["spec"]["volumes"]
    assert sidecar_of(pod)["volumeMounts"][1]["name"] == "modelpool-no-token"
    assert sidecar_of(pod)["volumeMounts"][1]["mountPath"] == token["mountPath"]
    assert pod["spec"]["containers"][0]["volumeMounts"] == [token]
    assert pod["spec"]["volumes"][0] == {"name": token["name"]}


def test_start_and_life_ask_whether_it_listens_and_only_readiness_asks_for_a_config() -> None:
    sidecar = sidecar_of(injected(a_pod()))
    probes = {name: sidecar[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {Settings().admin_port}
    assert sidecar["ports"] == [{"name": "modelpool-admin", "containerPort": Settings().admin_port}]


def resolved(sidecar: dict[str, Any]) -> dict[str, str]:
    """Its variables as the kubelet sets them."""
    facts = {"status.podIP": "10.1.2.3", "metadata.namespace": "team", "metadata.name": "web-1", "spec.nodeName": "n1"}
    found: dict[str, str] = {}
    for each in sidecar["env"]:
        value = each["value"] if "value" in each else facts[each["valueFrom"]["fieldRef"]["fieldPath"]]
        for name, known in found.items():
            value = value.replace(f"$({name})", known)
        found[each["name"]] = value
    return found


def test_the_sidecar_understands_every_variable_it_is_given() -> None:
    env = resolved(sidecar_of(injected(a_pod(), Options(IMAGE, log_level="debug"))))
    settings = Settings.from_env(env)
    assert (settings.admin_host, settings.log_level) == ("10.1.2.3", "debug")
    assert (settings.port, settings.data_hosts, settings.local_hosts) == (
        4891,
        ("127.0.0.1", "::1"),
        settings.data_hosts,
    )
    traces = telemetry_settings.read({**env, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"})
    assert not traces.problems
    assert traces.traces is not None
    assert dict(traces.traces.resource) == {
        "service.name": traces.traces.resource["service.name"],
        "k8s.namespace.name": "team",
        "k8s.pod.name": "web-1",
        "k8s.node.name": "n1",
    }


def test_variables_of_the_sidecar_can_be_added_and_replaced() -> None:
    options = Options(
        IMAGE, env=(("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318"), ("MODELPOOL_LOG_LEVEL", "error"))
    )
    env = sidecar_of(injected(a_pod(), options))["env"]
    assert resolved({"env": env})["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://otel:4318"
    assert [each for each in env if each["name"] == "MODELPOOL_LOG_LEVEL"] == [
        {"name": "MODELPOOL_LOG_LEVEL", "value": "error"}
    ]


def test_resources_have_small_defaults_and_can_be_set_as_a_quota_demands() -> None:
    assert sidecar_of(injected(a_pod()))["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "256Mi"},
    }
    options = Options(IMAGE, cpu="100m", cpu_limit="1", memory="128Mi", memory_limit="1Gi")
    assert sidecar_of(injected(a_pod(), options))["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    assert "limits" not in sidecar_of(injected(a_pod(), Options(IMAGE, memory_limit=None)))["resources"]


def test_a_limit_below_the_request_is_refused_before_the_cluster_does() -> None:
    with pytest.raises(OptionsError, match=r"^the memory limit must not be below what is asked for, 1Gi, not 256Mi$"):
        Options(IMAGE, memory="1Gi")
    with pytest.raises(OptionsError, match=r"^the cpu limit"):
        Options(IMAGE, cpu_limit="10m")


@pytest.mark.parametrize(
    ("text", "cores_or_bytes"),
    [("50m", "0.05"), ("0.5", "0.5"), (".5", "0.5"), ("2", "2"), ("64Mi", str(64 * 2**20)), ("1e3", "1000"),
     ("1k", "1000"), ("5E-1", "0.5"), ("1E", "1000000000000000000"), ("1.Gi", str(2**30)), ("100u", "0.0001")],
)  # fmt: skip
def test_a_quantity_is_read_as_kubernetes_reads_it(text: str, cores_or_bytes: str) -> None:
    assert str(amount(text).normalize()) == str(type(amount(text))(cores_or_bytes).normalize())


@pytest.mark.parametrize("text", ["", "0", "-1", "1 Gi", "64mb", "1KiB", "m", "1e", "1e3Mi", "٣", "50m\n"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError, match=r"^must be a quantity such as 50m, 0\.5 or 64Mi, not "):
        amount(text)


# -- the pod


def test_the_pod_carries_the_label_by_which_the_operator_finds_it() -> None:
    assert injected(a_pod())["metadata"] == {"labels": {"modelpool.dev/sidecar": "true"}}
    pod = {"metadata": {"name": "web", "labels": {"app": "web"}}, **a_pod()}
    assert injected(pod)["metadata"] == {"name": "web", "labels": {"app": "web", "modelpool.dev/sidecar": "true"}}


def test_the_apps_clients_find_the_sidecar_in_containers_and_init_containers() -> None:
    pod = injected(a_pod(initContainers=[{"name": "warm", "env": [{"name": "A", "value": "1"}]}]))
    assert pod["spec"]["containers"][0]["env"] == OURS
    assert pod["spec"]["initContainers"][1]["env"] == [{"name": "A", "value": "1"}, *OURS]


def test_an_address_that_the_container_sets_itself_stays_and_is_told_and_gets_no_placeholder_key() -> None:
    own = [{"name": "OPENAI_BASE_URL", "value": "https://api.openai.com/v1"}]
    assert app_with(env=own) == (
        own,
        ("container app sets OPENAI_BASE_URL itself: what it sends there does not go through the sidecar",),
    )
    from_secret = [{"name": "OPENAI_BASE_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    assert app_with(env=from_secret)[0] == from_secret


def test_a_key_that_the_container_has_stays() -> None:
    own = {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "openai", "key": "key"}}}
    assert app_with(env=[own]) == ([own, OURS[0]], ())


def test_beside_env_from_no_key_is_set_for_it_would_hide_the_one_that_may_come() -> None:
    env, warnings = app_with(envFrom=[{"secretRef": {"name": "openai"}}])
    assert env == [OURS[0]]
    (warning,) = warnings
    assert warning.startswith(
        "container app has envFrom: an OPENAI_BASE_URL in it is overridden; OPENAI_API_KEY is left"
    )
    assert app_with(envFrom=[{"secretRef": {"name": "openai"}}], env=[OURS[1]]) == ([OURS[1], OURS[0]], ())


def test_the_order_of_fields_stays_and_what_is_new_stands_near_its_like() -> None:
    pod = {
        "metadata": {"labels": {}},
        "spec": {"serviceAccountName": "web", **a_pod()["spec"], "restartPolicy": "Never"},
    }
    assert list(injected(pod)) == ["metadata", "spec"]
    assert list(injected(a_pod())) == ["metadata", "spec"]
    assert list(injected(pod)["spec"]) == [
        "serviceAccountName",
        "initContainers",
        "volumes",
        "containers",
        "restartPolicy",
    ]


FULL = {
    "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
    "spec": {
        "hostNetwork": True,
        "initContainers": [{"name": "migrate", "env": [{"name": "OPENAI_BASE_URL", "value": "https://else"}]}],
        "containers": [
            {"name": "app", "ports": [{"containerPort": 8080}, {"containerPort": 4891, "protocol": "UDP"}]},
            {"name": "other", "envFrom": [{"configMapRef": {"name": "c"}}]},
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    },
}


@pytest.mark.parametrize("pod", [a_pod(), FULL], ids=["small", "full"])
def test_injecting_twice_is_injecting_once(pod: dict[str, Any]) -> None:
    before = copy.deepcopy(pod)
    once = inject(pod, OPTIONS)
    assert pod == before, "what was given is not touched"
    assert inject(once.pod, OPTIONS) == once


def test_a_newer_image_replaces_the_sidecar_wherever_it_stood_and_adds_no_second_one() -> None:
    once = injected(FULL)
    late = copy.deepcopy(once)
    late["spec"]["initContainers"].append(late["spec"]["initContainers"].pop(0))
    late["spec"]["initContainers"][-1]["terminationMessagePath"] = "/dev/termination-log"
    newer = Options("registry.example/modelpool-sidecar:2")
    assert injected(late, newer) == injected(FULL, newer)
    assert sidecar_of(injected(late, newer))["image"] == newer.image


def test_a_container_that_came_after_the_first_injection_is_pointed_here_too() -> None:
    once = injected(a_pod())
    once["spec"]["containers"].append({"name": "late"})
    assert [each["env"] for each in injected(once)["spec"]["containers"]] == [OURS, OURS]


@pytest.mark.parametrize(
    ("metadata", "out"),
    [
        ({"labels": {"modelpool.dev/inject": "false"}}, True),
        ({"labels": {"modelpool.dev/inject": "true"}}, False),
        ({"labels": None}, False),
        ({"labels": ["modelpool.dev/inject"]}, False),
        (None, False),
        ([], False),
    ],
)
def test_a_pod_that_says_false_wants_no_sidecar(metadata: object, out: bool) -> None:
    assert opted_out({"metadata": metadata}) is out


def test_the_refusal_is_a_sentence_about_the_field() -> None:
    with pytest.raises(CannotInjectError, match=r"^spec must be a map with containers$"):
        inject({}, OPTIONS)
