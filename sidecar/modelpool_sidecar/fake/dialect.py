"""What a fake provider answers: from a request and the step that applies to the bytes, the waits and the end.

Order: a scripted status, then what the API itself would refuse (path, method, key, body, model), then the answer.
Connection faults that send no answer at all (Refuse, Reset, Hang) are the connection's business.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count
from typing import Any
from urllib.parse import unquote

from modelpool_config.models import FakeStep
from modelpool_sidecar.fake import chat, embeddings, errors, keeping, media, question, responses, stream
from modelpool_sidecar.fake.errors import APIError, to_bytes
from modelpool_sidecar.fake.keeping import Asking, Store, Told
from modelpool_sidecar.fake.media import Made, Wanted
from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.raw import Ending, Part, RawAnswer
from modelpool_sidecar.fake.script import Turn
from modelpool_sidecar.fake.speech import GREETING, Speech, begun, greet, plain, speak

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
    content_type: str = ""
    query: str = ""


def answer(asked: Asked, character: Character, turn: Turn, store: Store) -> RawAnswer:
    """The answer to this request while this step applies; `store`: what it keeps, changed by what is asked."""
    step = turn.step
    retry_after = character.retry_after if turn.remaining is None else max(0.001, turn.remaining)
    told = errors.scripted(step.status, step.error) if step.error or (step.status or 200) >= 300 else None
    if told is not None and told.status >= 300:
        return _refused(told, asked, step, retry_after)
    wanted = _understand(asked, character, store)
    if isinstance(wanted, APIError):
        return _refused(wanted, asked, step, retry_after)
    if told is not None and not (isinstance(wanted, Question | Wanted) and wanted.stream):
        return _whole(told.body, asked, step)
    if isinstance(wanted, Wanted):
        return _media(wanted, asked, character, step, told)
    if isinstance(wanted, list):
        return _streamed(stream.paced(wanted, step, None), asked, step)
    if isinstance(wanted, Made):
        return _bytes(step.status or 200, _headers(asked), wanted, step)
    if not isinstance(wanted, Question):
        return _whole(wanted, asked, step)
    return _reply(wanted, asked, character, step, told, store)


def _understand(asked: Asked, character: Character, store: Store) -> Question | Wanted | Told:
    """What is asked of a model; or what the API says without one: a refusal, a list of models."""
    path = asked.path.removeprefix("/v1")
    names = (LISTED_MODEL,) if character.models is None else character.models
    operation, medium = question.PATHS.get(path), media.PATHS.get(path)
    is_list, is_model = path == "/models", path.startswith("/models/") and path.count("/") >= 2
    kept = keeping.knows(path, asked.method)
    if not asked.path.startswith("/v1/") or (not kept and operation is medium is None and not is_list and not is_model):
        return errors.unknown_url(asked.method, asked.path)
    if not kept and asked.method != ("GET" if operation is medium is None else "POST"):
        return errors.wrong_method(asked.method, asked.path)
    if character.api_key is not None and asked.authorization != f"Bearer {character.api_key}":
        return errors.unauthorized(given=asked.authorization is not None)
    if kept:
        return store.answer(_asking(asked, path, character))
    if is_list:
        return {"object": "list", "data": [_model(name) for name in names]}
    wanted: Question | Wanted | APIError | None = question.read(operation, asked.body) if operation else None
    if medium is not None:
        wanted = media.read(medium, asked.content_type, asked.body)
    if isinstance(wanted, APIError):
        return wanted
    name = wanted.model if wanted else unquote(path.removeprefix("/models/"))
    if character.models is not None and name not in character.models:
        return errors.unknown_model(name)
    if operation == "responses" and isinstance(wanted, Question) and (lack := store.lacks(wanted)) is not None:
        return lack
    return wanted or _model(name)


def _asking(asked: Asked, path: str, character: Character) -> Asking:
    greeting = greet(character.greeting, character.name, "batch")
    about = (asked.method, path, asked.query, asked.content_type, asked.body, asked.serial, asked.created)
    return Asking(*about, greeting)


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "modelpool-fake"}


def _reply(
    wanted: Question, asked: Asked, character: Character, step: FakeStep, told: APIError | None, store: Store
) -> RawAnswer:
    """The model's answer; `told`: the error that breaks it inside a stream."""
    if wanted.operation == "embeddings":
        return _whole(embeddings.embeddings(wanted), asked, step)
    stops = step.fault in _ENDINGS or told is not None
    speeches = _speeches(wanted, asked, character, step.tokens, stops=stops)
    queued = None
    if wanted.operation == "responses" and not stops:
        queued = store.keep_response(wanted, speeches[0], asked.serial, asked.created)
    if not wanted.stream:
        return _whole(queued or _body(wanted, speeches, asked), asked, step)
    numbers = count()
    events = _events(wanted, speeches, asked, numbers)
    parts: Iterable[Part] = stream.paced(events, step, (step.tokens or 0) if stops else None)
    if told is not None:
        parts = _then(parts, lambda: _error_event(wanted, asked, numbers, told))
    return _streamed(parts, asked, step)


