"""Names, statuses and attributes of spans, from records."""

from decimal import Decimal

import pytest

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery, Usage
from modelpool_sidecar.telemetry import clean, names, spans
from telemetry_records import attempt, record, refused

PEER = spans.Peer("POST", "https://api.openai.com/v1/chat/completions", "api.openai.com", 443)


@pytest.mark.parametrize(
    ("changes", "server", "chat"),
    [
        ({}, None, None),
        ({"status": 400, "outcome": Outcome.REJECTED}, None, "Rejected"),
        ({"status": 429, "outcome": Outcome.RATE_LIMITED, "refusal": "all_limited"}, None, "RateLimited"),
        ({"status": 500, "outcome": Outcome.FAILED}, "500", "Failed"),
        ({"status": 502, "outcome": Outcome.DENIED, "refusal": "upstream_auth_error"}, "upstream_auth_error", "Denied"),
        ({"status": 503, "outcome": Outcome.OK, "refusal": "overloaded"}, "overloaded", "overloaded"),
        ({"status": 200, "outcome": Outcome.BROKEN, "stream": True}, "Broken", "Broken"),
        ({"status": 200, "outcome": Outcome.STALLED, "stream": True}, "Stalled", "Stalled"),
        ({"status": 200, "outcome": Outcome.CONTENT_POLICY}, None, None),
        ({"status": 200, "outcome": Outcome.CANCELLED, "stream": True}, None, None),
        ({"status": 499, "outcome": Outcome.CANCELLED}, None, None),
        ({"status": 503, "outcome": None, "refusal": "all_cooling"}, "all_cooling", "all_cooling"),
        ({"status": 200, "outcome": None}, None, None),
    ],
)
def test_a_status_of_4xx_and_a_client_that_leaves_are_no_errors_of_the_server(changes, server, chat):
    assert spans.server_error(record(**changes)) == server
    assert spans.chat_error(record(**changes)) == chat
    assert spans.server_attributes(record(**changes), None).get(names.ERROR_TYPE) == server
    assert spans.chat_attributes(record(**changes), PEER).get(names.ERROR_TYPE) == chat


@pytest.mark.parametrize(
    ("outcome", "status", "error"),
    [
        (Outcome.OK, 200, None),
        (Outcome.CONTENT_POLICY, 200, None),
        (Outcome.CONTENT_POLICY, 400, "400"),
        (Outcome.REJECTED, 422, "422"),
        (Outcome.FAILED, 503, "503"),
        (Outcome.EMPTY, 200, "Empty"),
        (Outcome.UNREACHABLE, None, "Unreachable"),
        (Outcome.CANCELLED, None, None),
        (Outcome.CANCELLED, 200, None),
    ],
)
def test_an_attempts_error_is_its_status_or_its_outcome(outcome, status, error):
    assert spans.attempt_error(attempt(outcome=outcome, status=status)) == error


def test_every_outcome_makes_attributes():
    for outcome in Outcome:
        assert spans.attempt_attributes(attempt(outcome=outcome), PEER)[names.OUTCOME] == outcome.value


@pytest.mark.parametrize("outcome", [Outcome.BROKEN, Outcome.STALLED, Outcome.CANCELLED])
def test_a_stream_that_ends_in_the_middle_has_the_finish_reason_error(outcome):
    broken = record(stream=True, outcome=outcome, finish_reasons=(), first_token=0.2)
    assert spans.chat_attributes(broken, PEER)[names.GEN_AI_FINISH_REASONS] == ("error",)


@pytest.mark.parametrize(
    "changes",
    [{"first_token": None, "outcome": Outcome.FAILED}, {"first_token": 0.2}, {"first_token": None}],
)
def test_no_finish_reason_is_invented_for_what_did_not_break_in_the_middle(changes):
    assert names.GEN_AI_FINISH_REASONS not in spans.chat_attributes(record(finish_reasons=(), **changes), PEER)


def test_what_is_not_known_is_not_told():
    attributes = spans.chat_attributes(refused(usage=Usage()), PEER)
    assert not [name for name in attributes if name.startswith(("gen_ai.usage", "gen_ai.response"))]
    assert None not in attributes.values()
    bare = spans.server_attributes(refused(status=0, route="", config=""), None)
    assert bare == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "modelpool.pool": "unknown",
        "modelpool.attempts": 0,
        "modelpool.refusal": "model_not_found",
    }


