"""`modelpool inject`: what it prints is what it read, plus the sidecar, and means the same to kubectl."""

import json
import shlex
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli_process import modelpool
from modelpool_cli import documents, yamltext
from modelpool_cli.__main__ import command
from modelpool_cli.documents import Document
from modelpool_sidecar.version import IMAGE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

DEPLOYMENT = """\
# Comments are lost.
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {build: "0123", on: "yes", when: 2026-01-01, exp: "1e3", octal: "0o17"}}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: true
      containers:
      - name: app
        args: ["y", "1_000", "~", ""]
        command:
        - sh
        - -c
        - |
          while true; do
            sleep 1
          done
"""
CRON_JOB = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {schedule: "0 3 * * *", jobTemplate: {spec: {template: {spec: {containers: [{name: app}]}}}}}
"""
LIST = """\
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}
- {apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {containers: [{name: app}]}}
- {apiVersion: v1, kind: PodList, items: [{apiVersion: v1, kind: Pod, metadata: {name: two}, spec: {containers: [{name: app}]}}]}
"""  # noqa: E501 - a List in a List, one object a line


def values(text: str) -> list[Any]:
    """As kubectl reads it."""
    found = documents.parse(text.encode())
    assert all(isinstance(each, Document) for each in found), found
    return [each.value for each in found if isinstance(each, Document)]


def inject(*words: str) -> int:
    return command(["inject", *words], {}, "modelpool")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def without_sidecar(template: dict[str, Any]) -> dict[str, Any]:
    """What injection added is taken out again."""
    spec = {name: value for name, value in template["spec"].items() if name not in ("initContainers", "volumes")}
    spec["containers"] = [{n: v for n, v in each.items() if n != "env"} for each in spec["containers"]]
    labels = {n: v for n, v in template["metadata"]["labels"].items() if n != "modelpool.dev/sidecar"}
    return {**template, "metadata": {**template["metadata"], "labels": labels}, "spec": spec}


def test_everything_else_stays_and_means_the_same_to_kubectl(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deploy.yaml").write_text(DEPLOYMENT)
    assert inject("-f", "deploy.yaml") == 0
    out, err = capsys.readouterr()
    service, deployment = values(out)
    was_service, was_deployment = values(DEPLOYMENT)
    assert service == was_service
    assert deployment["spec"]["template"]["spec"]["initContainers"][0]["image"] == IMAGE
    plain = {**deployment["spec"], "template": without_sidecar(deployment["spec"]["template"])}
    assert {**deployment, "spec": plain} == was_deployment
    assert list(deployment) == list(was_deployment)
    assert "        - |\n          while true; do\n" in out, "a script stays readable"
    assert err.startswith("deploy.yaml:7: Deployment web: warning: hostNetwork is on: ")
    assert len(err.splitlines()) == 1


def test_folders_and_several_files_come_out_in_their_order(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("app").mkdir()
    Path("app/b.yaml").write_text(CRON_JOB)
    Path("app/a.yml").write_text(LIST)
    Path("last.json").write_text(json.dumps(values(DEPLOYMENT)[0]))
    assert inject("-f", "app", "-f", "last.json") == 0
    found = values(capsys.readouterr().out)
    assert [each["kind"] for each in found] == ["List", "CronJob", "Service"]
    settings, one, two = found[0]["items"]
    assert settings == values(LIST)[0]["items"][0]
    pods = [one["spec"], two["items"][0]["spec"], found[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]]
    assert [pod["initContainers"][0]["name"] for pod in pods] == ["modelpool"] * 3


def test_json_is_one_object_as_it_is_or_a_list_of_all(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.yaml").write_text(CRON_JOB)
    Path("many.yaml").write_text(LIST + "---\n" + DEPLOYMENT)
    assert inject("-f", "one.yaml", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "CronJob"
    assert inject("-f", "many.yaml", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["apiVersion"], found["kind"]) == ("v1", "List")
    assert [each["metadata"]["name"] for each in found["items"]] == ["settings", "one", "two", "web", "web"]


def test_it_stands_in_a_pipe_between_what_writes_manifests_and_what_applies_them(here: Path) -> None:
    call = [sys.executable, "-m", "modelpool_cli", "inject", "-f", "-"]
    env = {"PYTHONPATH": ":".join(str(ROOT / part) for part in ("operator", "sidecar", "cli"))}
    once = subprocess.run(call, input=DEPLOYMENT, capture_output=True, text=True, check=True, env=env)
    twice = subprocess.run(call, input=once.stdout, capture_output=True, text=True, check=True, env=env)
    assert twice.stdout == once.stdout


def test_options_reach_the_sidecar(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(CRON_JOB)

    def sidecar(*words: str) -> dict[str, Any]:
        assert inject("-f", "a.yaml", *words) == 0
        (job,) = values(capsys.readouterr().out)
        return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"][0]

    assert sidecar("--registry", "ghcr.io/acme/")["image"] == f"ghcr.io/acme/{IMAGE}"
    assert sidecar("--image", "localhost:5000/mine@sha256:abc")["image"] == "localhost:5000/mine@sha256:abc"
    words = "--cpu 100m --cpu-limit 1 --memory 1Gi --memory-limit none"
    assert sidecar(*words.split())["resources"] == {
        "requests": {"cpu": "100m", "memory": "1Gi"},
        "limits": {"cpu": "1"},
    }
    env = sidecar("--log-level", "debug", "--env", "OTEL_A=b=c", "--env", "EMPTY=")["env"]
    assert {"name": "MODELPOOL_LOG_LEVEL", "value": "debug"} in env
    assert env[-2:] == [{"name": "OTEL_A", "value": "b=c"}, {"name": "EMPTY", "value": ""}]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--cpu lots", "argument --cpu: must be a quantity such as 50m, 0.5 or 64Mi, not 'lots'"),
        ("--cpu none", "argument --cpu: must be a quantity"),
        ("--memory-limit 0", "argument --memory-limit: must be a quantity"),
        ("--env A", "argument --env: must be NAME=VALUE, not 'A'"),
        ("--env 1A=b", "argument --env: must be NAME=VALUE"),
        ("--image 'a b'", "argument --image: must be an image or a registry such as ghcr.io/acme, not 'a b'"),
        ("--image a --registry b", "argument --registry: not allowed with argument --image"),
        ("--log-level loud", "argument --log-level: invalid choice: 'loud'"),
    ],
)
def test_a_wrong_option_is_told_by_its_name(words: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        inject("-f", "a.yaml", *shlex.split(words))
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_options_that_do_not_fit_each_other_are_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert inject("-f", "a.yaml", "--memory", "512Mi") == 2
    assert "the memory limit must not be below what is asked for, 512Mi, not 256Mi" in capsys.readouterr().err


def test_without_any_pod_it_says_so_and_prints_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text(DEPLOYMENT.partition("---")[0])
    assert inject("-f", "a.yaml") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("modelpool: there is no pod to inject; they stand in Pod, ")
    assert inject("-f", "nowhere.yaml") == 2
    assert capsys.readouterr().err == "modelpool: there is no file or folder nowhere.yaml\n"


def test_a_pod_that_says_false_passes_through_and_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_text = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: out, labels: {modelpool.dev/inject: 'false'}}\n"
    Path("a.yaml").write_text(CRON_JOB + out_text)
    assert inject("-f", "a.yaml") == 0
    out, err = capsys.readouterr()
    assert values(out)[1] == values(out_text)[0]
    assert err == 'a.yaml:6: Pod out: left out by its label modelpool.dev/inject: "false"\n'


def test_where_one_cannot_be_injected_nothing_is_printed_and_each_is_told_with_its_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = CRON_JOB.replace("name: app", "name: modelpool")
    Path("a.yaml").write_text(f"{CRON_JOB}---\n{wrong}---\n- a\n---\nb: [\n")
    assert inject("-f", "a.yaml") == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, *others, last = err.splitlines()
    where = "spec.jobTemplate.spec.template.spec.containers[0].name"
    assert first == f'a.yaml:6: CronJob nightly: {where} must not be "modelpool", the name of the sidecar; rename it'
    assert others == [
        "a.yaml:11: an object must be a map with apiVersion and kind",
        "a.yaml:13: a quote or bracket is not closed",
    ]
    assert last.startswith("modelpool: nothing is printed; mend that, or leave a pod out with the label ")


def test_no_manifest_can_steer_the_terminal_by_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text('{apiVersion: v1, kind: Pod, metadata: {name: "a\\e[2J"}, spec: {}}')
    assert inject("-f", "a.yaml") == 1
    assert "\x1b" not in capsys.readouterr().err


def test_the_help_says_what_goes_in_and_what_comes_out() -> None:
    told = modelpool("inject", "--help").stdout
    for words in ("kubectl apply -f -", "OPENAI_BASE_URL", 'modelpool.dev/inject: "false"', IMAGE, "comments are lost"):
        assert words in told


# -- the example


def test_the_sidecar_written_by_hand_is_exactly_what_inject_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert inject("-f", str(EXAMPLES / "deployment.yaml")) == 0
    out, err = capsys.readouterr()
    assert values(out) == values((EXAMPLES / "manual-sidecar.yaml").read_text())
    assert err == ""


# -- YAML

words = st.one_of(
    st.text(),
    st.text("0123456789_+-.eExXoObB:~", max_size=8),
    st.sampled_from(["y", "Yes", "off", "null", "", "~", "1_0", "0o7", ".inf", "2026-01-01", "<<", "=", "---", "- a"]),
    st.text(" \n\tab#:-", max_size=8),
)  # fmt: skip
scalars = st.one_of(
    words, st.integers(-(2**63), 2**64 - 1), st.booleans(), st.none(), st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(words, json_values, min_size=1, max_size=3))
@example({"a": " x\ny", "b": [" x\n"], "c": "x\n\n", "d": "\n", "e": "\u2028", "f": "\x85", "g": "\ufeff"})
@example({"y": "y", "": "", "<<": {"a": 1}, "1": "1", "1e3": 1e3, "a": 1e21})
def test_what_is_written_is_read_back_by_kubectl_as_what_it_was(value: dict[str, Any]) -> None:
    wanted = as_loaded(value)
    (found,) = values(yamltext.dump(wanted))
    assert found == wanted
    assert json.dumps(found) == json.dumps(wanted), "types or the order of fields differ"


def as_loaded(value: Any) -> Any:
    """As the loader hands values on: no half surrogates, and a whole float is an integer, as in JSON."""
    if isinstance(value, dict):
        return {name: as_loaded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_loaded(each) for each in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e21
    return int(Decimal(repr(value))) if whole else value


def test_the_same_value_in_two_places_is_written_twice() -> None:
    shared = {"a": 1}
    assert yamltext.dump({"b": shared, "c": shared}) == "b:\n  a: 1\nc:\n  a: 1\n"
