"""The CustomResourceDefinitions: the files are those of the models, and hold what the API server and people need."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, Field

import generate
from modelpool_operator.api.types import AnyList, AtMost, Spec, Text
from modelpool_operator.crds import definition
from modelpool_operator.crds.definition import DEFINITIONS, Definition
from modelpool_operator.crds.rules import Rule, literal, matches, member, present
from modelpool_operator.crds.schema import Tables, UntranslatableError, forgotten, structural

ROOT = Path(__file__).parents[2]
CRDS = {each.kind.__name__: definition.render(each) for each in DEFINITIONS}
NO_TABLES = Tables({}, {})

TAKEN = {
    "description",
    "type",
    "format",
    "enum",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "items",
    "properties",
    "required",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
}
"""The keywords of a structural schema that we use; none of pydantic's others."""


def _schema(kind: str) -> Any:
    return CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def _nodes(node: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield place, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(child, f"{place}.{name}")
    if "items" in node:
        yield from _nodes(node["items"], f"{place}[]")


NODES = [found for kind in CRDS for found in _nodes(_schema(kind), kind)]
RULES = [(place, rule) for place, node in NODES for rule in node.get("x-kubernetes-validations", [])]


def test_the_files_are_those_of_the_models() -> None:
    for path, content in generate.files().items():
        assert path.read_text(encoding="utf-8") == content, "bring it up to date: make generate"


def test_no_other_file_lies_among_them() -> None:
    folders = [ROOT / "deploy" / "crds", ROOT / "charts" / "modelpool" / "templates" / "crds"]
    lying = {path for folder in folders for path in folder.iterdir()}
    assert lying | {ROOT / "deploy" / "install.yaml"} == {*generate.files()}


def test_the_generator_says_which_command_brings_a_file_up_to_date(tmp_path: Path) -> None:
    crds = tmp_path / "deploy" / "crds"
    copy = tmp_path / "deploy" / "generate.py"
    copy.parent.mkdir()
    copy.write_text((ROOT / "deploy" / "generate.py").read_text())
    run = [sys.executable, str(copy)]
    environment = {"PYTHONPATH": str(ROOT / "operator") + ":" + str(ROOT / "sidecar")}
    missing = subprocess.run([*run, "--check"], env=environment, capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "bring it up to date: make generate" in missing.stdout
    subprocess.run(run, env=environment, check=True)
    (crds / "stray.yaml").write_text("old")
    stray = subprocess.run([*run, "--check"], env=environment, capture_output=True, text=True, check=False)
    assert (stray.returncode, stray.stdout.count("\n")) == (1, 1)
    assert "stray.yaml" in stray.stdout
    subprocess.run(run, env=environment, check=True)
    assert not (crds / "stray.yaml").exists()
    subprocess.run([*run, "--check"], env=environment, check=True)


@pytest.mark.parametrize("each", DEFINITIONS, ids=lambda each: each.plural)
def test_a_file_reads_back_as_what_was_meant(each: Definition) -> None:
    path = ROOT / "deploy" / "crds" / f"{each.plural}.modelpool.dev.yaml"
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == CRDS[each.kind.__name__]


def test_the_names_are_those_that_users_type() -> None:
    names = {kind: crd["spec"]["names"] for kind, crd in CRDS.items()}
    assert {kind: (n["plural"], n["singular"], n["shortNames"], n["categories"]) for kind, n in names.items()} == {
        "Provider": ("providers", "provider", ["mprov"], ["llm"]),
        "ModelPool": ("modelpools", "modelpool", ["mpool"], ["llm"]),
    }
    for crd in CRDS.values():
        assert (crd["spec"]["group"], crd["spec"]["scope"]) == ("modelpool.dev", "Namespaced")
        assert [version["name"] for version in crd["spec"]["versions"]] == ["v1alpha1"]
        assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}
        assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.modelpool.dev"


def test_one_line_tells_readiness_its_reason_and_age() -> None:
    for kind, own in (("Provider", "Dialect"), ("ModelPool", "Targets")):
        columns = CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]
        assert [c["name"] for c in columns if not c.get("priority")] == ["Ready", "Reason", own, "Age"]
        assert {"Accepted", "ResolvedRefs", "Programmed", "Message"} <= {
            c["name"] for c in columns if c.get("priority")
        }


