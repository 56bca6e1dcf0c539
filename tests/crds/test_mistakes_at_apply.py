"""What `kubectl apply` says about every mistake of the table, held against real API servers, in both of its modes.

tests/operator/test_crds_refuse.py asks a model of the server the same; here that model is held against the truth.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane import ControlPlane
from crd_server import Refusal, refusals
from manifest_cases import API_VERSION, keyed, pool, provider, table
from modelpool_operator.crds import definition
from modelpool_operator.desired import desired
from modelpool_operator.resources import observe
from resource_strategies import pools, providers
from url_strategies import URLS

pytestmark = pytest.mark.xdist_group("crds")

CASES = dict(enumerate(table(Path(__file__).parents[1] / "operator" / "bad_manifests.yaml")))
MODES = {"plain": [], "server-side": ["--server-side"]}
calm = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
_NAMELESS = "resource name may not be empty"
_VALUE = r'(".*": |\S+: )?'
"""The value or its type, which servers put before a rule's message, each a little differently."""
_BEGINNINGS = (
    "Error from server",
    "error when retrieving",
    r"error validating \"",
    "resource mapping not found",
    r"unable to decode \"",
    _NAMELESS,
)


def _manifests(number: int) -> list[Any]:
    """The documents of a case, under a name by which the answer is known again."""
    case, name = CASES[number], f"case-{number:03}"
    if "provider" in case:
        return [provider(name, **case["provider"])]
    if "pool" in case:
        return [pool(name, **case["pool"])]
    renamed = []
    for manifest in case["manifests"]:
        metadata = manifest.get("metadata") if isinstance(manifest, dict) else None
        is_plain = metadata is not None and metadata.get("name") in ("a", "s")
        renamed.append({**manifest, "metadata": {**metadata, "name": name}} if is_plain else manifest)
    return renamed


def _marks(number: int) -> Iterator[str]:
    """What an answer about this case may hold to name it."""
    yield f"case-{number:03}"
    for manifest in _manifests(number):
        metadata = manifest.get("metadata", {}) if isinstance(manifest, dict) else {}
        yield from (f'"{each}"' for each in metadata.values() if isinstance(each, str) and each != "default")
        if "name" not in metadata:
            yield _NAMELESS