def test_the_path_of_a_model_names_the_model():
    attributes = spans.server_attributes(
        record(method="GET", route="/v1/models/{id}", requested_model="team/gpt 4", operation="model"), "curl/8"
    )
    assert attributes["url.path"] == "/v1/models/team%2Fgpt%204"
    assert attributes["http.route"] == "/v1/models/{id}"
    assert attributes["user_agent.original"] == "curl/8"


def test_a_method_that_nobody_knows_is_other():
    assert spans.server_name("BREW", "/v1/models") == "HTTP /v1/models"
    assert spans.attempt_name("BREW") == "HTTP"
    assert spans.server_attributes(record(method="BREW"), None)[names.HTTP_METHOD] == "_OTHER"


def test_an_operation_that_is_none_of_ours_still_has_a_name():
    assert spans.chat_name("rerank", "m") == "rerank m"
    assert spans.chat_attributes(record(operation="rerank"), PEER)[names.GEN_AI_OPERATION] == "rerank"


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("chat", "chat m"),
        ("responses", "chat m"),
        ("text_completion", "text_completion m"),
        ("embeddings", "embeddings m"),
    ],
)
def test_the_logical_span_is_named_by_operation_and_model(operation, name):
    assert spans.chat_name(operation, "m") == name
    assert spans.chat_name(operation, None) == name.removesuffix(" m")


def test_the_second_attempt_says_that_it_is_one():
    first = spans.attempt_attributes(attempt(), PEER)
    assert "http.request.resend_count" not in first
    second = spans.attempt_attributes(attempt(2, same_target=True, probe=True), PEER)
    assert second["http.request.resend_count"] == 1
    assert second["modelpool.same_target"] is True
    assert second["modelpool.probe"] is True
    assert "modelpool.hedge" not in first


def test_of_two_at_once_each_attempt_says_which_it_was_and_the_call_who_won():
    lost = attempt(outcome=Outcome.CANCELLED, outrun=True, status=None)
    won = attempt(2, target="spare", hedge=True)
    assert spans.attempt_attributes(lost, PEER)["modelpool.outrun"] is True
    assert spans.attempt_error(lost) is None
    assert spans.attempt_attributes(won, PEER)["modelpool.hedge"] is True
    assert spans.chat_attributes(record(attempts=(lost, won)), PEER)["modelpool.hedge_result"] == "won"
    assert "modelpool.hedge_result" not in spans.chat_attributes(record(), PEER)


def test_a_recovery_is_told_by_the_attempt_and_by_the_call():
    again = attempt(2, recovery="Replay")
    assert spans.attempt_attributes(again, PEER)["modelpool.recovery"] == "Replay"
    assert "modelpool.recovery" not in spans.attempt_attributes(attempt(), PEER)
    told = record(attempts=(attempt(), again), recoveries=(Recovery("Replay", "Recovered"),))
    assert spans.chat_attributes(told, PEER)["modelpool.recoveries"] == ("Replay: Recovered",)


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("127.0.0.1", "openai"),
        ("vllm.default.svc", "openai"),
        ("me.openai.azure.com", "azure.ai.openai"),
        ("API.Groq.com.", "groq"),
        ("api.x.ai", "x_ai"),
        ("notx.ai", "openai"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
    ],
)
def test_the_provider_is_the_flavour_of_the_host(host, provider):
    assert names.flavour(host) == provider


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/v1/chat", "https://a.example/v1/chat"),
        ("https://user:pass@a.example:8443/v1", "https://a.example:8443/v1"),
        ("https://a.example/v1?api-version=2024&key=k&sk-1", "https://a.example/v1?api-version=2024&REDACTED&REDACTED"),
        ("https://a.example/v1#secret", "https://a.example/v1"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_key(url, shown):
    assert clean.url(url) == shown


def test_foreign_strings_are_cut_and_made_encodable():
    attributes = spans.chat_attributes(
        record(requested_model="\ud800" + "m" * 999, finish_reasons=("x" * 99,) * 99), PEER
    )
    assert attributes[names.GEN_AI_REQUEST_MODEL] == "?" + "m" * 255
    assert attributes[names.GEN_AI_FINISH_REASONS] == ("x" * 32,) * 16


@pytest.mark.parametrize("route", ["", "refused"])
def test_what_is_no_path_is_not_shown_as_one(route):
    assert spans.server_name("-", route) == "HTTP"
    attributes = spans.server_attributes(refused(method="-", route=route), None)
    assert not {"http.route", "url.path"} & set(attributes)


def test_the_cost_of_an_answer_stands_in_its_span_where_it_is_known() -> None:
    assert spans.chat_attributes(record(cost=Decimal("0.25")), PEER)[names.COST] == 0.25
    assert names.COST not in spans.chat_attributes(record(), PEER)
