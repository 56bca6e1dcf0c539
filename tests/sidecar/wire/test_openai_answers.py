"""What a complete answer came to (B17), and what it tells of itself."""

import json
from typing import Any

import pytest

from modelpool_sidecar.core import operations
from modelpool_sidecar.core.operations import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Operation
from modelpool_sidecar.core.outcome import Outcome, ProviderError
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer

USAGE = {"prompt_tokens": 3, "completion_tokens": 5}


def choice(reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": reason, **more}


def judged(operation: Operation, document: Any) -> Answer:
    return openai.judge(operation, document if isinstance(document, bytes) else json.dumps(document).encode())


def test_a_chat_answer_tells_its_model_id_usage_and_reasons() -> None:
    document = {"id": "c1", "model": "gpt-4o", "choices": [choice(), choice("length")], "usage": USAGE}
    assert judged(CHAT, document) == Answer(Outcome.OK, Usage(3, 5), "gpt-4o", "c1", ("stop", "length"))


def test_an_answer_without_content_but_with_a_finish_is_ok() -> None:
    assert judged(CHAT, {"choices": [{"finish_reason": "stop", "message": {"content": ""}}]}).outcome is Outcome.OK


def test_a_filtered_answer_is_content_policy() -> None:
    assert judged(COMPLETIONS, {"choices": [choice(), choice("content_filter")]}).outcome is Outcome.CONTENT_POLICY


def test_a_response_tells_why_it_ended() -> None:
    done = {"id": "r", "status": "completed", "output": [], "usage": {"input_tokens": 1, "output_tokens": 2}}
    assert judged(RESPONSES, done) == Answer(Outcome.OK, Usage(1, 2), None, "r", ("completed",))
    cut = {"status": "incomplete", "output": [], "incomplete_details": {"reason": "max_output_tokens"}}
    assert judged(RESPONSES, cut).finish_reasons == ("max_output_tokens",)
    filtered = {"status": "incomplete", "output": [], "incomplete_details": {"reason": "content_filter"}}
    assert judged(RESPONSES, filtered).outcome is Outcome.CONTENT_POLICY
    assert judged(RESPONSES, {"status": "queued"}).outcome is Outcome.OK
    assert judged(RESPONSES, {"output": []}).finish_reasons == ()


def test_a_failed_response_is_empty_and_says_why() -> None:
    answer = judged(RESPONSES, {"status": "failed", "output": [], "error": {"code": "server_error", "message": "m"}})
    assert (answer.outcome, answer.error) == (Outcome.EMPTY, ProviderError("server_error", None, "m"))


def test_embeddings_are_ok_where_there_are_any() -> None:
    assert judged(EMBEDDINGS, {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 4}}).outcome is Outcome.OK
    assert judged(EMBEDDINGS, {"data": []}).outcome is Outcome.EMPTY


@pytest.mark.parametrize("operation", [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES])
@pytest.mark.parametrize(
    "body",
    [b"", b" \r\n", b"{}", b'{"error":{"message":"m","code":"server_error"}}', b'{"error":"m"}',
     b'{"object":"error","message":"m"}', b'{"choices":[],"data":[]}', b'{"choices":null}', b'{"choices":[5]}'],
)  # fmt: skip
def test_a_success_with_nothing_in_it_is_empty(operation: Operation, body: bytes) -> None:
    assert judged(operation, body).outcome is Outcome.EMPTY


def test_an_error_inside_a_success_is_empty_even_beside_choices() -> None:
    answer = judged(CHAT, {"choices": [choice()], "error": {"message": "m", "code": 502}})
    assert (answer.outcome, answer.error.code) == (Outcome.EMPTY, "502")
    assert judged(CHAT, {"choices": [choice()], "error": None}).outcome is Outcome.OK


@pytest.mark.parametrize("body", [b"<html>", b'{"choices":[', b"[]", b"5", b'data: {"choices":[]}\n\n', b"\xff"])
def test_what_is_no_answer_at_all_is_broken(body: bytes) -> None:
    assert judged(CHAT, body).outcome is Outcome.BROKEN


def test_names_of_unbearable_length_are_cut_and_other_types_ignored() -> None:
    answer = judged(CHAT, {"id": 5, "model": "m" * 1000, "choices": [choice("r" * 1000), choice(None)] * 300})
    assert answer.model == "m" * 256
    assert answer.response_id is None
    assert answer.finish_reasons == ("r" * 256,) * 128


def test_lone_surrogates_and_huge_numbers_do_not_break_an_answer() -> None:
    body = b'{"choices":[{"message":{"content":"\\ud83d"},"finish_reason":"stop","x":1e999}]}'
    assert judged(CHAT, body).outcome is Outcome.OK


def test_every_operation_that_posts_is_judged() -> None:
    for operation in operations.OPERATIONS:
        if operation.method == "POST":
            assert judged(operation, b"{}").outcome is Outcome.EMPTY
