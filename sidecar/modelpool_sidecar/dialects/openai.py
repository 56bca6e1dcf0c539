"""The OpenAI dialect: what goes to a provider, and what comes back to a client.

One door to the modules of this dialect: `openai_headers` (what crosses), `openai_errors` (both directions),
`openai_answer` and `openai_objects` (complete bodies), `openai_stream` and `openai_events` (event streams),
`openai_forms` (multipart bodies), `openai_usage` (asking for it). Everything here is pure: bytes in, bytes out.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from modelpool_sidecar.core import jsonspan, parameters
from modelpool_sidecar.core.catalogue import RESPONSE, Operation
from modelpool_sidecar.core.parameters import Parameters
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.dialects import openai_answer, openai_objects
from modelpool_sidecar.dialects.openai_answer import NO_ANSWER, Answer, rewrite_model
from modelpool_sidecar.dialects.openai_errors import error_event, read_error, refusal_body, retry_delay
from modelpool_sidecar.dialects.openai_events import RetoldReader, TypedReader
from modelpool_sidecar.dialects.openai_forms import attempt_form
from modelpool_sidecar.dialects.openai_headers import answer_headers, attempt_headers
from modelpool_sidecar.dialects.openai_replay import kept, replay
from modelpool_sidecar.dialects.openai_stream import StreamReader

__all__ = [
    "NO_ANSWER",
    "Answer",
    "StreamReader",
    "answer_headers",
    "attempt_body",
    "attempt_headers",
    "attempt_url",
    "error_event",
    "judge",
    "kept",
    "model_body",
    "models_body",
    "read_error",
    "reads_whole",
    "refusal_body",
    "replay",
    "retry_delay",
    "rewrite_model",
    "stream_reader",
]


def attempt_url(base_url: str, request: Request) -> str:
    """Where an attempt goes: the operation's path appended to the base URL, the query kept (B40)."""
    path = request.path or request.operation.path
    if request.model_id is not None:
        path = path.replace("{id}", quote(request.model_id, safe=""))
    return f"{base_url}{path}?{request.query}" if request.query else base_url + path


def attempt_body(request: Request, model: str, changes: Parameters = ()) -> bytes:
    """The request's body with `model` as its model, no other byte changed; the same bytes where it says so already.

    Where `x-modelpool-model` named the model and the body has none, it is put first into the object. `changes`: what
    pool and target change besides (B40); a request without a body has nothing to change.
    """
    body = request.body
    if request.operation.state:  # no model is asked: nothing of it is a parameter
        return body
    if request.form is not None:
        return attempt_form(body, request.form, request.model_span, model or None, changes)
    if changes and body:
        return parameters.apply(body, request.operation.name, changes, None if _says(request, model) else model)
    if request.model_span is None:
        if not body or not model:  # nobody names one: the API has a default
            return body
        brace = body.index(b"{") + 1
        comma = b"" if body[brace:].lstrip(b" \t\r\n").startswith(b"}") else b","
        return b'%b"model":%b%b%b' % (body[:brace], jsonspan.quote(model), comma, body[brace:])
    return body if _says(request, model) else jsonspan.splice(body, *request.model_span, jsonspan.quote(model))


def _says(request: Request, model: str) -> bool:
    """Whether the body names this model already, in whatever spelling, or nobody names any."""
    if request.model_span is None:
        return not model
    start, end = request.model_span
    old = request.body[start:end]
    return old == jsonspan.quote(model) or (b"\\" in old and bool(json.loads(old) == model))


def judge(operation: Operation, body: bytes, kind: str = "application/json") -> Answer:
    """The answer of a complete 2xx body; `kind`: its media type."""
    if operation.answer == "model":
        return openai_answer.judge(operation, body)
    return openai_objects.judge(operation, body, kind)


def reads_whole(operation: Operation, kind: str) -> bool:
    """Whether a 2xx of that media type is judged as a whole before anything goes out; else it goes out as it comes."""
    if operation.answer == "bytes":
        return False
    return operation.answer != "sound" or openai_objects.is_json(kind)


def stream_reader(
    operation: Operation,
    requested_model: str | None,
    choices: int,
    *,
    hides_usage: bool = False,
    strict: Callable[[], bool] | None = None,
) -> StreamReader:
    """What reads an event stream of this operation. `hides_usage`, `strict`: see StreamReader."""
    if operation is RESPONSE:
        return RetoldReader(operation, requested_model, choices)
    if operation.answer != "model":
        return TypedReader(operation, requested_model, choices)
    return StreamReader(operation, requested_model, choices, hides_usage=hides_usage, strict=strict)


def models_body(names: Sequence[str]) -> bytes:
    """GET /v1/models: the declared names. `created` is 0: a name has no birthday worth a clock."""
    return orjson.dumps({"object": "list", "data": [_model(name) for name in names]})


def model_body(name: str) -> bytes:
    """GET /v1/models/{id}."""
    return orjson.dumps(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelpool"}
