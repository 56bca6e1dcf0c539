"""The Responses API: the answer as JSON and as events."""

from collections.abc import Iterator
from typing import Any

from modelpool_sidecar.fake.errors import APIError
from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.speech import Call, Speech
from modelpool_sidecar.fake.stream import Event, named


def response(question: Question, speech: Speech, serial: str, created: int) -> dict[str, Any]:
    """A response, complete or, where the maximum of tokens was reached, incomplete."""
    cut_short = speech.finish == "length"
    return {
        **_frame(question, serial, created),
        "status": "incomplete" if cut_short else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut_short else None,
        "output": _output(speech, serial),
        "usage": _usage(question, speech),
    }


def response_events(
    question: Question, speech: Speech, serial: str, created: int, numbers: Iterator[int]
) -> Iterator[Event]:
    """The events of a stream, response.created to response.completed; there is no [DONE]. `numbers` counts them."""
    begun = {**_frame(question, serial, created), "status": "in_progress", "output": [], "usage": None}
    yield Event(_event(numbers, "response.created", response=begun))
    yield Event(_event(numbers, "response.in_progress", response=begun))
    for index, item in enumerate(_output(speech, serial)):
        if speech.calls:
            yield from _call_events(numbers, index, item, speech.calls[index])
        else:
            yield from _message_events(numbers, index, item, speech)
    whole = response(question, speech, serial, created)
    yield Event(_event(numbers, f"response.{whole['status']}", response=whole), "last")


def failure_events(question: Question, serial: str, created: int, numbers: Iterator[int], error: APIError) -> bytes:
    """How a stream tells that it failed: an error event, then response.failed."""
    failed = {
        **_frame(question, serial, created),
        "status": "failed",
        "error": {"code": error.code or error.type, "message": error.message},
        "output": [],
        "usage": None,
    }
    told = _event(numbers, "error", code=error.code, message=error.message, param=error.param)
    return told + _event(numbers, "response.failed", response=failed)


def _message_events(numbers: Iterator[int], index: int, item: dict[str, Any], speech: Speech) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    empty = {**item, "status": "in_progress", "content": []}
    yield Event(_event(numbers, "response.output_item.added", output_index=index, item=empty))
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield Event(_event(numbers, "response.content_part.added", **place, part=part))
    for token in speech.tokens:
        yield Event(_event(numbers, "response.output_text.delta", **place, delta=token, logprobs=[]), "token")
    yield Event(_event(numbers, "response.output_text.done", **place, text=speech.text, logprobs=[]))
    yield Event(_event(numbers, "response.content_part.done", **place, part=item["content"][0]))
    yield Event(_event(numbers, "response.output_item.done", output_index=index, item=item))


def _call_events(numbers: Iterator[int], index: int, item: dict[str, Any], call: Call) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index}
    empty = {**item, "status": "in_progress", "arguments": ""}
    yield Event(_event(numbers, "response.output_item.added", output_index=index, item=empty))
    for piece in call.pieces:
        yield Event(_event(numbers, "response.function_call_arguments.delta", **place, delta=piece), "token")
    done = {**place, "name": call.name, "arguments": call.arguments}
    yield Event(_event(numbers, "response.function_call_arguments.done", **done))
    yield Event(_event(numbers, "response.output_item.done", output_index=index, item=item))


def _event(numbers: Iterator[int], kind: str, /, **fields: object) -> bytes:
    return named(kind, {"type": kind, "sequence_number": next(numbers), **fields})


def _frame(question: Question, serial: str, created: int) -> dict[str, Any]:
    body = question.body
    return {
        "id": f"resp_{serial}",
        "object": "response",
        "created_at": created,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": question.max_tokens,
        "metadata": {},
        "model": question.model,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
    }


def _output(speech: Speech, serial: str) -> list[dict[str, Any]]:
    if speech.calls:
        return [
            {
                "id": f"fc_{serial}_{number}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            }
            for number, call in enumerate(speech.calls, 1)
        ]
    part = {"type": "output_text", "text": speech.text, "annotations": [], "logprobs": []}
    status = "incomplete" if speech.finish == "length" else "completed"
    return [{"id": f"msg_{serial}", "type": "message", "status": status, "role": "assistant", "content": [part]}]


def _usage(question: Question, speech: Speech) -> dict[str, Any]:
    return {
        "input_tokens": question.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": speech.size,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": question.prompt_tokens + speech.size,
    }
