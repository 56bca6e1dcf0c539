"""What is served: a row for each path and method, with all that follows from them (docs/operations.md)."""

from dataclasses import dataclass
from typing import Literal

Body = Literal["question", "form", "json", "upload", "none"]
"""question: a JSON object that names a model; form: multipart/form-data that does. Where none is named: json: a JSON
object, or nothing; upload: multipart/form-data; none: no body is passed on."""

Reading = Literal["model", "object", "text", "sound", "kept", "bytes"]
"""How a 2xx that is no event stream is read. model: by what the model said; object: JSON that tells no error; text: as
object where it is JSON, else whole and not empty; sound: as object where it is JSON, else passed on from its first
byte; kept: JSON that tells of something which is kept, its errors too; bytes: passed on from the first byte."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table of supported paths.

    `name` is the GenAI operation name where one exists; `path` is without `/v1`; `route` is the path template, the
    label of metrics and spans. `needs_model`: a body without one is refused; else the API has a default. `state`: it
    is about what a provider keeps, and names no model (B20a). `creates`: a second time would make a second one (B15a).
    """

    name: str
    method: str
    path: str
    route: str
    streams: bool
    body: Body = "question"
    answer: Reading = "model"
    needs_model: bool = True
    state: bool = False
    creates: bool = False


CHAT = Operation("chat", "POST", "/chat/completions", "/v1/chat/completions", streams=True)
COMPLETIONS = Operation("text_completion", "POST", "/completions", "/v1/completions", streams=True)
EMBEDDINGS = Operation("embeddings", "POST", "/embeddings", "/v1/embeddings", streams=False)
RESPONSES = Operation("responses", "POST", "/responses", "/v1/responses", streams=True)
MODELS = Operation("models", "GET", "/models", "/v1/models", streams=False)
MODEL = Operation("model", "GET", "/models/{id}", "/v1/models/{id}", streams=False)


def _post(
    name: str, path: str, *, streams: bool, body: Body, answer: Reading = "object", needs_model: bool = True
) -> Operation:
    return Operation(name, "POST", path, "/v1" + path, streams, body, answer, needs_model)


MODERATIONS = _post("moderations", "/moderations", streams=False, body="question", needs_model=False)
IMAGES = _post("image_generation", "/images/generations", streams=True, body="question", needs_model=False)
IMAGE_EDITS = _post("image_edit", "/images/edits", streams=True, body="form", needs_model=False)
IMAGE_VARIATIONS = _post("image_variation", "/images/variations", streams=False, body="form", needs_model=False)
SPEECH = _post("speech", "/audio/speech", streams=True, body="question", answer="sound")
TRANSCRIPTIONS = _post("transcription", "/audio/transcriptions", streams=True, body="form", answer="text")
TRANSLATIONS = _post("translation", "/audio/translations", streams=False, body="form", answer="text")


def _state(
    name: str,
    method: str,
    path: str,
    body: Body = "none",
    answer: Reading = "kept",
    *,
    creates: bool = False,
    streams: bool = False,
) -> Operation:
    return Operation(name, method, path, "/v1" + path, streams, body, answer, False, True, creates)


RESPONSE = _state("response_get", "GET", "/responses/{id}", streams=True)

_RESPONSES = (
    RESPONSE,
    _state("response_delete", "DELETE", "/responses/{id}"),
    _state("response_cancel", "POST", "/responses/{id}/cancel", "json"),
    _state("response_input", "GET", "/responses/{id}/input_items"),
    _state("conversation_create", "POST", "/conversations", "json", creates=True),
    _state("conversation_get", "GET", "/conversations/{id}"),
    _state("conversation_update", "POST", "/conversations/{id}", "json"),
    _state("conversation_delete", "DELETE", "/conversations/{id}"),
    _state("conversation_items", "GET", "/conversations/{id}/items"),
    _state("conversation_add", "POST", "/conversations/{id}/items", "json", creates=True),
    _state("conversation_item", "GET", "/conversations/{id}/items/{item}"),
    _state("conversation_remove", "DELETE", "/conversations/{id}/items/{item}"),
)
_FILES = (
    _state("file_create", "POST", "/files", "upload", creates=True),
    _state("file_list", "GET", "/files"),
    _state("file_get", "GET", "/files/{id}"),
    _state("file_delete", "DELETE", "/files/{id}"),
    _state("file_content", "GET", "/files/{id}/content", answer="bytes"),
    _state("upload_create", "POST", "/uploads", "json", creates=True),
    _state("upload_part", "POST", "/uploads/{id}/parts", "upload", creates=True),
    _state("upload_complete", "POST", "/uploads/{id}/complete", "json", creates=True),
    _state("upload_cancel", "POST", "/uploads/{id}/cancel", "json"),
)
_BATCHES = (
    _state("batch_create", "POST", "/batches", "json", creates=True),
    _state("batch_list", "GET", "/batches"),
    _state("batch_get", "GET", "/batches/{id}"),
    _state("batch_cancel", "POST", "/batches/{id}/cancel", "json"),
)

OPERATIONS: tuple[Operation, ...] = (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    RESPONSES,
    MODERATIONS,
    IMAGES,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    *_RESPONSES,
    *_FILES,
    *_BATCHES,
    MODELS,
    MODEL,
)

BY_WORD: dict[str, tuple[Operation, ...]] = {
    "Chat": (CHAT,),
    "Completions": (COMPLETIONS,),
    "Embeddings": (EMBEDDINGS,),
    "Responses": (RESPONSES, *_RESPONSES),
    "Images": (IMAGES, IMAGE_EDITS, IMAGE_VARIATIONS),
    "Audio": (SPEECH, TRANSCRIPTIONS, TRANSLATIONS),
    "Moderations": (MODERATIONS,),
    "Files": _FILES,
    "Batches": _BATCHES,
}
"""As `operations` of a Provider names them."""
