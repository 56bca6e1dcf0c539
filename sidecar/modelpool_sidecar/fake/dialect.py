"""What a fake provider answers: from a request and the step that applies to the bytes, the waits and the end.

Order: a scripted status, then what the API itself would refuse (path, method, key, body, model), then the answer.
Connection faults that send no answer at all (Refuse, Reset, Hang) are the connection's business.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from modelpool_config.models import FakeStep
from modelpool_sidecar.fake import chat, embeddings, errors, question, responses, stream
from modelpool_sidecar.fake.errors import APIError, to_bytes
from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.raw import Ending, Framing, Part, RawAnswer
from modelpool_sidecar.fake.script import Turn
from modelpool_sidecar.fake.speech import GREETING, greet, speak

_JSON = ("content-type", "application/json")
_SSE = ("content-type", "text/event-stream; charset=utf-8")
_ENDINGS: dict[str | None, Ending] = {"Cut": "cut", "Stall": "stall"}
_NO_BODY = frozenset({204, 205, 304})
LISTED_MODEL = "fake"
"""What /v1/models lists where every model is known."""


@dataclass(frozen=True, slots=True)
class Character:
    """Who the provider is. `api_key` None: any key, or none. `models` None: every model is known. `retry_after`:
    seconds that a 429 tells, where the script does not say how long the step lasts."""

    name: str
    greeting: str = GREETING
    api_key: str | None = None
    models: tuple[str, ...] | None = None
    retry_after: float = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as the dialect cares. `serial` makes its ids, `created` is wall time in seconds."""

    method: str
    path: str
    authorization: str | None
    body: bytes
    serial: str
    created: int


def answer(asked: Asked, character: Character, turn: Turn) -> RawAnswer:
    """The answer to this request while this step applies."""
    step = turn.step
    retry_after = character.retry_after if turn.remaining is None else max(0.001, turn.remaining)
    told = errors.scripted(step.status, step.error) if step.error or (step.status or 200) >= 300 else None
    if told is not None and told.status >= 300:
        return _refused(told, asked, step, retry_after)
    wanted = _understand(asked, character)
    if isinstance(wanted, APIError):
        return _refused(wanted, asked, step, retry_after)
    if told is not None and not (isinstance(wanted, Question) and wanted.stream):
        return _whole(told.body, asked, step)
    if not isinstance(wanted, Question):
        return _whole(wanted, asked, step)
    return _reply(wanted, asked, character, step, told)


def _understand(asked: Asked, character: Character) -> Question | APIError | dict[str, object]:
    """What is asked of a model; or what the API says without one: a refusal, a list of models."""
    path = asked.path.removeprefix("/v1")
    names = (LISTED_MODEL,) if character.models is None else character.models
    operation = question.PATHS.get(path)
    is_list, is_model = path == "/models", path.startswith("/models/") and path.count("/") >= 2
    if not asked.path.startswith("/v1/") or (operation is None and not is_list and not is_model):
        return errors.unknown_url(asked.method, asked.path)
    if asked.method != ("GET" if operation is None else "POST"):
        return errors.wrong_method(asked.method, asked.path)
    if character.api_key is not None and asked.authorization != f"Bearer {character.api_key}":
        return errors.unauthorized(given=asked.authorization is not None)
    if is_list:
        return {"object": "list", "data": [_model(name) for name in names]}
    wanted = question.read(operation, asked.body) if operation else None
    if isinstance(wanted, APIError):
        return wanted
    name = wanted.model if wanted else unquote(path.removeprefix("/models/"))
    if character.models is not None and name not in character.models:
        return errors.unknown_model(name)
    return wanted or _model(name)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelpool-fake"}


