"""Errors in the OpenAI shape: reading what a provider says, and writing what we say."""

import json
import re
from typing import Any, NamedTuple

from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.operations import RESPONSES, Operation
from modelpool_sidecar.core.outcome import NO_ERROR, ProviderError
from modelpool_sidecar.core.refusal import Refusal

# Servers that answer with a sentence and a bare number (vLLM, llama.cpp, Ollama): the sentence's meaning, as the code
# that the OpenAI API has for it. Only read where no code in words is given.
_MEANINGS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "context_length_exceeded",
        re.compile(
            "maximum context length|exceeds the available context|context length exceeded|model's context length"
        ),
    ),
    ("model_not_found", re.compile(r"(?:The )?[Mm]odel\b.{0,300}\b(?:does not exist|not found)", re.DOTALL)),
)


class ResponseSeen(NamedTuple):
    """What a stream of the Responses API has told of its response, to end it in the same terms."""

    id: str = "resp_unknown"
    model: str = ""
    created_at: int = 0
    sequence: int = 0


def read_error(body: bytes) -> ProviderError:
    """What an error body says; nothing where it is not JSON or says nothing."""
    try:
        return error_of(jsonspan.decode(body))
    except jsonspan.NotJsonError:
        return NO_ERROR


def error_of(document: Any) -> ProviderError:
    """What a decoded error body or error event says, in any of the shapes in use."""
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        return NO_ERROR
    error = document.get("error")
    if isinstance(error, str):
        return _named(document.get("code"), document.get("type"), error)
    if isinstance(error, dict):
        return _named(error.get("code"), error.get("type") or error.get("status"), error.get("message"))
    return _named(document.get("code"), document.get("type"), document.get("message") or document.get("detail"))


def _named(code: Any, kind: Any, message: Any) -> ProviderError:
    text = message if isinstance(message, str) else None
    name = str(code) if isinstance(code, str | int) and not isinstance(code, bool) and code != "" else None
    if text is not None and (name is None or name.isdigit()):
        name = next((code for code, meaning in _MEANINGS if meaning.search(text)), name)
    return ProviderError(code=name, type=kind if isinstance(kind, str) else None, message=text)


def refusal_body(refusal: Refusal) -> bytes:
    """The body of an answer of our own."""
    return _dump({"error": _error(refusal.message, refusal.type, refusal.param, refusal.code)})


def error_event(operation: Operation, code: str, message: str, seen: ResponseSeen | None = None) -> bytes:
    """What ends a committed stream that broke: the operation's own error event, never a terminal one (B25).

    `seen`: for the Responses API, whose events are numbered and whose last one repeats the response.
    """
    if operation is not RESPONSES:
        return b"data: %b\n\n" % _dump({"error": _error(message, "server_error", None, code)})
    seen = seen or ResponseSeen()
    flat = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": seen.sequence}
    failed = {
        "type": "response.failed",
        "sequence_number": seen.sequence + 1,
        "response": {
            "id": seen.id,
            "object": "response",
            "created_at": seen.created_at,
            "status": "failed",
            "error": {"code": code, "message": message},
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": seen.model,
            "output": [],
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
        },
    }
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (_dump(flat), _dump(failed))


def _error(message: str, kind: str, param: str | None, code: str) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": param, "code": code}


def _dump(document: Any) -> bytes:
    # Not orjson: a sentence may hold half a surrogate pair from a header, and must still become an answer.
    return json.dumps(document, separators=(",", ":")).encode("ascii")