def test_every_column_shows_a_field_that_is_there() -> None:
    for kind, crd in CRDS.items():
        for column in crd["spec"]["versions"][0]["additionalPrinterColumns"]:
            path = re.sub(r"\[\?\(.*?\)\]", "[]", column["jsonPath"])
            assert path == ".metadata.creationTimestamp" or f"{kind}{path}" in dict(NODES)


@pytest.mark.parametrize(("place", "node"), NODES, ids=[place for place, _ in NODES])
def test_every_node_is_what_a_structural_schema_takes(place: str, node: dict[str, Any]) -> None:
    assert node.keys() <= TAKEN
    if "x-kubernetes-int-or-string" in node:
        assert "type" not in node
        return
    assert node["type"] in ("object", "array", "string", "integer")
    assert set(node.get("required", [])) <= node.get("properties", {}).keys()
    assert ("properties" in node) == (node["type"] == "object")
    assert ("items" in node) == (node["type"] == "array")


@pytest.mark.parametrize(("place", "node"), NODES, ids=[place for place, _ in NODES])
def test_every_value_is_bounded(place: str, node: dict[str, Any]) -> None:
    if place.partition(".")[2] in ("apiVersion", "kind"):
        return
    if node.get("type") == "string":
        assert {"maxLength", "enum", "format"} & node.keys()
    if node.get("type") == "integer":
        assert {"format", "minimum", "maximum"} <= node.keys()
        assert node["format"] == ("int32" if node["maximum"] < 2**31 else "int64")
    if node.get("type") == "array":
        assert "maxItems" in node
    if "x-kubernetes-int-or-string" in node:
        assert {"minimum", "maximum", "pattern"} <= node.keys()


@pytest.mark.parametrize(("place", "node"), NODES, ids=[place for place, _ in NODES])
def test_every_field_is_described_with_its_default(place: str, node: dict[str, Any]) -> None:
    for name, child in node.get("properties", {}).items():
        if (place.count("."), name) == (0, "metadata"):
            continue
        assert child["description"].endswith(".")
        if ".spec" in place:
            assert ("Default: " in child["description"]) == (name not in node.get("required", []))
    if node.get("type") == "object" and not place.endswith(".metadata"):
        assert node["description"]


@pytest.mark.parametrize(("place", "node"), NODES, ids=[place for place, _ in NODES])
def test_no_default_reaches_stored_objects(place: str, node: dict[str, Any]) -> None:
    assert "default" not in node


@pytest.mark.parametrize(("place", "node"), NODES, ids=[place for place, _ in NODES])
def test_every_list_says_how_it_merges(place: str, node: dict[str, Any]) -> None:
    if node.get("type") != "array":
        return
    merges = node["x-kubernetes-list-type"]
    items = node["items"]
    if merges == "map":
        assert set(node["x-kubernetes-list-map-keys"]) <= set(items["required"])
    elif merges == "set":
        assert items.get("type") != "object"
    else:
        assert merges == "atomic"
        assert "name" not in items.get("properties", {})


def test_no_word_is_one_that_yaml_reads_as_a_boolean() -> None:
    words = {str(value).lower() for _place, node in NODES for value in node.get("enum", [])}
    words |= {name.lower() for _place, node in NODES for name in node.get("properties", {})}
    assert not words & {"on", "off", "yes", "no", "y", "n"}


@pytest.mark.parametrize(("place", "rule"), RULES, ids=[f"{place}-{n}" for n, (place, _) in enumerate(RULES)])
def test_every_rule_says_what_must_be(place: str, rule: dict[str, Any]) -> None:
    assert rule["message"].startswith("must ")
    assert "\n" not in rule["message"]
    assert len(rule["message"]) < 2048
    assert rule.keys() <= {"rule", "message", "messageExpression", "fieldPath"}