def _reply(wanted: Question, asked: Asked, character: Character, step: FakeStep, told: APIError | None) -> RawAnswer:
    """The model's answer; `told`: the error that breaks it inside a stream."""
    if wanted.operation == "embeddings":
        return _whole(embeddings.embeddings(wanted), asked, step)
    stops = step.fault in _ENDINGS or told is not None
    greeting = greet(character.greeting, character.name, wanted.model)
    count = wanted.choices * (len(wanted.inputs) if wanted.operation == "completions" else 1)
    length = None if stops else step.tokens
    speeches = [speak(wanted, greeting, f"{asked.serial}{index or ''}", length) for index in range(count)]
    if stops and step.tokens and not wanted.tools and wanted.schema is None:
        longer = max(step.tokens + 1, len(speeches[0].tokens))
        speeches[0] = speak(wanted, greeting, asked.serial, longer)
    if not wanted.stream:
        make = {"chat": chat.chat, "completions": chat.completion}.get(wanted.operation)
        if make is None:
            return _whole(responses.response(wanted, speeches[0], asked.serial, asked.created), asked, step)
        return _whole(make(wanted, speeches, asked.serial, asked.created), asked, step)
    if wanted.operation == "responses":
        events = responses.response_events(wanted, speeches[0], asked.serial, asked.created)
    elif wanted.operation == "chat":
        events = chat.chat_events(wanted, speeches, asked.serial, asked.created)
    else:
        events = chat.completion_events(wanted, speeches, asked.serial, asked.created)
    parts: Iterable[Part] = stream.paced(events, step, (step.tokens or 0) if stops else None)
    if told is not None:
        parts = _then(parts, _error_event(wanted, asked, told))
    return RawAnswer(
        status=step.status or 200,
        headers=(_SSE, ("cache-control", "no-cache"), *_headers(asked, limited=False, retry_after=0)),
        body=parts,
        ends=_ENDINGS.get(step.fault, "clean"),
    )


def _error_event(wanted: Question, asked: Asked, told: APIError) -> bytes:
    if wanted.operation == "responses":
        return responses.failure_events(wanted, asked.serial, asked.created, told)
    return stream.data(told.body)


def _then(parts: Iterable[Part], last: bytes) -> Iterator[Part]:
    yield from parts
    yield last


def _whole(body: object, asked: Asked, step: FakeStep) -> RawAnswer:
    """JSON in one piece. Cut and Stall: `tokens` 0 = nothing of it, more = about that share of it, never all."""
    status = step.status or 200
    raw = b"" if status in _NO_BODY else to_bytes(body)
    sent = raw
    if step.fault in _ENDINGS:
        sent = raw[: len(raw) * (step.tokens or 0) // ((step.tokens or 0) + 1)]
    framing: Framing = "none" if status in _NO_BODY else "length"
    return RawAnswer(
        status=status,
        headers=(_JSON, *_headers(asked, limited=False, retry_after=0)),
        body=(sent,),
        framing=framing,
        content_length=len(raw),
        ends=_ENDINGS.get(step.fault, "clean"),
        before=stream.first_token_seconds(step),
    )


def _refused(error: APIError, asked: Asked, step: FakeStep, retry_after: float) -> RawAnswer:
    """An error with its status; a redirect says where to."""
    raw = b"" if error.status in _NO_BODY else to_bytes(error.body)
    headers = [_JSON, *_headers(asked, limited=errors.is_rate_limit(error), retry_after=retry_after)]
    if 300 <= error.status < 400:
        headers.append(("location", "/elsewhere" + asked.path))
    return RawAnswer(
        status=error.status,
        headers=tuple(headers),
        body=(raw,),
        framing="none" if error.status in _NO_BODY else "length",
        before=stream.first_token_seconds(step),
    )


def _headers(asked: Asked, *, limited: bool, retry_after: float) -> list[tuple[str, str]]:
    return [
        ("x-request-id", f"req_{asked.serial}"),
        ("openai-version", "2020-10-01"),
        ("openai-organization", "fake-organization"),
        ("openai-processing-ms", "1"),
        *errors.rate_headers(limited=limited, retry_after=retry_after),
    ]
