"""The CRDs on real API servers: they apply, explain themselves, take every example, and change nothing in it."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import ControlPlane
from manifest_cases import API_VERSION, pool, provider

pytestmark = pytest.mark.xdist_group("crds")

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "deploy" / "crds"
DEFINITIONS = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CRDS.iterdir())]
PLURALS = [each["spec"]["names"]["plural"] for each in DEFINITIONS]
WAYS = {"plain": [], "server-side": ["--server-side"]}


def _examples() -> dict[str, list[dict[str, Any]]]:
    """The objects of our kinds in every example, and in every page's YAML."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted([*(ROOT / "examples").rglob("*"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        if path.suffix not in (".yaml", ".md"):
            continue
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]
        for number, block in enumerate(blocks, 1):
            documents = [document for document in yaml.safe_load_all(block) if isinstance(document, dict)]
            if ours := [document for document in documents if document.get("apiVersion") == API_VERSION]:
                found[f"{path.relative_to(ROOT)}-{number}"] = ours
    return found


EXAMPLES = _examples()


def test_the_definitions_are_established(applied_crds: ControlPlane) -> None:
    stored = applied_crds.kubectl("get", "crd", "-o", "json").json["items"]
    assert {each["metadata"]["name"] for each in stored} == {f"{plural}.modelpool.dev" for plural in PLURALS}
    for each in stored:
        conditions = {condition["type"]: condition["status"] for condition in each["status"]["conditions"]}
        assert conditions["Established"] == "True"
        assert conditions.get("NonStructuralSchema", "False") == "False"


@pytest.mark.parametrize("way", WAYS)
def test_applied_again_the_definitions_are_what_they_were(applied_crds: ControlPlane, way: str) -> None:
    forced = ["--force-conflicts"] if way == "server-side" else []
    applied_crds.kubectl("apply", *WAYS[way], *forced, "-f", str(CRDS)).ok()
    assert applied_crds.kubectl("diff", *WAYS[way], *forced, "-f", str(CRDS)).ok().stdout == ""
    stored = applied_crds.kubectl("get", "crd", "-o", "json").json["items"]
    assert [each["metadata"]["generation"] for each in stored] == [1] * len(stored)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=PLURALS)
def test_every_field_explains_itself(applied_crds: ControlPlane, definition: dict[str, Any]) -> None:
    plural = definition["spec"]["names"]["plural"]
    parts = dict(_parts(plural, definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
    assert {path.split(".")[1] for path in parts if "." in path} == {"spec", "status"}
    applied_crds.until(lambda: applied_crds.kubectl("explain", plural).code == 0)
    with ThreadPoolExecutor(2) as asking:
        told = list(asking.map(lambda path: applied_crds.kubectl("explain", path).ok().stdout, parts))
    for (path, part), answer in zip(parts.items(), told, strict=True):
        about, _, fields = answer.partition("FIELDS:")
        assert _words(part["description"]) in _words(about), path
        explained = _fields(fields)
        assert explained.keys() >= part["properties"].keys()
        for name, child in part["properties"].items():
            if name not in ("apiVersion", "kind", "metadata"):
                assert child["description"]
                assert _words(child["description"]) in explained[name], f"{path}.{name}"


@pytest.mark.parametrize("way", WAYS)
def test_every_example_is_taken_and_stays_as_it_was_written(
    applied_crds: ControlPlane, tmp_path: Path, way: str
) -> None:
    written = [_moved(each, f"{way}-{number}") for number, group in enumerate(EXAMPLES.values()) for each in group]
    (tmp_path / "examples.yaml").write_text(yaml.safe_dump_all(written), encoding="utf-8")
    for namespace in sorted({each["metadata"]["namespace"] for each in written}):
        applied_crds.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).ok()
    applied_crds.kubectl("apply", *WAYS[way], "-f", str(tmp_path)).ok()
    assert applied_crds.kubectl("diff", *WAYS[way], "-f", str(tmp_path)).ok().stdout == ""
    stored = applied_crds.kubectl("get", "-f", str(tmp_path), "-o", "json").json["items"]
    assert [each["spec"] for each in stored] == [each["spec"] for each in written]
    applied_crds.kubectl("delete", "--wait=false", "-f", str(tmp_path)).ok()


def test_examples_come_from_every_place_that_has_some() -> None:
    assert {re.split("[/-]", name)[0] for name in EXAMPLES} >= {"README.md", "docs", "examples"}


def _moved(document: dict[str, Any], number: str) -> dict[str, Any]:
    """The same object in a namespace of this example's own: names come again in the next example."""
    namespace = f"{document['metadata'].get('namespace', 'default')}-{number}"
    return {**document, "metadata": {**document["metadata"], "namespace": namespace}}


def test_both_kinds_are_listed_together_and_under_short_names(applied_crds: ControlPlane) -> None:
    documents = yaml.safe_dump_all([provider("shown"), pool("shown")])
    applied_crds.kubectl("apply", "-f", "-", input=documents).ok()
    listed = applied_crds.kubectl("get", "llm", "-A", "-o", "name").ok().stdout.split()
    assert {"modelpool.modelpool.dev/shown", "provider.modelpool.dev/shown"} <= set(listed)
    for definition in DEFINITIONS:
        names = definition["spec"]["names"]
        for short in [*names["shortNames"], names["singular"], names["plural"]]:
            ran = applied_crds.kubectl("get", short, "shown", "-o", "name").ok()
            assert ran.stdout.strip() == f"{names['singular']}.modelpool.dev/shown"
    assert "modelpool.dev" not in applied_crds.kubectl("get", "all", "-A", "-o", "name").ok().stdout
    applied_crds.kubectl("delete", "-f", "-", input=documents).ok()


def test_the_columns_tell_what_the_status_says(applied_crds: ControlPlane) -> None:
    document = yaml.safe_dump(pool("told"))
    applied_crds.kubectl("apply", "-f", "-", input=document).ok()
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "ProviderNotFound",
        "message": "targets[0]: Provider openai is not there",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
        "observedGeneration": 1,
    }
    path = f"/apis/{API_VERSION}/namespaces/default/modelpools/told/status"
    body = {**pool("told"), "status": {"observedGeneration": 1, "conditions": [condition]}}
    query = "fieldManager=modelpool-status&force=true"
    applied_crds.request("PATCH", f"{path}?{query}", body, content_type="application/apply-patch+yaml").ok()
    told = applied_crds.kubectl("get", "mpool", "told", "-o", "wide").ok().stdout
    header, line = told.strip().splitlines()
    assert header.split()[:3] == ["NAME", "READY", "REASON"]
    assert line.split()[:3] == ["told", "False", "ProviderNotFound"]
    assert condition["message"] in line
    waited = applied_crds.kubectl("wait", "--for=condition=Ready=False", "mpool/told", "--timeout=5s")
    assert waited.code == 0
    applied_crds.kubectl("delete", "-f", "-", input=document).ok()


def _parts(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every place in a schema that has fields, as kubectl names it."""
    inner = schema.get("items", schema)
    if "properties" in inner:
        yield path, {**inner, "description": schema["description"]}
        for name, child in inner["properties"].items():
            if path.count(".") or name in ("spec", "status"):
                yield from _parts(f"{path}.{name}", child)


def _fields(text: str) -> dict[str, str]:
    """What kubectl says about each field of a place."""
    found = re.split(r"^  (\S+)\t", text, flags=re.MULTILINE)
    return {name: _words(about) for name, about in zip(found[1::2], found[2::2], strict=True)}


def _words(text: str) -> str:
    return " ".join(text.split())
