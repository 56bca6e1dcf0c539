"""What an answer's status and error body come to, and that the table of outcomes is complete (B17)."""

import typing

import pytest

from modelpool_config.models import OutcomeName
from modelpool_sidecar.core.outcome import (
    BY_DEFAULT,
    CONFIGURABLE,
    RULES,
    Again,
    Blame,
    Outcome,
    ProviderError,
    classify,
)


def test_every_outcome_has_its_rule() -> None:
    assert set(RULES) == set(Outcome)


def test_what_a_pool_may_name_is_what_the_contract_and_the_table_let_go_on() -> None:
    assert set(CONFIGURABLE) == set(typing.get_args(OutcomeName))


def test_by_default_all_goes_on_but_the_content_policy() -> None:
    assert set(CONFIGURABLE) - set(BY_DEFAULT) == {Outcome.CONTENT_POLICY}


def test_what_ends_at_the_client_never_goes_on_repeats_or_blames() -> None:
    for outcome in (Outcome.REJECTED, Outcome.CONTEXT_LENGTH, Outcome.CANCELLED):
        assert RULES[outcome].again is Again.NO
        assert not RULES[outcome].elsewhere
        assert RULES[outcome].blame is Blame.NONE


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, {}, Outcome.OK),
        (204, {}, Outcome.OK),
        (302, {}, Outcome.UNSUPPORTED),
        (400, {}, Outcome.REJECTED),
        (400, {"code": "context_length_exceeded"}, Outcome.CONTEXT_LENGTH),
        (422, {"code": "context_length_exceeded"}, Outcome.CONTEXT_LENGTH),
        (400, {"code": "content_policy_violation"}, Outcome.CONTENT_POLICY),
        (400, {"code": "content_filter"}, Outcome.CONTENT_POLICY),
        (400, {"type": "insufficient_quota"}, Outcome.QUOTA_EXHAUSTED),
        (401, {}, Outcome.DENIED),
        (401, {"code": "invalid_api_key"}, Outcome.DENIED),
        (402, {}, Outcome.QUOTA_EXHAUSTED),
        (403, {}, Outcome.DENIED),
        (403, {"code": "insufficient_quota"}, Outcome.QUOTA_EXHAUSTED),
        (404, {}, Outcome.UNSUPPORTED),
        (404, {"code": "model_not_found"}, Outcome.DENIED),
        (404, {"code": "DeploymentNotFound"}, Outcome.DENIED),
        (405, {}, Outcome.UNSUPPORTED),
        (408, {}, Outcome.TIMED_OUT),
        (409, {}, Outcome.FAILED),
        (413, {}, Outcome.REJECTED),
        (413, {"code": "rate_limit_exceeded"}, Outcome.RATE_LIMITED),
        (415, {}, Outcome.UNSUPPORTED),
        (418, {}, Outcome.REJECTED),
        (422, {}, Outcome.REJECTED),
        (424, {}, Outcome.FAILED),
        (425, {}, Outcome.FAILED),
        (429, {}, Outcome.RATE_LIMITED),
        (429, {"code": "rate_limit_exceeded"}, Outcome.RATE_LIMITED),
        (429, {"type": "insufficient_quota", "code": "insufficient_quota"}, Outcome.QUOTA_EXHAUSTED),
        (429, {"code": "credit_balance_exhausted"}, Outcome.QUOTA_EXHAUSTED),
        (498, {}, Outcome.FAILED),
        (499, {}, Outcome.FAILED),
        (500, {}, Outcome.FAILED),
        (500, {"code": "context_length_exceeded"}, Outcome.CONTEXT_LENGTH),
        (501, {}, Outcome.UNSUPPORTED),
        (502, {}, Outcome.FAILED),
        (503, {"code": "server_is_overloaded"}, Outcome.FAILED),
        (504, {}, Outcome.FAILED),
        (524, {}, Outcome.TIMED_OUT),
        (529, {}, Outcome.FAILED),
        (599, {}, Outcome.FAILED),
    ],
)
def test_an_answer_is_what_its_status_and_code_say(status: int, error: dict[str, str], outcome: Outcome) -> None:
    assert classify(status, ProviderError(**error)) is outcome


def test_a_model_name_that_the_client_chose_is_the_clients_mistake() -> None:
    error = ProviderError(code="model_not_found")
    assert classify(404, error, model_is_ours=False) is Outcome.REJECTED
