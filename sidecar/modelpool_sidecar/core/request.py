"""What a client asks for: the request line, headers and body as one value, or the refusal that they deserve (B43).

Nothing is looked up here: which pool a model name means is routing's. The body stays bytes; of its members only
`model`, `stream` and `stream_options.include_usage` are read, and the place of the model's string literal is kept, so
that a target's own model name can be spliced in without touching anything else (B40).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelpool_sidecar.core import jsonspan, multipart, operations
from modelpool_sidecar.core.catalogue import RESPONSES, SPEECH, Operation
from modelpool_sidecar.core.multipart import Form
from modelpool_sidecar.core.origin import judge_origin
from modelpool_sidecar.core.refusal import Refusal

__all__ = ["MAX_MODEL_LENGTH", "Headers", "Operation", "Request", "judge_origin", "parse"]

Headers = tuple[tuple[str, str], ...]
"""Name and value pairs in order, names in lower case."""

MAX_CHOICES = 128
"""The most that the API gives for one prompt, and the most that a stream is watched for."""
MAX_MODEL_LENGTH = 512
"""Characters; the longest names in use are resource names of clouds."""

_KINDS = ((str, "a string"), (list, "an array"), (dict, "an object"))

_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Ties:
    """What binds a request to one provider. `creates`: a second attempt would make a second one (B15a).

    Of a question to the Responses API: `refers`: it names a response or a conversation, or is to be answered in the
    background; `kept`: its answer is kept for later.
    """

    refers: bool = False
    kept: bool = False
    creates: bool = False


FREE = Ties()
MAKES = Ties(creates=True)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be routed.

    `model` is what the client asked for: `x-modelpool-model` wins over the body's. `model_span`: the byte offsets of
    the body's own model literal, quotes included, None where the body has none. `query` is raw, without its question
    mark. `pinned`: x-modelpool-target. `client_retry`: how often the client's SDK says it has already tried.
    `read_timeout`: the seconds after which it says it will give up. `model_id`: the name in the path of a model.
    `choices`: how many answers it asks for, by `n` and the number of prompts. `form`: where the fields of the body
    stand, if it is a form; `model_span` is then the span of the field's text.

    `path`: below /v1, where ids stand in it. `pool`: x-modelpool-pool. `ties`: what binds it to one provider.
    """

    operation: Operation
    query: str
    headers: Headers
    body: bytes
    model: str | None
    model_span: tuple[int, int] | None
    stream: bool
    include_usage: bool
    pinned: str | None
    client_retry: int
    read_timeout: float | None
    model_id: str | None
    choices: int = 1
    form: Form | None = None
    path: str | None = None
    pool: str | None = None
    ties: Ties = FREE

    def hurry(self, total: float) -> float | None:
        """The client's own timeout in seconds, where it is shorter than the pool's `total` (B15)."""
        return self.read_timeout if self.read_timeout is not None and self.read_timeout < total else None

    def __repr__(self) -> str:
        return f"<Request {self.operation.name} model={self.model!r} stream={self.stream} {len(self.body)} bytes>"