@cache
def _folder(parent: Path) -> Path:
    """All cases, each in a file of its own."""
    folder = parent / "cases"
    folder.mkdir()
    for number in CASES:
        text = yaml.safe_dump_all(_manifests(number), allow_unicode=True)
        (folder / f"case-{number:03}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=MODES)
def answers(
    request: pytest.FixtureRequest, applied_crds: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, str]:
    """What kubectl said about each case that was refused."""
    folder = _folder(tmp_path_factory.getbasetemp())
    ran = applied_crds.kubectl("apply", "--dry-run=server", *MODES[request.param], "-f", str(folder))
    said = re.split(rf"(?=(?:{'|'.join(_BEGINNINGS)}))", ran.stderr)
    by_case = {
        number: "".join(part for part in said if any(mark in part for mark in _marks(number))) for number in CASES
    }
    return {number: text for number, text in by_case.items() if text}


def _asked(*where: str) -> pytest.MarkDecorator:
    chosen = [number for number, case in CASES.items() if case["where"] in where]
    return pytest.mark.parametrize("number", chosen, ids=lambda number: f"{number}: {CASES[number]['says'][0][:60]}")


def _by_the_model(number: int) -> list[tuple[dict[str, Any], Refusal]]:
    kinds = {each.kind.__name__ for each in definition.DEFINITIONS}
    ours = [each for each in _manifests(number) if each["apiVersion"] == API_VERSION and each["kind"] in kinds]
    return [(manifest, refusal) for manifest in ours for refusal in refusals(manifest)]


@_asked("schema", "rule")
def test_what_the_crd_can_know_is_refused_with_the_field(answers: dict[int, str], number: int) -> None:
    assert any(_names(answers[number], *each) for each in _by_the_model(number)), answers[number]


@_asked("rule")
def test_a_rule_says_its_sentence(answers: dict[int, str], applied_crds: ControlPlane, number: int) -> None:
    for _, refusal in _by_the_model(number):
        place = re.escape(refusal.place)
        if applied_crds.api == "v1.29":  # where several rules hit one object, it lines their fields up: .error.tokens
            parent, _, last = place.rpartition(r"\.")
            place = rf"{parent}(\.\w+)*\.{last}"
        said = rf"{place}: Invalid value: {_VALUE}{re.escape(refusal.message)}"
        assert re.search(said, answers[number]), answers[number]


@_asked("server")
def test_what_is_wrong_for_every_kind_is_refused_by_the_server_itself(answers: dict[int, str], number: int) -> None:
    assert answers[number]


@_asked("operator", "disk")
def test_what_nobody_can_know_at_apply_is_taken(answers: dict[int, str], number: int) -> None:
    assert number not in answers


@_asked("operator")
def test_what_is_taken_is_judged_as_on_disk(applied_crds: ControlPlane, number: int) -> None:
    stored = [_send(applied_crds, manifest).ok() for manifest in _manifests(number)]
    assert [problem.message for problem in desired(observe(stored)).problems] == CASES[number]["says"]


def test_no_rule_repeats_what_may_be_a_secret(applied_crds: ControlPlane) -> None:
    key = "sk-Live_0123 456"
    for spec in (
        {"baseURL": f"https://{key}@api.example.com/v1"},
        {"auth": keyed(name=key)},
        {"auth": keyed(key=key)},
        {"auth": keyed(header=key)},
        {"auth": keyed(prefix=f"{key}\n")},
        {"headers": [{"name": key, "value": "a"}]},
        {"headers": [{"name": "x-a", "value": f"{key}\n"}]},
        {"responseHeaders": [{"name": key, "value": "a"}]},
        {"forwardHeaders": [key]},
    ):
        answer = _send(applied_crds, provider(**spec))
        assert answer.status == 422
        assert "must" in answer.json["message"]
        assert key not in str(answer.json)


@calm
@given(st.one_of(providers, pools))
def test_the_model_of_the_server_refuses_what_the_server_does(
    applied_crds: ControlPlane, manifest: dict[str, Any]
) -> None:
    _compare(applied_crds, manifest)


@calm
@given(URLS, st.booleans())
def test_the_model_of_the_server_judges_a_base_url_as_the_server_does(
    applied_crds: ControlPlane, url: str, has_key: bool
) -> None:
    _compare(applied_crds, provider(baseURL=url, **({"auth": keyed()} if has_key else {})))


def _compare(plane: ControlPlane, manifest: dict[str, Any]) -> None:
    answer = _send(plane, manifest)
    expected = {(refusal.place, refusal.message) for refusal in refusals(manifest) if refusal.by == "rule"}
    causes = [] if answer.status == 201 else answer.json["details"]["causes"]
    said = {(cause["field"], re.sub(rf"^Invalid value: {_VALUE}(?=must)", "", cause["message"])) for cause in causes}
    assert said == expected


def _send(plane: ControlPlane, manifest: dict[str, Any]) -> Any:
    metadata = manifest["metadata"]
    plural = f"{manifest['kind'].lower()}s"
    path = f"/apis/{API_VERSION}/namespaces/{metadata['namespace']}/{plural}?dryRun=All&fieldValidation=Strict"
    return plane.request("POST", path, manifest)


def _names(said: str, manifest: dict[str, Any], refusal: Refusal) -> bool:
    """Whether an answer names the place of a refusal, in the words of either mode."""
    applied, of_list = _applied(manifest, refusal.place)
    unknown = f'unknown field "{refusal.place}'
    ways = (f"{refusal.place}: ", f'{unknown}"', f"{unknown}.", f"{applied}: ", *of_list)
    return any(way in said for way in ways)


def _applied(manifest: dict[str, Any], place: str) -> tuple[str, list[str]]:
    """A place as server-side apply names it: elements of lists by their keys; and how it tells of a whole element."""
    value: Any = manifest
    named, of_list = "", []
    for part in re.findall(r"[^.\[\]]+", place):
        if isinstance(value, list):
            value = value[int(part)]
            by = "" if not isinstance(value, dict) else "when" if "when" in value else "name"
            key = value.get(by) if isinstance(value, dict) else value
            written = f"[{by}={json.dumps(key)}]"
            of_list = [f"{named}: duplicate entries for key {written}", f"{named}: element {part}: "]
            named += f"[{part}]" if key is None else written
        else:
            value = value.get(part) if isinstance(value, dict) else None
            of_list = of_list if value is None else []
            named += f".{part}"
    return named, of_list
