"""What is read of a good request, and that nothing else is."""

import json

import pytest

from modelpool_sidecar.core import operations, request
from modelpool_sidecar.core.request import Request
from wire_cases import HOST, post


def test_a_chat_request_tells_its_model_and_where_it_stands() -> None:
    asked = post(b'{"messages":[],"model": "chat","stream":true}')
    assert (asked.operation.name, asked.model, asked.stream, asked.include_usage) == ("chat", "chat", True, False)
    assert asked.model_span is not None
    assert asked.body[slice(*asked.model_span)] == b'"chat"'
    assert repr(asked) == "<Request chat model='chat' stream=True 45 bytes>"


@pytest.mark.parametrize(
    ("body", "literal"),
    [
        (b'{"tools":[{"model":"no"}],"model":"yes"}', b'"yes"'),
        (b'{"x":"model","model":"yes"}', b'"yes"'),
        (b'{"x":"say \\"model","model":"yes"}', b'"yes"'),
        (b'{"x":"\\u006d","model":"yes"}', b'"yes"'),
        (b'{"mod\\u0065l":"y\\u0065s"}', b'"y\\u0065s"'),
        (b'{"x":{"model":{"model":"]}"}},"model" : "yes" ,"stream":false}', b'"yes"'),
        (b' \r\n{"model":"yes","x":1e999,"y":"\\ud800"}', b'"yes"'),
        ('{"model":"yes","é":"\\u00e9"}'.encode(), b'"yes"'),
    ],
)
def test_the_top_level_model_is_found_among_its_namesakes(body: bytes, literal: bytes) -> None:
    asked = post(body)
    assert asked.model == "yes"
    assert asked.model_span is not None
    assert body[slice(*asked.model_span)] == literal


@pytest.mark.parametrize(
    ("stream", "said"), [("true", True), ("false", False), ("null", False)]
)  # null is in the API's own schema
def test_stream_is_read_as_the_api_defines_it(stream: str, said: bool) -> None:
    assert post(f'{{"model":"chat","stream":{stream}}}'.encode()).stream is said


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": None}, 1),
        ({"n": 0}, 1),
        ({"n": True}, 1),
        ({"n": "3"}, 1),
        ({"n": 1000}, 1),
        ({"prompt": "one"}, 1),
        ({"prompt": []}, 1),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": ["one", "two"], "n": 2}, 4),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": ["x"] * 100, "n": 100}, 128),
    ],
)
def test_how_many_answers_are_asked_for_is_known(fields: dict[str, object], choices: int) -> None:
    assert post({"model": "chat", **fields}, path="/v1/completions").choices == choices


def test_embeddings_never_stream() -> None:
    assert post({"model": "e", "stream": True}, path="/v1/embeddings").stream is False


@pytest.mark.parametrize(
    ("options", "asked"),
    [({"include_usage": True}, True), ({"include_usage": False}, False), ({"include_usage": 1}, False), ([], False)],
)
def test_include_usage_is_true_only_where_it_says_true(options: object, asked: bool) -> None:
    assert post({"model": "chat", "stream_options": options}).include_usage is asked


def test_the_header_names_the_model_in_place_of_the_body() -> None:
    asked = post({"model": "chat"}, ("x-modelpool-model", "other"))
    assert asked.model == "other"
    assert asked.model_span == (10, 16)


def test_the_header_names_the_model_where_the_body_has_none() -> None:
    asked = post({"input": "x"}, ("x-modelpool-model", "other"), path="/v1/responses")
    assert (asked.model, asked.model_span) == ("other", None)


@pytest.mark.parametrize(
    ("value", "count"), [("2", 2), ("", 0), ("-1", 0), ("x", 0), ("1e3", 0), ("٣", 0), ("9" * 9, 0)]
)
def test_a_retry_count_is_a_small_number_or_none(value: str, count: int) -> None:
    assert post({"model": "chat"}, ("x-stainless-retry-count", value)).client_retry == count


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("600", 600.0), ("0.5", 0.5), ("", None), ("0", None), ("-1", None), ("nan", None), ("inf", None)],
)
def test_a_read_timeout_is_positive_and_finite_or_none(value: str, seconds: float | None) -> None:
    assert post({"model": "chat"}, ("x-stainless-read-timeout", value)).read_timeout == seconds


def test_a_target_may_be_pinned() -> None:
    assert post({"model": "chat"}, ("x-modelpool-target", "mini")).pinned == "mini"
    assert post({"model": "chat"}, ("x-modelpool-target", "")).pinned is None
    assert post({"model": "chat"}).pinned is None


def test_the_query_is_kept_raw() -> None:
    assert post({"model": "chat"}, path="/v1/completions?a=%20b&c").query == "a=%20b&c"


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", ""])
def test_json_is_taken_as_it_is_usually_declared(content_type: str) -> None:
    headers = (HOST, ("content-type", content_type), ("content-encoding", "identity"))
    assert isinstance(request.parse("POST", "/v1/responses", headers, b'{"model":"chat"}'), Request)
    assert isinstance(request.parse("POST", "/v1/responses", (HOST,), b'{"model":"chat"}'), Request)


@pytest.mark.parametrize(
    ("target", "name", "model_id"),
    [
        ("/v1/models", "models", None),
        ("/v1/models/chat", "model", "chat"),
        ("/v1/models/gpt-4o%20mini", "model", "gpt-4o mini"),
        ("/v1/models/meta/llama", "model", "meta/llama"),
        ("/v1/models/%C3%A9", "model", "é"),
    ],
)
def test_models_are_asked_for_by_path(target: str, name: str, model_id: str | None) -> None:
    asked = request.parse("GET", target, (HOST,), b"")
    assert isinstance(asked, Request)
    assert (asked.operation.name, asked.model_id, asked.model, asked.body) == (name, model_id, None, b"")


def test_every_operation_of_the_table_is_found_by_its_own_route() -> None:
    for operation in operations.OPERATIONS:
        found = operations.find(operation.method, operation.route.replace("{id}", "x"))
        assert isinstance(found, tuple)
        assert found[0] is operation
        assert operation.route == "/v1" + operation.path


def test_a_large_body_with_many_namesakes_is_still_exact() -> None:
    document = {"tools": [{"model": str(n), "stream": "x"} for n in range(2000)], "model": "chat", "stream": True}
    asked = post(document)
    assert asked.model_span is not None
    assert json.loads(asked.body[slice(*asked.model_span)]) == "chat"
    assert asked.stream is True
