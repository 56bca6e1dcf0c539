"""Each bad request has its status and its exact answer (B43), and reaches no provider."""

# ruff: noqa: E501 (a row of a table stays one line, so that the tables can be read down)

import json

import pytest

from modelpool_sidecar.core import request
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Headers
from modelpool_sidecar.dialects import openai
from wire_cases import HOST, JSON

BASE = "http://127.0.0.1:4891/v1"
SERVED = (
    "POST /v1/chat/completions, POST /v1/completions, POST /v1/embeddings, POST /v1/responses, "
    "GET /v1/models, GET /v1/models/{id}; and of the OpenAI API /v1/moderations, /v1/images, /v1/audio, "
    "/v1/conversations, /v1/files, /v1/uploads, /v1/batches"
)
GOOD = b'{"model":"chat"}'
CHAT = "/v1/chat/completions"

# body, status, code, param, message
BODIES: list[tuple[bytes, int, str, str | None, str]] = [
    (b"", 400, "invalid_json", None, "the body is empty; a JSON object was expected"),
    (b" \n", 400, "invalid_json", None, "the body is not valid JSON: it is empty"),
    (b"\xef\xbb\xbf" + GOOD, 400, "invalid_json", None, "the body is not valid JSON: it starts with a byte order mark"),
    (b'{"model":"\xff"}', 400, "invalid_json", None, "the body is not valid JSON: byte 10 is not UTF-8"),
    (b'{"model":"chat"', 400, "invalid_json", None, "the body is not valid JSON: Expecting ',' delimiter at line 1 column 16"),
    (b"{'model':'chat'}", 400, "invalid_json", None, "the body is not valid JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
    (b'{"model":"chat",}', 400, "invalid_json", None, "the body is not valid JSON: Expecting property name enclosed in double quotes at line 1 column 17"),
    (b'{"model":"chat"} x', 400, "invalid_json", None, "the body is not valid JSON: Extra data at line 1 column 18"),
    (b'{"model":"chat"}{}', 400, "invalid_json", None, "the body is not valid JSON: Extra data at line 1 column 17"),
    (b"model=chat", 400, "invalid_json", None, "the body is not valid JSON: Expecting value at line 1 column 1"),
    (b'{"model":"a\nb"}', 400, "invalid_json", None, "the body is not valid JSON: Invalid control character at line 1 column 12"),
    (b'{"model":"chat","n":NaN}', 400, "invalid_json", None, "the body is not valid JSON: NaN is not a JSON value"),
    (b'{"model":"chat","n":-Infinity}', 400, "invalid_json", None, "the body is not valid JSON: -Infinity is not a JSON value"),
    (b'{"model":"chat","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json", None, "the body is not valid JSON: it is nested too deeply"),
    (b"[" * 100_000, 400, "invalid_json", None, "the body is not valid JSON: it is nested too deeply"),
    (b"[]", 400, "invalid_body", None, "the body must be a JSON object, not an array"),
    (b'"chat"', 400, "invalid_body", None, "the body must be a JSON object, not a string"),
    (b"null", 400, "invalid_body", None, "the body must be a JSON object, not null"),
    (b"5", 400, "invalid_body", None, "the body must be a JSON object, not a number"),
    (b"true", 400, "invalid_body", None, "the body must be a JSON object, not true"),
    (b"{}", 400, "missing_model", "model", 'the body has no model; name one, for example {"model": "chat"}'),
    (b'{"metadata":{"model":"chat"}}', 400, "missing_model", "model", 'the body has no model; name one, for example {"model": "chat"}'),
    (b'{"model":null}', 400, "invalid_model", "model", "model must be a string, not null"),
    (b'{"model":5}', 400, "invalid_model", "model", "model must be a string, not a number"),
    (b'{"model":1e999}', 400, "invalid_model", "model", "model must be a string, not a number"),
    (b'{"model":false}', 400, "invalid_model", "model", "model must be a string, not false"),
    (b'{"model":["chat"]}', 400, "invalid_model", "model", "model must be a string, not an array"),
    (b'{"model":{"name":"chat"}}', 400, "invalid_model", "model", "model must be a string, not an object"),
    (b'{"model":""}', 400, "invalid_model", "model", "model must not be empty"),
    (b'{"model":"a\\u0000"}', 400, "invalid_model", "model", "model must not contain control characters or half a surrogate pair"),
    (b'{"model":"a\\r\\nb"}', 400, "invalid_model", "model", "model must not contain control characters or half a surrogate pair"),
    (b'{"model":"a\\ud800"}', 400, "invalid_model", "model", "model must not contain control characters or half a surrogate pair"),
    (b'{"model":"' + b"x" * 513 + b'"}', 400, "invalid_model", "model", "model must have at most 512 characters, not 513"),
    (b'{"model":"a","model":"b"}', 400, "duplicate_key", "model", "the body has more than one model"),
    (b'{"model":"a","model":"a"}', 400, "duplicate_key", "model", "the body has more than one model"),
    (b'{"model":"a","mod\\u0065l":"b"}', 400, "duplicate_key", "model", "the body has more than one model"),
    (b'{"\\u006dodel":"a","mod\\u0065l":"b"}', 400, "duplicate_key", "model", "the body has more than one model"),
    (b'{"model":"a","stream":true,"stream":false}', 400, "duplicate_key", "stream", "the body has more than one stream"),
    (b'{"model":"a","stream":true,"stre\\u0061m":false}', 400, "duplicate_key", "stream", "the body has more than one stream"),
    (b'{"model":"a","stream":"true"}', 400, "invalid_stream", "stream", "stream must be true or false, not a string"),
    (b'{"model":"a","stream":1}', 400, "invalid_stream", "stream", "stream must be true or false, not a number"),
    (b'{"model":"a","stream":{}}', 400, "invalid_stream", "stream", "stream must be true or false, not an object"),
]  # fmt: skip

# method, path, status, code, message
LINES: list[tuple[str, str, int, str, str]] = [
    ("POST", "/chat/completions", 404, "unknown_path", f"/chat/completions is not served; did you mean /v1/chat/completions: set base_url to {BASE}"),
    ("POST", "/responses?x=1", 404, "unknown_path", f"/responses is not served; did you mean /v1/responses: set base_url to {BASE}"),
    ("GET", "/models/chat", 404, "unknown_path", f"/models/chat is not served; did you mean /v1/models/chat: set base_url to {BASE}"),
    ("POST", "/v1/v1/chat/completions", 404, "unknown_path", f"/v1/v1/chat/completions is not served; did you mean /v1/chat/completions: set base_url to {BASE}, with one /v1"),
    ("POST", "/v1/chat/completions/", 404, "unknown_path", "/v1/chat/completions/ is not served; did you mean /v1/chat/completions, without the slash at its end"),
    ("GET", "/v1/models/", 404, "unknown_path", "/v1/models/ is not served; did you mean /v1/models, without the slash at its end"),
    ("GET", "/", 404, "unknown_path", f"this is modelpool; set base_url to {BASE}, which serves {SERVED}"),
    ("GET", "/v1", 404, "unknown_path", f"this is modelpool; set base_url to {BASE}, which serves {SERVED}"),
    ("GET", "/v1/", 404, "unknown_path", f"this is modelpool; set base_url to {BASE}, which serves {SERVED}"),
    ("POST", "/v1/chat", 404, "unknown_path", f"/v1/chat is not served; served are {SERVED}"),
    ("POST", "/V1/chat/completions", 404, "unknown_path", f"/V1/chat/completions is not served; served are {SERVED}"),
    ("POST", "/v1/%63hat/completions", 404, "unknown_path", f"/v1/%63hat/completions is not served; served are {SERVED}"),
    ("POST", "/v1/\xe9", 404, "unknown_path", f"/v1/\\xe9 is not served; served are {SERVED}"),
    ("POST", "/v1/" + "x" * 300, 404, "unknown_path", f"/v1/{'x' * 196}... is not served; served are {SERVED}"),
    ("POST", "/v1/videos", 404, "unsupported_operation", f"/v1/videos is not supported here; served are {SERVED}"),
    ("POST", "/v1/messages", 404, "unsupported_operation", f"/v1/messages is not supported here; served are {SERVED}"),
    ("GET", "/v1/responses/resp_1/x", 404, "unsupported_operation", f"/v1/responses/resp_1/x is not supported here; served are {SERVED}"),
    ("GET", "/files/file-1", 404, "unknown_path", f"/files/file-1 is not served; did you mean /v1/files/file-1: set base_url to {BASE}"),
    ("GET", "/v1/files/", 404, "unknown_path", "/v1/files/ is not served; did you mean /v1/files, without the slash at its end"),
    ("GET", "/v1/files/a%20b", 404, "unknown_path", "an id in the path must be of letters, digits and _ . ~ : @ = + -"),
    ("GET", "/v1/files/" + "x" * 257, 404, "unknown_path", "an id in the path must be of letters, digits and _ . ~ : @ = + -"),
    ("GET", "/v1/files/../models", 404, "unknown_path", "the path must not contain a dot segment (. or ..)"),
    ("GET", "/v1/files/%2E%2E", 404, "unknown_path", "the path must not contain a dot segment (. or ..)"),
    ("GET", "/v1/files/a%2Fcontent", 404, "unknown_path", "the path must not contain an encoded slash or a backslash"),
    ("GET", "/v1/files//content", 404, "unknown_path", "the path must not contain an empty segment (//)"),
    ("PUT", "/v1/files", 405, "method_not_allowed", "/v1/files takes POST or GET, not PUT"),
    ("PATCH", "/v1/conversations/conv_1", 405, "method_not_allowed", "/v1/conversations/{id} takes GET or POST or DELETE, not PATCH"),
    ("POST", "http://api.openai.com/v1/chat/completions", 404, "unknown_path", "the path must not contain an empty segment (//)"),
    ("CONNECT", "api.openai.com:443", 404, "unknown_path", f"a path is expected here, not a whole URL: this is no forward proxy; set base_url to {BASE}"),
    ("OPTIONS", "*", 404, "unknown_path", f"a path is expected here, not a whole URL: this is no forward proxy; set base_url to {BASE}"),
    ("POST", "/v1/../admin", 404, "unknown_path", "the path must not contain a dot segment (. or ..)"),
    ("POST", "/v1/%2E%2e/admin", 404, "unknown_path", "the path must not contain a dot segment (. or ..)"),
    ("POST", "/v1/./chat/completions", 404, "unknown_path", "the path must not contain a dot segment (. or ..)"),
    ("POST", "/v1//chat/completions", 404, "unknown_path", "the path must not contain an empty segment (//)"),
    ("POST", "/v1%2fchat%2Fcompletions", 404, "unknown_path", "the path must not contain an encoded slash or a backslash"),
    ("POST", "/v1\\chat", 404, "unknown_path", "the path must not contain an encoded slash or a backslash"),
    ("GET", "/v1/models/a%2fb", 404, "unknown_path", "the path must not contain an encoded slash or a backslash"),
    ("GET", "/v1/models/%00", 404, "unknown_path", "the model's name in the path is not printable UTF-8"),
    ("GET", "/v1/models/%ff", 404, "unknown_path", "the model's name in the path is not printable UTF-8"),
    ("POST", "/v1/chat/completions?a=b c", 400, "invalid_request", "the query holds a character that must be percent-encoded"),
    ("POST", "/v1/chat/completions?a=\r\nx: y", 400, "invalid_request", "the query holds a character that must be percent-encoded"),
    ("GET", "/v1/chat/completions", 405, "method_not_allowed", "/v1/chat/completions takes POST, not GET"),
    ("DELETE", "/v1/models/chat", 405, "method_not_allowed", "/v1/models/{id} takes GET, not DELETE"),
    ("POST", "/v1/models", 405, "method_not_allowed", "/v1/models takes GET, not POST"),
    ("OPTIONS", "/v1/responses", 405, "method_not_allowed", "/v1/responses takes POST, not OPTIONS"),
]  # fmt: skip

# header, status, code, param, message
HEADERS: list[tuple[tuple[str, str], int, str, str | None, str]] = [
    (("content-type", "multipart/form-data; boundary=x"), 415, "unsupported_media_type", None, "Content-Type must be application/json, not multipart/form-data"),
    (("content-type", "text/plain"), 415, "unsupported_media_type", None, "Content-Type must be application/json, not text/plain"),
    (("content-type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type", None, "Content-Type must be application/json, not application/x-www-form-urlencoded (curl: -H 'Content-Type: application/json')"),
    (("content-encoding", "gzip"), 415, "unsupported_encoding", None, "Content-Encoding is not supported: send the body uncompressed"),
    (("content-encoding", "identity, br"), 415, "unsupported_encoding", None, "Content-Encoding is not supported: send the body uncompressed"),
    (("x-modelpool-model", ""), 400, "invalid_model", "x-modelpool-model", "x-modelpool-model must not be empty"),
    (("x-modelpool-model", "a\tb"), 400, "invalid_model", "x-modelpool-model", "x-modelpool-model must not contain control characters or half a surrogate pair"),
]  # fmt: skip


def judged(method: str, target: str, headers: Headers, body: bytes) -> tuple[Refusal, dict[str, object]]:
    refusal = request.parse(method, target, headers, body)
    assert isinstance(refusal, Refusal)
    return refusal, json.loads(openai.refusal_body(refusal))


def shape(message: str, code: str, param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@pytest.mark.parametrize(("body", "status", "code", "param", "message"), BODIES, ids=range(len(BODIES)))
def test_a_bad_body_is_refused_in_a_sentence(
    body: bytes, status: int, code: str, param: str | None, message: str
) -> None:
    refusal, answer = judged("POST", CHAT, (HOST, JSON), body)
    assert refusal.status == status
    assert answer == shape(message, code, param)


@pytest.mark.parametrize(("method", "target", "status", "code", "message"), LINES, ids=range(len(LINES)))
def test_a_bad_request_line_is_refused_in_a_sentence(
    method: str, target: str, status: int, code: str, message: str
) -> None:
    refusal, answer = judged(method, target, (HOST, JSON), GOOD)
    assert refusal.status == status
    assert answer == shape(message, code)


@pytest.mark.parametrize(("header", "status", "code", "param", "message"), HEADERS, ids=range(len(HEADERS)))
def test_a_bad_header_is_refused_in_a_sentence(
    header: tuple[str, str], status: int, code: str, param: str | None, message: str
) -> None:
    refusal, answer = judged("POST", CHAT, (HOST, header), GOOD)
    assert refusal.status == status
    assert answer == shape(message, code, param)


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("GET", CHAT, "POST"), ("POST", "/v1/models", "GET"), ("PUT", "/v1/models/x", "GET")]
)
def test_a_wrong_method_is_told_the_right_one(method: str, path: str, allow: str) -> None:
    refusal, _ = judged(method, path, (HOST,), b"")
    assert ("allow", allow) in refusal.all_headers


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("localhost:5000", "http://localhost:5000/v1"),
        ("[::1]:4891", "http://[::1]:4891/v1"),
        ("evil.example", BASE),
        ("127.0.0.1:1/x", BASE),
    ],
)
def test_the_base_url_in_a_sentence_is_the_one_that_was_called(host: str, base: str) -> None:
    refusal, _ = judged("POST", "/embeddings", (("host", host),), GOOD)
    assert refusal.message == f"/embeddings is not served; did you mean /v1/embeddings: set base_url to {base}"


def test_no_refusal_quotes_the_body() -> None:
    for body, *_ in BODIES:
        refusal = request.parse("POST", CHAT, (HOST, JSON), body.replace(b"chat", b"s3cret"))
        assert isinstance(refusal, Refusal)
        assert "s3cret" not in refusal.message


def test_the_table_is_long_enough() -> None:
    assert len(BODIES) + len(LINES) + len(HEADERS) >= 80
