"""What is served: a row for each path and method, with all that follows from them (docs/operations.md)."""

from dataclasses import dataclass
from typing import Literal

Body = Literal["question", "form"]
"""question: a JSON object that names a model; form: multipart/form-data that does."""

Reading = Literal["model", "object", "text", "sound"]
"""How a 2xx that is no event stream is read. model: by what the model said; object: JSON that tells no error; text: as
object where it is JSON, else whole and not empty; sound: as object where it is JSON, else passed on from its first
byte."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table of supported paths.

    `name` is the GenAI operation name where one exists; `path` is without `/v1`; `route` is the path template, the
    label of metrics and spans. `needs_model`: a body without one is refused; else the API has a default.
    """

    name: str
    method: str
    path: str
    route: str
    streams: bool
    body: Body = "question"
    answer: Reading = "model"
    needs_model: bool = True


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
    MODELS,
    MODEL,
)

BY_WORD: dict[str, tuple[Operation, ...]] = {
    "Chat": (CHAT,),
    "Completions": (COMPLETIONS,),
    "Embeddings": (EMBEDDINGS,),
    "Responses": (RESPONSES,),
    "Images": (IMAGES, IMAGE_EDITS, IMAGE_VARIATIONS),
    "Audio": (SPEECH, TRANSCRIPTIONS, TRANSLATIONS),
    "Moderations": (MODERATIONS,),
}
"""As `operations` of a Provider names them."""
