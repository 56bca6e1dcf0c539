"""What is said about a wrong manifest, word for word."""

from pathlib import Path
from typing import Any

import pytest

from manifest_cases import pool, provider, secret, table
from modelpool_operator.desired import desired
from modelpool_operator.problems import Problem
from modelpool_operator.resources import observe

CASES = table(Path(__file__).with_name("bad_manifests.yaml"))


def _problems(case: dict[str, Any]) -> list[Problem]:
    if "provider" in case:
        manifests = [provider(**case["provider"])]
    elif "pool" in case:
        manifests = [provider(), pool(**case["pool"])]
    else:
        manifests = case["manifests"]
    found = desired(observe([*manifests, secret(api_key="k")])).problems
    return [problem for problem in found if problem.condition == "Accepted"]


@pytest.mark.parametrize("case", CASES, ids=[case["says"][0][:70] for case in CASES])
def test_a_wrong_manifest_is_answered_with_exactly_this(case: dict[str, Any]) -> None:
    assert [problem.message for problem in _problems(case)] == case["says"]


@pytest.mark.parametrize("case", CASES, ids=[case["says"][0][:70] for case in CASES])
def test_every_sentence_begins_with_the_field_and_knows_its_manifest(case: dict[str, Any]) -> None:
    for problem in _problems(case):
        assert problem.message.startswith(problem.field)
        assert problem.document is not None


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(CASES) >= 60


def test_every_mistake_has_a_place_where_it_is_refused() -> None:
    assert {case["where"] for case in CASES} == {"schema", "rule", "server", "operator", "disk"}


def test_no_sentence_repeats_what_may_be_a_secret() -> None:
    said = " ".join(sentence for case in CASES for sentence in case["says"])
    for pasted in ("hunter2", "sk-proj", "sk-secret", "sk-Secret", "sk-plain", "sk-live-"):
        assert pasted in str(CASES)
        assert pasted not in said


def test_one_bad_object_never_stops_the_others() -> None:
    manifests = [
        pool(),
        *(provider(name=f"p{n}", **case["provider"]) for n, case in enumerate(CASES) if "provider" in case),
    ]
    result = desired(observe([*manifests, provider()]))
    assert [found.name for found in result.namespaces["default"].config.pools] == ["chat"]