def parse(method: str, target: str, headers: Headers, body: bytes) -> Request | Refusal:
    """The request, or why it is refused. `target`: the raw request target, path and query as received."""
    path, query = operations.split_target(target)
    said = dict(reversed(headers))  # the first of several counts
    found = operations.find(method, path, said.get("host", ""))
    if isinstance(found, Refusal):
        return found
    operation, held = found
    if not operations.plain_query(query):
        return Refusal("invalid_request", "the query holds a character that must be percent-encoded")
    asked = _asked(operation, said, body) if operation.method == "POST" else _asked_by_path(operation, said, query)
    if isinstance(asked, Refusal):
        return asked
    return Request(
        operation=operation,
        query=query,
        headers=headers,
        body=b"" if operation.body == "none" else body,
        model=asked.model,
        model_span=asked.span,
        stream=asked.stream and operation.streams,
        include_usage=asked.include_usage,
        pinned=said.get("x-modelpool-target") or None,
        client_retry=_count(said.get("x-stainless-retry-count")),
        read_timeout=_seconds(said.get("x-stainless-read-timeout")),
        model_id=None if operation.state else held,
        choices=asked.choices,
        form=asked.form,
        path=held if operation.state else None,
        pool=said.get("x-modelpool-pool") or None,
        ties=MAKES if operation.creates else asked.ties,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the body and the routing header ask for together."""

    model: str | None = None
    span: tuple[int, int] | None = None
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    form: Form | None = None
    ties: Ties = FREE


def _asked_by_path(operation: Operation, said: Mapping[str, str], query: str) -> _Asked | Refusal:
    """Of a request without a body: a header may name a model whose pool is meant."""
    model = _model(said.get("x-modelpool-model"), {}) if operation.state else None
    if isinstance(model, Refusal):
        return model
    return _Asked(model=model, stream="stream=true" in query.split("&"))


def _asked(operation: Operation, said: Mapping[str, str], body: bytes) -> _Asked | Refusal:
    if operation.state:
        return _asked_of_state(operation, said, body)
    if operation.body == "form":
        return _asked_by_form(operation, said, body)
    refusal = _judge_framing(said)
    if refusal is not None:
        return refusal
    if not body:
        return Refusal("invalid_json", "the body is empty; a JSON object was expected")
    try:
        document = jsonspan.decode(body)
        if not isinstance(document, dict):
            return Refusal("invalid_body", f"the body must be a JSON object, not {_kind(document)}")
        span = _locate(body, document)
    except jsonspan.NotJsonError as exc:
        return Refusal("invalid_json", f"the body is not valid JSON: {exc}")
    if isinstance(span, Refusal):
        return span
    model = _model(said.get("x-modelpool-model"), document)
    if isinstance(model, Refusal):
        return model
    if model is None and operation.needs_model:
        return Refusal("missing_model", 'the body has no model; name one, for example {"model": "chat"}', param="model")
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        return Refusal("invalid_stream", f"stream must be true or false, not {_kind(stream)}", param="stream")
    options = document.get("stream_options")
    return _Asked(
        model=model,
        span=span,
        stream=stream is True or (operation is SPEECH and document.get("stream_format") == "sse"),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=_choices(document),
        ties=_ties(document) if operation is RESPONSES else FREE,
    )


def _ties(document: dict[str, Any]) -> Ties:
    makes = document.get("background") is True or bool(document.get("conversation"))
    refers = makes or bool(document.get("previous_response_id"))
    return Ties(refers, document.get("store") is not False, makes)


def _asked_of_state(operation: Operation, said: Mapping[str, str], body: bytes) -> _Asked | Refusal:
    """Of what a provider is to keep only the framing is looked at: the rest is between it and the client."""
    refusal: Refusal | None = None
    if operation.body == "upload":
        form = _form(operation, said, body)
        refusal = form if isinstance(form, Refusal) else None
    elif body:
        refusal = _judge_framing(said) or _judge_object(body)
    return refusal or _asked_by_path(operation, said, "")


def _judge_object(body: bytes) -> Refusal | None:
    try:
        document = jsonspan.decode(body)
    except jsonspan.NotJsonError as exc:
        return Refusal("invalid_json", f"the body is not valid JSON: {exc}")
    if isinstance(document, dict):
        return None
    return Refusal("invalid_body", f"the body must be a JSON object, not {_kind(document)}")


def _asked_by_form(operation: Operation, said: Mapping[str, str], body: bytes) -> _Asked | Refusal:
    """The same of a form; of its fields only `model` and `stream` are read."""
    form = _form(operation, said, body)
    if isinstance(form, Refusal):
        return form
    texts = _texts(form, body)
    if isinstance(texts, Refusal):
        return texts
    model = _model(said.get("x-modelpool-model"), texts)
    if isinstance(model, Refusal):
        return model
    if model is None and operation.needs_model:
        return Refusal("missing_model", "the form has no field model; name one, for example model=chat", param="model")
    if model is not None and multipart.breaks(form, model.encode("utf-8")):
        return Refusal("invalid_model", "model must not begin with the boundary of the form", param="model")
    stream = texts.get("stream", "false").strip().lower()
    if stream not in ("true", "false", ""):
        return Refusal("invalid_stream", "stream must be true or false", param="stream")
    span = next(((field.start, field.end) for field in form.named("model")), None)
    return _Asked(model=model, span=span, stream=stream == "true", form=form)


def _form(operation: Operation, said: Mapping[str, str], body: bytes) -> Form | Refusal:
    kind = said.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        return Refusal("unsupported_media_type", f"{operation.route} takes multipart/form-data, not {_shown(kind)}")
    mark = multipart.boundary(kind)
    if mark is None:
        return Refusal("invalid_body", "Content-Type names no boundary, or one that cannot be used")
    refusal = _judge_encoding(said)
    if refusal is not None:
        return refusal
    try:
        return multipart.parse(body, mark)
    except multipart.NotFormError as exc:
        return Refusal("invalid_body", f"the body is not well-formed multipart/form-data: {exc}")


def _texts(form: Form, body: bytes) -> dict[str, str] | Refusal:
    """What the form says in the fields that are read."""
    texts: dict[str, str] = {}
    for name in ("model", "stream"):
        fields = form.named(name)
        if len(fields) > 1:
            return Refusal("duplicate_key", f"the body has more than one {name}", param=name)
        if fields and fields[0].is_file:
            return Refusal(f"invalid_{name}", f"{name} must be a plain field, not a file", param=name)
        if fields:
            texts[name] = body[fields[0].start : fields[0].end].decode("utf-8", "surrogateescape")
    return texts


def choices(body: bytes) -> int:
    """How many answers a body asks for that was changed on its way."""
    return _choices(jsonspan.decode(body))


def _choices(document: dict[str, Any]) -> int:
    """`n` for each prompt; a list of numbers is one prompt, in tokens. What is odd counts as one."""
    n, prompts = document.get("n"), document.get("prompt")
    each = n if isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MAX_CHOICES else 1
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        return min(MAX_CHOICES, each * len(prompts))
    return each


def _judge_framing(said: Mapping[str, str]) -> Refusal | None:
    """Whether the body comes as plain JSON, by what its headers say. No content type at all is taken for JSON."""
    kind = said.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", ""):
        hint = " (curl: -H 'Content-Type: application/json')" if kind.endswith("urlencoded") else ""
        return Refusal("unsupported_media_type", f"Content-Type must be application/json, not {_shown(kind)}{hint}")
    return _judge_encoding(said)


def _shown(kind: str) -> str:
    """A media type for a sentence."""
    plain = kind.partition(";")[0].strip().lower().encode("ascii", "backslashreplace").decode("ascii")[:100]
    return plain or "nothing"


def _judge_encoding(said: Mapping[str, str]) -> Refusal | None:
    if said.get("content-encoding", "").strip().lower() not in ("", "identity"):
        return Refusal("unsupported_encoding", "Content-Encoding is not supported: send the body uncompressed")
    return None


def _locate(body: bytes, document: dict[str, Any]) -> tuple[int, int] | Refusal | None:
    """The span of the top-level model, None where there is none; a refusal where `model` or `stream` stands twice."""
    if "model" in document and body.count(b'"stream"') <= 1:
        quick = jsonspan.sole_string(body, b"model")
        if quick is not None:
            return quick
    spans: dict[str, tuple[int, int]] = {}
    for member in jsonspan.members(body):
        if member.key in ("model", "stream"):
            if member.key in spans:
                return Refusal("duplicate_key", f"the body has more than one {member.key}", param=member.key)
            spans[member.key] = (member.start, member.end)
    return spans.get("model")


def _model(named: str | None, document: Mapping[str, Any]) -> str | Refusal | None:
    """The name asked for, None where neither header nor body names one. The body's must be sound even where the
    header wins: the provider would refuse it anyway."""
    if "model" in document:
        refusal = _judge_model(document["model"], "model")
        if refusal is not None:
            return refusal
    if named is not None:
        return _judge_model(named, "x-modelpool-model") or named
    return str(document["model"]) if "model" in document else None


def _judge_model(model: Any, param: str) -> Refusal | None:
    if not isinstance(model, str):
        fault = f"must be a string, not {_kind(model)}"
    elif not model:
        fault = "must not be empty"
    elif len(model) > MAX_MODEL_LENGTH:
        fault = f"must have at most {MAX_MODEL_LENGTH} characters, not {len(model)}"
    elif _UNFIT.search(model):
        fault = "must not contain control characters or half a surrogate pair"
    else:
        return None
    return Refusal("invalid_model", f"{param} {fault}", param=param)


def _kind(value: Any) -> str:
    """What JSON calls it, for a sentence."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            return words
    return "a number"


def _count(value: str | None) -> int:
    return int(value) if value and value.isascii() and value.isdigit() and len(value) <= 6 else 0


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None
