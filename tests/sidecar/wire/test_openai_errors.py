"""Errors are read in every shape that compatible servers send, and written in the one that the SDK understands."""

# ruff: noqa: E501 (a row of a table stays one line, so that the table can be read down)

import json

import pytest

from modelpool_sidecar.core import operations
from modelpool_sidecar.core.outcome import Outcome, ProviderError, classify
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai_errors import ResponseSeen, error_event

# who, status, body, code, type, outcome
BODIES: list[tuple[str, int, str, str | None, str | None, Outcome]] = [
    ("OpenAI", 429, '{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}', "rate_limit_exceeded", "requests", Outcome.RATE_LIMITED),
    ("OpenAI", 429, '{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}', "insufficient_quota", "insufficient_quota", Outcome.QUOTA_EXHAUSTED),
    ("OpenAI", 401, '{"error":{"message":"Incorrect API key provided: sk-1","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}', "invalid_api_key", "invalid_request_error", Outcome.DENIED),
    ("OpenAI", 404, '{"error":{"message":"The model `x` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}', "model_not_found", "invalid_request_error", Outcome.DENIED),
    ("OpenAI", 400, '{"error":{"message":"This model\'s maximum context length is 8192 tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}', "context_length_exceeded", "invalid_request_error", Outcome.CONTEXT_LENGTH),
    ("OpenAI", 503, '{"error":{"message":"The server is overloaded","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}', "server_is_overloaded", "service_unavailable_error", Outcome.FAILED),
    ("Azure", 400, '{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{}}}}', "content_filter", None, Outcome.CONTENT_POLICY),
    ("Azure", 404, '{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}', "DeploymentNotFound", None, Outcome.DENIED),
    ("Azure", 429, '{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}', "429", None, Outcome.RATE_LIMITED),
    ("Azure", 401, '{"statusCode":401,"message":"Unauthorized. Access token is missing"}', None, None, Outcome.DENIED),
    ("vLLM", 400, '{"error":{"message":"This model\'s maximum context length is 4096 tokens. However, you requested 5000","type":"BadRequestError","param":null,"code":400}}', "context_length_exceeded", "BadRequestError", Outcome.CONTEXT_LENGTH),
    ("vLLM", 404, '{"error":{"message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}}', "model_not_found", "NotFoundError", Outcome.DENIED),
    ("vLLM, older", 404, '{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}', "model_not_found", "NotFoundError", Outcome.DENIED),
    ("vLLM", 404, '{"detail":"Not Found"}', None, None, Outcome.UNSUPPORTED),
    ("vLLM", 400, '{"error":{"message":"temperature must be non-negative","type":"BadRequestError","param":null,"code":400}}', "400", "BadRequestError", Outcome.REJECTED),
    ("llama.cpp", 503, '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}', "503", "unavailable_error", Outcome.FAILED),
    ("llama.cpp", 400, '{"error":{"code":400,"message":"the request exceeds the available context size. try increasing it","type":"exceed_context_size_error","n_ctx":4096}}', "400", "exceed_context_size_error", Outcome.CONTEXT_LENGTH),
    ("llama.cpp", 404, '{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}', "404", "not_found_error", Outcome.UNSUPPORTED),
    ("Ollama", 404, '{"error":{"message":"model \\"x\\" not found, try pulling it first","type":"api_error","param":null,"code":null}}', "model_not_found", "api_error", Outcome.DENIED),
    ("Ollama, native", 404, '{"error":"model \'x\' not found"}', "model_not_found", None, Outcome.DENIED),
    ("Ollama, native", 500, '{"error":"llama runner process has terminated"}', None, None, Outcome.FAILED),
    ("Groq", 400, '{"error":{"message":"Failed to call a function.","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"..."}}', "tool_use_failed", "invalid_request_error", Outcome.REJECTED),
    ("Groq", 413, '{"error":{"message":"Request too large","type":"tokens","code":"rate_limit_exceeded"}}', "rate_limit_exceeded", "tokens", Outcome.RATE_LIMITED),
    ("Groq", 498, '{"error":{"message":"Flex tier capacity exceeded","type":"capacity","code":"capacity_exceeded"}}', "capacity_exceeded", "capacity", Outcome.FAILED),
    ("Mistral", 429, '{"object":"error","message":"Requests rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}', "1300", "rate_limited", Outcome.RATE_LIMITED),
    ("Mistral", 422, '{"detail":[{"loc":["body","x"],"msg":"extra fields not permitted"}]}', None, None, Outcome.REJECTED),
    ("OpenRouter", 402, '{"error":{"message":"Insufficient credits","code":402}}', "402", None, Outcome.QUOTA_EXHAUSTED),
    ("Gemini, compatible", 429, '[{"error":{"code":429,"message":"Quota exceeded","status":"RESOURCE_EXHAUSTED"}}]', "429", "RESOURCE_EXHAUSTED", Outcome.RATE_LIMITED),
    ("a gateway", 502, "<html><body>Bad Gateway</body></html>", None, None, Outcome.FAILED),
    ("a gateway", 503, "", None, None, Outcome.FAILED),
    ("nobody", 500, "[]", None, None, Outcome.FAILED),
    ("nobody", 500, "5", None, None, Outcome.FAILED),
    ("nobody", 500, '{"error":{"message":{"x":1},"code":true,"type":[]}}', None, None, Outcome.FAILED),
    ("nobody", 500, '{"error":{"message":"m","code":""}}', None, None, Outcome.FAILED),
    ("nobody", 500, '{"error":null}', None, None, Outcome.FAILED),
    ("nobody", 500, '{"error":{"message":"cut', None, None, Outcome.FAILED),
]  # fmt: skip