def test_every_field_that_a_rule_points_at_is_there() -> None:
    at = dict(NODES)
    pointing = [(place, rule["fieldPath"]) for place, rule in RULES if "fieldPath" in rule]
    assert len(pointing) > 20
    for place, path in pointing:
        assert f"{place}{path}" in at
        assert at[place]["type"] == "object"


def test_no_rule_stands_where_the_server_would_print_what_may_be_a_secret() -> None:
    quiet = {"baseURL", "secretRef.name", "secretRef.key", "prefix", "value"}
    for place, rule in RULES:
        assert not any(place.endswith(f".{name}") for name in quiet), (place, rule)
        if place.endswith((".header", "eaders[].name", "forwardHeaders[]")):
            assert rule["rule"].startswith("!self.matches('(?i)^("), "only a name that is known is refused here"


def test_a_name_has_at_most_63_characters() -> None:
    for kind in CRDS:
        assert _schema(kind)["properties"]["metadata"]["properties"]["name"]["maxLength"] == 63


def test_the_status_is_what_the_operator_writes() -> None:
    status = {kind: _schema(kind)["properties"]["status"]["properties"] for kind in CRDS}
    assert [*status["Provider"]] == ["observedGeneration", "conditions"]
    assert [*status["ModelPool"]] == ["observedGeneration", "conditions", "targets", "targetsResolved", "config"]
    for properties in status.values():
        assert properties["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
        assert {*properties["conditions"]["items"]["required"]} == {
            "type",
            "status",
            "lastTransitionTime",
            "reason",
            "message",
        }


class _Union(Spec):
    """One of two types."""

    either: int | str = Field(description="Either.")


class _Double(Spec):
    """A type that no field has."""

    price: float = Field(description="A price.")


class _Unknown(Spec):
    """A keyword that is not translated."""

    code: Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})] = Field(description="A code.")


class _Listed(Spec):
    """A list that no table has."""

    words: Annotated[tuple[Annotated[str, Text()], ...], AnyList(), AtMost(3)] = Field(description="Words.")


@pytest.mark.parametrize(
    ("model", "said"),
    [(_Union, "unions have a member for each"), (_Double, "type number"), (_Unknown, "contentEncoding")],
)
def test_what_no_structural_schema_can_say_is_an_error(model: type[BaseModel], said: str) -> None:
    with pytest.raises(UntranslatableError, match=said):
        structural(model, "spec", NO_TABLES)


def test_a_list_without_a_way_to_merge_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"spec\.words"):
        structural(_Listed, "spec", NO_TABLES)


def test_a_rule_for_a_place_that_is_not_there_is_an_error() -> None:
    tables = Tables({"spec.words": (), "spec.gone": (Rule("true", "must be"),)}, {"spec.words": {}, "spec.old": {}})
    assert forgotten({"spec": structural(_Listed, "spec", tables)}, tables) == ["spec.gone", "spec.old"]


def test_a_definition_with_a_rule_for_nothing_is_an_error() -> None:
    tables = Tables({**definition.PROVIDER.tables.rules, "spec.gone": ()}, definition.PROVIDER.tables.lists)
    with pytest.raises(UntranslatableError, match=r"not there: spec\.gone"):
        definition.render(replace(definition.PROVIDER, tables=tables))


def test_strings_and_names_are_escaped_as_cel_wants_them() -> None:
    assert literal("it's \\d") == "'it\\'s \\\\d'"
    assert matches("self", "^[\\u2000-\\u200a]$") == "self.matches('^[\\\\x{2000}-\\\\x{200a}]$')"
    assert present("auth.apiKey") == "has(self.auth) && has(self.auth.apiKey)"
    assert (member("for"), member("namespace"), member("name")) == ("__for__", "__namespace__", "name")
