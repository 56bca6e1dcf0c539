"""What a complete answer came to that is no model's text: pictures, sound, transcripts, verdicts."""

from modelpool_sidecar.core import jsonspan, usage
from modelpool_sidecar.core.catalogue import IMAGE_EDITS, IMAGE_VARIATIONS, IMAGES, MODERATIONS, Operation
from modelpool_sidecar.core.outcome import NO_ERROR, Outcome
from modelpool_sidecar.dialects.openai_answer import Answer, word
from modelpool_sidecar.dialects.openai_errors import error_of

_LISTS = {
    MODERATIONS.name: "results",
    IMAGES.name: "data",
    IMAGE_EDITS.name: "data",
    IMAGE_VARIATIONS.name: "data",
}
"""What an answer is empty without."""


def judge(operation: Operation, body: bytes, kind: str) -> Answer:
    """The answer of a complete 2xx body of that media type. Empty: no bytes, nothing made, or an error in a success."""
    if not body.strip(b" \t\r\n"):
        nothing_is_all = operation.answer == "bytes" or operation.method == "DELETE"
        return Answer(Outcome.OK if nothing_is_all else Outcome.EMPTY)
    if not is_json(kind) and operation.answer == "text":
        return Answer(Outcome.OK)
    try:
        document = jsonspan.decode(body)
    except jsonspan.NotJsonError:
        return Answer(Outcome.BROKEN)
    if not isinstance(document, dict):
        return Answer(Outcome.BROKEN)
    told = document.get("error")
    if operation.answer == "kept":  # what is kept may have failed, and has been counted
        empty = not document or (told and "id" not in document)
        return Answer(Outcome.EMPTY if empty else Outcome.OK, error=error_of(document) if empty else NO_ERROR)
    made = document.get(_LISTS[operation.name]) if operation.name in _LISTS else document
    return Answer(
        outcome=Outcome.EMPTY if told or not made else Outcome.OK,
        usage=usage.read(document.get("usage")),
        model=word(document.get("model")),
        response_id=word(document.get("id")),
        error=error_of(document) if told else NO_ERROR,
    )


def is_json(kind: str) -> bool:
    """Whether a media type is JSON; none at all is taken for it."""
    return kind in ("", "application/json") or kind.endswith("+json")
