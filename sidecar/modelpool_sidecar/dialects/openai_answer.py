"""What a complete answer, not a stream, came to, and how the model's name in it is exchanged."""

from dataclasses import dataclass
from typing import Any

from modelpool_sidecar.core import jsonspan, usage
from modelpool_sidecar.core.operations import EMBEDDINGS, RESPONSES, Operation
from modelpool_sidecar.core.outcome import NO_ERROR, Outcome, ProviderError
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.dialects.openai_errors import error_of

_MAX_WORD = 256
_MAX_REASONS = 128


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer came to and what it tells of itself; None where it does not tell."""

    outcome: Outcome
    usage: Usage = usage.NO_USAGE
    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    error: ProviderError = NO_ERROR
    dropped: int = 0
    """Malformed events of a stream that were left out (B28)."""


NO_ANSWER = Answer(Outcome.OK)
"""Of an answer that was too large to be looked at: it tells nothing."""


def judge(operation: Operation, body: bytes) -> Answer:
    """The answer of a complete 2xx body. Empty: no bytes, nothing chosen, or an error inside a success (B17)."""
    if not body.strip(b" \t\r\n"):
        return Answer(Outcome.EMPTY)
    try:
        document = jsonspan.decode(body)
    except jsonspan.NotJsonError:
        return Answer(Outcome.BROKEN)
    if not isinstance(document, dict):
        return Answer(Outcome.BROKEN)
    if operation is RESPONSES:
        reasons = response_reasons(document)
        empty = document.get("status") == "failed" or not ("output" in document or "status" in document)
    elif operation is EMBEDDINGS:
        reasons = ()
        empty = not document.get("data")
    else:
        choices = document.get("choices")
        found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        reasons = tuple(reason for choice in found if (reason := word(choice.get("finish_reason"))))[:_MAX_REASONS]
        empty = not found
    told = document.get("error")
    empty = empty or bool(told)
    return Answer(
        outcome=outcome_of(reasons) if not empty else Outcome.EMPTY,
        usage=usage.read(document.get("usage")),
        model=word(document.get("model")),
        response_id=word(document.get("id")),
        finish_reasons=reasons,
        error=error_of(document) if told or document.get("object") == "error" else NO_ERROR,
    )


def outcome_of(reasons: tuple[str, ...]) -> Outcome:
    """What a finished answer came to, by its finish reasons."""
    return Outcome.CONTENT_POLICY if "content_filter" in reasons else Outcome.OK


def response_reasons(response: dict[str, Any]) -> tuple[str, ...]:
    """Why a response of the Responses API ended: the reason for which it is incomplete, else its status."""
    details = response.get("incomplete_details")
    reason = word(details.get("reason")) if isinstance(details, dict) else None
    status = word(response.get("status"))
    return (reason,) if reason else (status,) if status else ()


def word(value: Any) -> str | None:
    """A name that a provider gives, if it is one of bearable length."""
    return value[:_MAX_WORD] if isinstance(value, str) and value else None


def rewrite_model(body: bytes, name: str) -> bytes:
    """The body with `name` as its top-level model; as it came where it has none or is not JSON (B41)."""
    new = jsonspan.quote(name)
    for start, end in reversed(model_spans(body)):
        body = jsonspan.splice(body, start, end, new)
    return body


def model_spans(body: bytes) -> list[tuple[int, int]]:
    """Where the string literals of its top-level model stand; the walk ends early where no other can follow."""
    spans: list[tuple[int, int]] = []
    try:
        for key, start, end, _ in jsonspan.members(body):
            if key == "model":
                if body.startswith(b'"', start):
                    spans.append((start, end))
                if body.find(b'"model"', end) < 0 and not jsonspan.escapes_letters(body):
                    break
    except jsonspan.NotJsonError:
        return []
    return spans
