"""What is said about each object, and when its times move."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifest_cases import pool, provider, secret
from modelpool_config import models as contract
from modelpool_operator import conditions
from modelpool_operator.checks import callers
from modelpool_operator.conditions import Behind, Publication, Said
from modelpool_operator.forms import Form
from modelpool_operator.namespaces import Verdict
from modelpool_operator.problems import Problem
from modelpool_operator.resources import observe
from status_cases import NOW, POOL, PROVIDER, world

Raw = dict[str, Any]
DIGEST = "sha256:0"
_words = st.sampled_from(["", "a", "b"])
_problems = st.lists(
    st.builds(
        lambda reason, condition, message: Problem(*POOL, ("spec",), message, reason, condition),
        st.sampled_from(["InvalidSpec", "SecretNotFound", "CredentialPending"]),
        st.sampled_from(["Accepted", "ResolvedRefs"]),
        st.text(max_size=300),
    ),
    max_size=9,
).map(tuple)
_unresolved = st.lists(
    st.builds(
        lambda reason, message: contract.Unresolved(target="mini", reason=reason, message=message),
        st.sampled_from(["ProviderNotFound", "SecretNotFound", "CredentialPending", "InvalidSpec"]),
        st.text(max_size=300),
    ),
    max_size=1,
).map(tuple)
_verdicts = st.builds(Verdict, st.sampled_from(Form), _problems, _unresolved, st.booleans())
_blocked = st.one_of(
    st.none(), st.builds(Said, st.sampled_from(["False", "Unknown"]), st.just("NameConflict"), st.text(max_size=50))
)
_publications = st.builds(
    Publication,
    st.sampled_from([{}, {"chat": DIGEST}, {"chat": "sha256:1"}]),
    st.sampled_from([None, NOW]),
    _blocked,
    st.booleans(),
)
_FORM = observe([provider(), pool()])
_REACHED = world(provider(), pool()).compiled.reach.targets("chat")


def _pool_status(
    verdict: Verdict, publication: Publication, present: Raw, now: datetime, of_provider: Verdict
) -> dict[str, Any]:
    resource = None if verdict.form is Form.NONE else _FORM.pools["default", "chat"]
    behind = Behind(_REACHED, {"openai": of_provider})
    return conditions.pool_status(verdict, resource, behind, DIGEST, publication, present, 1, now)


def _provider_status(verdict: Verdict, publication: Publication, present: Raw, now: datetime) -> dict[str, Any]:
    resource = None if verdict.form is Form.NONE else _FORM.providers["default", "openai"]
    return conditions.provider_status(verdict, resource, publication, present, 1, now)


_histories = st.lists(st.tuples(_verdicts, _publications, _verdicts), min_size=1, max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_histories, st.booleans())
def test_a_time_moves_exactly_when_a_status_does_and_the_order_never(
    history: list[tuple[Verdict, Publication, Verdict]], is_pool: bool
) -> None:
    present: Raw = {}
    for hour, (verdict, publication, of_provider) in enumerate(history):
        now = NOW + timedelta(hours=hour)
        if is_pool:
            status = _pool_status(verdict, publication, present, now, of_provider)
        else:
            status = _provider_status(verdict, publication, present, now)
        assert tuple(each["type"] for each in status["conditions"]) == conditions.TYPES
        for each in status["conditions"]:
            before = conditions.find(present, each["type"])
            moved = before.get("status") != each["status"]
            expected = conditions.moment(now) if moved else before["lastTransitionTime"]
            assert each["lastTransitionTime"] == expected
            assert each["status"] in ("True", "False", "Unknown")
            assert each["reason"]
            assert len(each["message"]) < 32_768
        present = status


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_verdicts, _publications, _verdicts)
def test_what_was_said_is_said_again_in_the_same_words(
    verdict: Verdict, publication: Publication, of_provider: Verdict
) -> None:
    for render in (
        lambda present, now: _pool_status(verdict, publication, present, now, of_provider),
        lambda present, now: _provider_status(verdict, publication, present, now),
    ):
        first = render({}, NOW)
        assert render(first, NOW + timedelta(days=1)) == first


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_verdicts, _publications, _verdicts)
def test_ready_follows_from_the_others(verdict: Verdict, publication: Publication, of_provider: Verdict) -> None:
    status = _pool_status(verdict, publication, {}, NOW, of_provider)
    said = {each["type"]: each["status"] for each in status["conditions"]}
    able = not status["targetsResolved"].startswith("0/") if "targets" in status else False
    assert (said["Ready"] == "True") == (said["Accepted"] == said["Programmed"] == "True" and able)
    status = _provider_status(verdict, publication, {}, NOW)
    said = {each["type"]: each["status"] for each in status["conditions"]}
    assert (said["Ready"] == "True") == (said["Accepted"] == said["ResolvedRefs"] == "True")


def test_many_problems_are_told_in_part_and_counted() -> None:
    problems = tuple(Problem(*PROVIDER, ("spec",), f"fault {number}") for number in range(9))
    status = _provider_status(Verdict(Form.LAST_GOOD, problems), Publication({}), {}, NOW)
    message = conditions.find(status, "Accepted")["message"]
    assert message == ("fault 0; fault 1; fault 2; fault 3; fault 4; and 4 more; the last accepted form stays in force")


def test_a_problem_that_comes_twice_is_told_once() -> None:
    problems = (Problem(*PROVIDER, ("spec",), "a fault"),) * 3
    status = _provider_status(Verdict(Form.NONE, problems), Publication({}), {}, NOW)
    assert conditions.find(status, "Accepted")["message"] == "a fault"


def test_no_terminal_obeys_a_message() -> None:
    problems = (Problem(*PROVIDER, ("spec",), "red \x1b[31m\nalert"),)
    status = _provider_status(Verdict(Form.NONE, problems), Publication({}), {}, NOW)
    assert conditions.find(status, "Accepted")["message"] == r"red \x1b[31m\nalert"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"observedGeneration": 2}, True),
        ({"targetsResolved": "0/1"}, True),
        ({"targets": [{"name": "mini", "state": "Unresolved", "reason": "X"}]}, True),
        ({"targets": [{"state": "Resolved", "name": "mini"}]}, False),
        ({"config": {"digest": "sha256:other", "writtenTime": "2026-11-26T12:00:00Z"}}, True),
        ({"conditions": []}, True),
    ],
)
def test_words_are_all_but_the_times(change: Raw, differs: bool) -> None:
    status = world(provider(), pool()).status()
    assert (conditions.words({**status, **change}) != conditions.words(status)) is differs


def test_a_time_alone_is_no_other_word() -> None:
    made = world(provider(), pool())
    status = made.status()
    later = made.status(now=NOW + timedelta(days=3))
    assert later != status
    assert conditions.words(later) == conditions.words(status)


def test_the_order_of_conditions_is_a_difference_because_the_api_server_keeps_what_it_is_given() -> None:
    status = world(provider(), pool()).status()
    turned = {**status, "conditions": list(reversed(status["conditions"]))}
    assert conditions.words(turned) != conditions.words(status)


def test_an_empty_status_has_no_condition_and_words_that_differ_from_all() -> None:
    assert conditions.find({}, "Ready") == {}
    assert conditions.find({"conditions": None}, "Ready") == {}
    assert conditions.words({}) != conditions.words(world(provider(), pool()).status())


def test_a_moment_is_written_in_utc_by_the_second() -> None:
    assert conditions.moment(datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
    assert conditions.moment(datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-02T01:00:00Z"


def test_a_publication_without_a_time_says_nothing_about_the_config() -> None:
    ok = Verdict(Form.CURRENT)
    assert "config" not in _pool_status(ok, Publication({"chat": DIGEST}), {}, NOW, ok)


def test_several_drained_providers_are_all_named() -> None:
    targets = [{"name": "a", "providerRef": {"name": "openai"}}, {"name": "b", "providerRef": {"name": "other"}}]
    made = world(provider(traffic="Drained"), provider("other", traffic="Drained"), pool(targets=targets))
    assert made.said("Ready") == (
        "True",
        "Manual",
        "2 of 2 targets can be asked; traffic is Drained by hand at Provider openai, other",
    )


@pytest.mark.parametrize(
    ("secrets", "resolved", "ready"),
    [
        ([], ("False", "SecretNotFound"), ("False", "SecretNotFound")),
        ([secret("team-keys")], ("False", "InvalidCredential"), ("False", "InvalidCredential")),
        ([secret("team-keys", alice="short")], ("False", "InvalidCredential"), ("False", "InvalidCredential")),
        (
            [secret("team-keys", alice="short", bob="b" * 32)],
            ("False", "InvalidCredential"),
            ("True", "Degraded"),
        ),
        ([secret("team-keys", bob="b" * 32)], ("True", "ResolvedRefs"), ("True", "Ready")),
    ],
)
def test_a_pool_whose_callers_have_no_key_is_not_ready(
    secrets: list[Raw], resolved: tuple[str, str], ready: tuple[str, str]
) -> None:
    """One bad entry among good ones is Degraded, no key at all is not ready (B43)."""
    made = world(provider(), pool(callers={"keys": {"secretRef": {"name": "team-keys"}}}), *secrets)
    assert made.said("ResolvedRefs")[:2] == resolved
    assert made.said("Ready")[:2] == ready


def test_callers_whose_keys_cannot_be_read_yet_are_unknown() -> None:
    pending = Problem(*POOL, (*callers.PATH,), "wait", "CredentialPending", "ResolvedRefs")
    told = _pool_status(
        Verdict(Form.CURRENT, (pending,), keyless=True),
        Publication({"chat": DIGEST}, NOW),
        {},
        NOW,
        Verdict(Form.CURRENT),
    )
    assert [(each["status"], each["reason"]) for each in told["conditions"] if each["type"] == "Ready"] == [
        ("Unknown", "CredentialPending")
    ]
