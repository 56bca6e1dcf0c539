"""Errors in the OpenAI shape: reading what a provider says, and writing what we say."""

import json
import re
from dataclasses import replace
from typing import Any, NamedTuple

from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.operations import RESPONSES, Operation
from modelpool_sidecar.core.outcome import NO_ERROR, WORDS, ProviderError
from modelpool_sidecar.core.refusal import Refusal

# Servers that answer with a sentence and a bare number, or with words of their own: the sentence's meaning, as the code
# that the OpenAI API has for it. Read only where no word says anything, and only from the beginning of the message: a
# sentence that quotes what a client wrote must not decide.
_GATEWAYS = re.compile(r"(?:(?:litellm\.)?\w{1,40}(?:Error|Exception)(?::| -)\s*)+")
_CONTEXT, _MODEL, _QUOTA = "context_length_exceeded", "model_not_found", "insufficient_quota"
MEANINGS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (code, re.compile(sentence, re.DOTALL))
    for code, sentence in (
        # OpenAI, vLLM, DeepSeek, xAI, OpenRouter and many more
        (_CONTEXT, r"This (?:model|endpoint)'s maximum (?:context|prompt) length is \d+"),
        (_CONTEXT, r"You passed \d+ input (?:tokens|characters)\b.{0,200}context length"),
        (_CONTEXT, r"'?max_(?:completion_)?tokens'?.{0,60}is too large: \d+\. This model's maximum context length"),
        (_CONTEXT, r"The (?:decoder |encoder )?prompt \(length \d+\) is longer than the maximum model length"),
        # SGLang
        (_CONTEXT, r"The input \(\d+ tokens\) is longer than the model's context length"),
        (_CONTEXT, r"Requested token count exceeds the model's maximum context length"),
        # llama.cpp and its Python server
        (_CONTEXT, r"(?:the )?request(?: \(\d+ tokens\))? exceeds the available context size"),
        (_CONTEXT, r"input(?: \(\d+ tokens\))? is too large to process"),
        (_CONTEXT, r"Requested tokens \(\d+\) exceed context window"),
        # Ollama, LM Studio
        (_CONTEXT, r"Trying to keep the first \d+ tokens when"),
        (_CONTEXT, r"(?:the )?input length exceeds (?:the|maximum) context length"),
        # TGI, Hugging Face, Together
        (
            _CONTEXT,
            r"Input validation error: `inputs` (?:tokens \+ `max_new_tokens` must be <=|must have less than) \d+",
        ),
        # Mistral, Anthropic, Fireworks, Cerebras, Gemini
        (_CONTEXT, r"Prompt contains \d+ tokens\b.{0,80}too large for model"),
        (_CONTEXT, r"(?:The )?prompt is too long: \d+"),
        (_CONTEXT, r"Please reduce the length of the messages or completion\. Current length is \d+"),
        (_CONTEXT, r"The input token count\b.{0,20} exceeds the maximum number of tokens allowed"),
        (_MODEL, r"(?:The )?[Mm]odel\b.{0,300}\b(?:does not exist|not found|Not Exist)"),
        (_QUOTA, r"Your team \S{1,60} has either used all available credits or reached its monthly spending limit"),
        (_QUOTA, r"Your newly created team doesn't have any credits"),
        (_QUOTA, r"Your credit balance is too low"),
        (_QUOTA, r"Account \S{1,80} is suspended"),
        (_QUOTA, r"(?:Budget has been exceeded!|ExceededBudget:|ExceededTokenBudget:)"),
        (_QUOTA, r"No deployments available - crossed budget"),
        ("content_policy_violation", r"Content Exists Risk\b"),
        ("content_policy_violation", r"Invalid prompt: your prompt was flagged"),
        ("invalid_api_key", r"Incorrect API key provided"),
        ("invalid_api_key", r"API key not valid\b"),
        ("invalid_api_key", r"User location is not supported for the API use"),
    )
)
# What a gateway says in front of the sentence that it passes on.
_WRAPPED = (("ContextWindowExceededError", _CONTEXT), ("ContentPolicyViolationError", "content_policy_violation"))


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
        return _named(document.get("code"), document.get("type") or document.get("error_type"), error)
    if isinstance(error, dict):
        kind = error.get("type") or error.get("status")
        return _named(error.get("code"), kind, error.get("message"), _cause(error))
    return _named(document.get("code"), document.get("type"), document.get("message") or document.get("detail"))


def retry_delay(body: bytes) -> str | None:
    """What an error's `google.rpc.RetryInfo` asks for, as it stands there (`34s`): Gemini has no header for it."""
    if b"RetryInfo" not in body:
        return None
    try:
        document: Any = jsonspan.decode(body)
    except jsonspan.NotJsonError:
        return None
    document = document[0] if isinstance(document, list) and document else document
    error = document.get("error") if isinstance(document, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            delay = detail.get("retryDelay")
            return delay if isinstance(delay, str) else None
    return None


def _named(code: Any, kind: Any, message: Any, cause: str | None = None) -> ProviderError:
    text = message if isinstance(message, str) else None
    name = str(code) if isinstance(code, str | int) and not isinstance(code, bool) and code != "" else None
    error = ProviderError(name, kind if isinstance(kind, str) else None, text, cause)
    if text is None or error.says(WORDS):
        return error
    return replace(error, code=_meaning(text) or name)


def _meaning(text: str) -> str | None:
    """What a sentence means, as a code; None where it means nothing that we know."""
    front = _GATEWAYS.match(text)
    if front is not None:
        for name, code in _WRAPPED:
            if name in front.group():
                return code
        text = text[front.end() :]
    return next((code for code, sentence in MEANINGS if sentence.match(text)), None)


def _cause(error: dict[str, Any]) -> str | None:
    """The inner word: Azure's `innererror`, Anthropic's `details`, OpenRouter's `metadata`; nothing of its content."""
    metadata = error.get("metadata")
    for inner, key in (
        (error.get("innererror"), "code"),
        (error.get("details"), "error_code"),
        (metadata, "limit_source"),
    ):
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            return str(inner[key])
    return "moderation" if isinstance(metadata, dict) and "flagged_input" in metadata else None


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