@pytest.mark.parametrize(("who", "status", "body", "code", "kind", "outcome"), BODIES, ids=range(len(BODIES)))
def test_an_error_body_is_read_in_its_senders_shape(
    who: str, status: int, body: str, code: str | None, kind: str | None, outcome: Outcome
) -> None:
    error = openai.read_error(body.encode())
    assert (error.code, error.type) == (code, kind), who
    assert classify(status, error) is outcome, who


def test_the_message_is_kept_for_the_client() -> None:
    assert openai.read_error(b'{"error":"no"}') == ProviderError(message="no")
    assert openai.read_error(b'{"detail":"no"}') == ProviderError(message="no")


def test_a_refusal_becomes_the_error_shape_that_the_sdk_understands() -> None:
    body = openai.refusal_body(Refusal("model_not_found", "no model é \ud800", param="model"))
    assert json.loads(body) == {
        "error": {
            "message": "no model é \ud800",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


@pytest.mark.parametrize("operation", [operations.CHAT, operations.COMPLETIONS])
def test_a_broken_chat_stream_ends_in_an_error_event_without_done(operation: operations.Operation) -> None:
    assert openai.error_event(operation, "upstream_error", "it was cut") == (
        b'data: {"error":{"message":"it was cut","type":"server_error","param":null,"code":"upstream_error"}}\n\n'
    )


def test_a_broken_response_stream_ends_in_error_and_failed() -> None:
    seen = ResponseSeen("resp_1", "gpt-4o", 1700000000, 7)
    first, second, rest = error_event(operations.RESPONSES, "upstream_error", "it was cut", seen).split(b"\n\n")
    assert rest == b""
    name, data = first.split(b"\ndata: ")
    assert name == b"event: error"
    assert json.loads(data) == {
        "type": "error", "code": "upstream_error", "message": "it was cut", "param": None, "sequence_number": 7,
    }  # fmt: skip
    name, data = second.split(b"\ndata: ")
    failed = json.loads(data)
    assert name == b"event: response.failed"
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 8)
    response = failed["response"]
    assert (response["id"], response["model"], response["created_at"]) == ("resp_1", "gpt-4o", 1700000000)
    assert (response["status"], response["error"]) == ("failed", {"code": "upstream_error", "message": "it was cut"})


def test_a_response_stream_that_broke_before_its_first_event_still_ends_in_one() -> None:
    assert b'"id":"resp_unknown"' in openai.error_event(operations.RESPONSES, "upstream_error", "it was cut")


def test_declared_names_are_listed_as_models() -> None:
    one = {"id": "chat", "object": "model", "created": 0, "owned_by": "modelpool"}
    assert json.loads(openai.model_body("chat")) == one
    assert json.loads(openai.models_body(["chat", "é"])) == {"object": "list", "data": [one, {**one, "id": "é"}]}
    assert json.loads(openai.models_body([])) == {"object": "list", "data": []}


INFO = '{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.07s"}'


@pytest.mark.parametrize(
    ("body", "delay"),
    [
        ('{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"x"},' + INFO + "]}}", "34.07s"),
        ('[{"error":{"code":429,"details":[' + INFO + "]}}]", "34.07s"),
        ('{"error":{"details":[{"@type":"google.rpc.RetryInfo"}]}}', None),
        ('{"error":{"details":[{"@type":"google.rpc.RetryInfo","retryDelay":34}]}}', None),
        ('{"error":{"details":["google.rpc.RetryInfo"]}}', None),
        ('{"error":{"details":"google.rpc.RetryInfo"}}', None),
        ('{"error":"google.rpc.RetryInfo"}', None),
        ('"google.rpc.RetryInfo"', None),
        ('{"error":{"details":[' + INFO, None),
        ("[]", None),
    ],
)
def test_the_wait_of_googles_apis_is_read_from_the_error(body: str, delay: str | None) -> None:
    assert openai.retry_delay(body.encode()) == delay