def _streamed(parts: Iterable[Part], asked: Asked, step: FakeStep) -> RawAnswer:
    return RawAnswer(
        status=step.status or 200,
        headers=(_SSE, ("cache-control", "no-cache"), *_headers(asked)),
        body=parts,
        ends=_ENDINGS.get(step.fault, "clean"),
    )


def _media(wanted: Wanted, asked: Asked, character: Character, step: FakeStep, told: APIError | None) -> RawAnswer:
    """Pictures, sound, transcripts, verdicts; `told` as in `_reply`."""
    greeting = greet(character.greeting, character.name, wanted.model)
    if not wanted.stream:
        return _bytes(
            step.status or 200, _headers(asked), media.make(wanted, greeting, asked.serial, asked.created), step
        )
    stops = step.fault in _ENDINGS or told is not None
    events = media.events(wanted, greeting, asked.created)
    parts: Iterable[Part] = stream.paced(events, step, (step.tokens or 0) if stops else None)
    if told is not None:
        parts = _then(parts, lambda: stream.data(told.body))
    return _streamed(parts, asked, step)


def _speeches(wanted: Question, asked: Asked, character: Character, tokens: int | None, *, stops: bool) -> list[Speech]:
    """One for each choice. Where a fault stops it after `tokens`, there is always more to say than that."""
    greeting = greet(character.greeting, character.name, wanted.model)
    if stops:
        tokens = max((tokens or 0) + 1, len(plain(greeting, None))) + begun(wanted)
    choices = wanted.choices * (len(wanted.inputs) if wanted.operation == "completions" else 1)
    return [speak(wanted, greeting, f"{asked.serial}{index or ''}", tokens) for index in range(choices)]


def _body(wanted: Question, speeches: Sequence[Speech], asked: Asked) -> dict[str, Any]:
    if wanted.operation == "responses":
        return responses.response(wanted, speeches[0], asked.serial, asked.created)
    make = chat.chat if wanted.operation == "chat" else chat.completion
    return make(wanted, speeches, asked.serial, asked.created)


def _events(
    wanted: Question, speeches: Sequence[Speech], asked: Asked, numbers: Iterator[int]
) -> Iterator[stream.Event]:
    if wanted.operation == "responses":
        return responses.response_events(wanted, speeches[0], asked.serial, asked.created, numbers)
    make = chat.chat_events if wanted.operation == "chat" else chat.completion_events
    return make(wanted, speeches, asked.serial, asked.created)


def _error_event(wanted: Question, asked: Asked, numbers: Iterator[int], told: APIError) -> bytes:
    if wanted.operation == "responses":
        return responses.failure_events(wanted, asked.serial, asked.created, numbers, told)
    return stream.data(told.body)


def _then(parts: Iterable[Part], last: Callable[[], bytes]) -> Iterator[Part]:
    yield from parts
    yield last()


def _refused(error: APIError, asked: Asked, step: FakeStep, retry_after: float) -> RawAnswer:
    """An error with its status; a redirect says where to, a 429 when to come again."""
    headers = _headers(asked, retry_after if errors.is_rate_limit(error) else None)
    if 300 <= error.status < 400:
        headers.append(("location", "/elsewhere" + asked.path))
    return _json(error.status, headers, error.body, step)


def _whole(body: object, asked: Asked, step: FakeStep) -> RawAnswer:
    return _json(step.status or 200, _headers(asked), body, step)


def _json(status: int, headers: list[tuple[str, str]], body: object, step: FakeStep) -> RawAnswer:
    return _bytes(status, headers, Made("application/json", to_bytes(body)), step)


def _bytes(status: int, headers: list[tuple[str, str]], made: Made, step: FakeStep) -> RawAnswer:
    """In one piece. Cut and Stall: without `tokens` the head alone, else a part of the body, never all of it."""
    raw = b"" if status in _NO_BODY else made.content
    tokens = step.tokens or 0
    sent = raw[: len(raw) * tokens // (tokens + 1)] if step.fault in _ENDINGS else raw
    return RawAnswer(
        status=status,
        headers=(("content-type", made.media_type), *headers),
        body=(sent,),
        framing="none" if status in _NO_BODY else "length",
        content_length=len(raw),
        ends=_ENDINGS.get(step.fault, "clean"),
        before=stream.first_token_seconds(step),
    )


def _headers(asked: Asked, retry_after: float | None = None) -> list[tuple[str, str]]:
    return [
        ("date", formatdate(asked.created, usegmt=True)),
        ("server", "modelpool-fake"),
        ("x-request-id", f"req_{asked.serial}"),
        ("openai-version", "2020-10-01"),
        ("openai-organization", "fake-organization"),
        ("openai-processing-ms", "1"),
        *errors.rate_headers(retry_after),
    ]
