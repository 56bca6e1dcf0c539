"""The chart as files: every value is described, none is forgotten, and it has the version of what it installs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

import generate
from chart_support import CHART, INSTALL, documents
from controlplane import ControlPlane
from modelpool_sidecar.version import VERSION

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
OF_HELM = {"global"}
"""Helm hands these over by itself."""


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return {**SCHEMA["definitions"][reference.rpartition("/")[2]], **schema} if reference else schema


def _fields(schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every named value with its schema, also inside lists."""
    for name, child in schema.get("properties", {}).items():
        found = _resolved(child)
        yield f"{place}{name}", found
        yield from _fields(found, f"{place}{name}.")
        yield from _fields(found.get("items", {}), f"{place}{name}[].")


def _names(values: dict[str, Any], schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Every named value that has a default; what is a user's own map is one value."""
    for name, value in values.items():
        yield f"{place}{name}"
        known = _resolved(schema["properties"].get(name, {}))
        if isinstance(value, dict) and "properties" in known:
            yield from _names(value, known, f"{place}{name}.")


FIELDS = [*_fields(SCHEMA)]


def test_every_value_that_may_be_set_stands_in_the_values_file() -> None:
    known = {place for place, _schema in FIELDS if "[]" not in place} - OF_HELM
    assert {*_names(VALUES, SCHEMA)} == known


@pytest.mark.parametrize(("place", "schema"), FIELDS, ids=[place for place, _ in FIELDS])
def test_a_value_is_described_and_lets_no_typing_error_through(place: str, schema: dict[str, Any]) -> None:
    assert schema["description"][0].isupper() or schema["description"][0] == "`"
    assert schema["description"].endswith(".")
    if "properties" in schema:
        assert schema["additionalProperties"] is False


def test_the_chart_has_the_version_of_what_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    images = [line for line in INSTALL.read_text().splitlines() if " image: " in line]
    assert [line.strip() for line in images] == [f'image: "modelpool-operator:{VERSION}"']


def test_install_yaml_begins_with_its_namespace_and_says_nothing_of_helm() -> None:
    first, *others = documents(INSTALL.read_text())
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "modelpool-system")
    assert {each["metadata"].get("namespace", "modelpool-system") for each in others} == {"modelpool-system"}
    assert "helm" not in INSTALL.read_text().replace("charts/modelpool", "").lower()


def test_the_namespace_of_install_yaml_is_guarded_by_the_restricted_pod_security() -> None:
    labels = documents(INSTALL.read_text())[0]["metadata"]["labels"]
    assert labels == {"pod-security.kubernetes.io/enforce": "restricted"}


def test_the_oldest_supported_api_server_takes_install_yaml_too(applied_crds: ControlPlane) -> None:
    try:
        applied_crds.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(generate.PLACE)).ok()
        apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", str(INSTALL)]
        done = applied_crds.kubectl(*apply).ok()
        assert done.stdout.count("serverside-applied") == len(documents(INSTALL.read_text()))
    finally:
        applied_crds.kubectl("delete", "namespace", "modelpool-system", "--wait=false")
