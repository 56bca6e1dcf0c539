"""docs/operator.md names every variable and every metric of the operator, as the code has them."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import modelpool_operator
from modelpool_operator.settings import Settings
from modelpool_operator.telemetry import SERVICE, Telemetry
from resource_reference import PAGE as RESOURCES

PAGE = RESOURCES.with_name("operator.md").read_text(encoding="utf-8")
CODE = Path(modelpool_operator.__file__).parent
_VARIABLE = re.compile(r'"((?:MODELPOOL|OTEL)_[A-Z_]+|KUBECONFIG)"')


def cells(title: str) -> list[list[str]]:
    """The rows of the first table below a title."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def variables() -> dict[str, str]:
    """Each variable with what the page says its default is."""
    return {name: default for named, default, _ in cells("Settings") for name in re.findall(r"`([A-Z_]+)`", named)}


def test_every_variable_that_is_read_stands_on_the_page_and_no_other() -> None:
    read = {
        name
        for module in ("settings.py", "telemetry.py")
        for name in _VARIABLE.findall((CODE / module).read_text(encoding="utf-8"))
    }
    assert "MODELPOOL_INSTANCE" in read
    assert set(variables()) == read


@pytest.mark.parametrize("name", ["INSTANCE", "LOG_LEVEL", "LISTEN", "RESYNC_SECONDS"])
def test_the_default_on_the_page_is_the_one_in_force(name: str) -> None:
    told = variables()[f"MODELPOOL_{name}"].strip("`")
    me = {"MODELPOOL_IDENTITY": "me"}
    assert Settings.from_env({f"MODELPOOL_{name}": told, **me}) == Settings.from_env(me)


def test_the_name_of_the_service_on_the_page_is_the_one_in_traces() -> None:
    assert variables()["OTEL_SERVICE_NAME"] == f"`{SERVICE}`"


def test_every_metric_stands_on_the_page_with_its_type_and_labels() -> None:
    telemetry = Telemetry({})
    with telemetry.reconciling("shop"):
        pass
    telemetry.wrote("status")
    telemetry.conflict("shop", True)
    telemetry.config_bytes("shop", 1)
    telemetry.observe({"Provider": lambda: 1.0}, {"report": lambda: 0.0})
    real: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(telemetry.scrape().decode()):
        if family.name.startswith("process_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        real[name] = (family.type, labels)
    told = {
        named.strip("`"): (kind, set(re.findall(r"`(\w+)`", labels))) for named, kind, labels, _ in cells("Metrics")
    }
    assert told == real
