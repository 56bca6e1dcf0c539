"""What stands in a span: its name, its attributes, whether it is an error. Pure: records in, plain values out.

Three kinds (telemetry.md): the server span of the request, the logical span of the model call over all attempts, a
client span for each attempt. They are worked out after the fact, from the records; nothing is built for a request
that is not sampled.
"""

from dataclasses import dataclass
from urllib.parse import quote

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.telemetry import clean, names

Attributes = dict[str, str | bool | int | float | tuple[str, ...]]

_FINE = frozenset({Outcome.OK, Outcome.CANCELLED, Outcome.CONTENT_POLICY})
"""With a status below 400 these are no error: a client may leave, and a filtered answer is an answer."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom an attempt asks."""

    method: str
    url: str
    host: str
    port: int


def server_name(method: str, route: str) -> str:
    """`POST /v1/chat/completions`; the method alone where the path is none of ours."""
    shown = method if method in names.METHODS else "HTTP"
    return f"{shown} {route}" if _is_path(route) else shown


def chat_name(operation: str, model: str | None) -> str:
    """`chat gpt-4o`, by the GenAI name of the operation."""
    gen_ai = names.OPERATIONS.get(operation)
    return f"{gen_ai.name if gen_ai else operation} {clean.text(model or '')}".rstrip()


def attempt_name(method: str) -> str:
    """The method: hosts and paths are attributes."""
    return method if method in names.METHODS else "HTTP"


def server_error(record: Record) -> str | None:
    """`error.type` of the server span. A status of 4xx is the client's doing, a client that leaves is nobody's."""
    if record.outcome is Outcome.CANCELLED:
        return None
    if record.status >= 500:
        return record.refusal or str(record.status)
    return _broken_off(record) if record.status < 400 else None


def chat_error(record: Record) -> str | None:
    """`error.type` of the logical span: the outcome of the last attempt, our refusal where there is none."""
    if record.outcome is Outcome.CANCELLED:
        return None
    if record.status >= 400:
        fault = None if record.outcome in (None, Outcome.OK) else record.outcome
        return fault or record.refusal or str(record.status)
    return _broken_off(record)


def attempt_error(attempt: AttemptRecord) -> str | None:
    """`error.type` of an attempt: its status where that is an error, else the outcome."""
    if attempt.outcome is Outcome.CANCELLED:
        return None
    if attempt.status is not None and attempt.status >= 400:
        return str(attempt.status)
    return None if attempt.outcome in _FINE else attempt.outcome.value


def server_attributes(record: Record, user_agent: str | None) -> Attributes:
    """Of the request as the client made it, with the way that it took here."""
    attributes: Attributes = {
        names.HTTP_METHOD: _method(record.method),
        names.URL_SCHEME: "http",
        names.POOL: record.pool_label,
        names.ATTEMPTS: len(record.attempts),
    }
    if _is_path(record.route):
        attributes[names.HTTP_ROUTE] = record.route
        path = record.route
        if "{id}" in path:
            path = path.replace("{id}", quote(clean.text(record.requested_model or ""), safe=""))
        attributes[names.URL_PATH] = path
    if record.status >= 100:
        attributes[names.HTTP_STATUS] = record.status
    if user_agent:
        attributes[names.USER_AGENT] = clean.text(user_agent)
    _add(attributes, names.REFUSAL, record.refusal)
    _add(attributes, names.CALLER, record.caller)
    if record.queued is not None:
        attributes[names.QUEUED] = round(record.queued * 1000, 1)
    _add(attributes, names.CACHE, record.cache)
    _add(attributes, names.TARGET, record.target)
    _add(attributes, names.OUTCOME, record.outcome)
    _add(attributes, names.CONFIG, record.config or None)
    _add(attributes, names.ERROR_TYPE, server_error(record))
    return attributes


def chat_attributes(record: Record, peer: Peer) -> Attributes:
    """Of the logical call: what was asked for, who answered (`peer`), what it cost."""
    gen_ai = names.OPERATIONS.get(record.operation)
    attributes: Attributes = {
        names.GEN_AI_OPERATION: gen_ai.name if gen_ai else record.operation,
        names.GEN_AI_PROVIDER: names.flavour(peer.host),
        names.SERVER_ADDRESS: peer.host,
        names.SERVER_PORT: peer.port,
        names.POOL: record.pool_label,
        names.ATTEMPTS: len(record.attempts),
    }
    if record.stream:
        attributes[names.GEN_AI_REQUEST_STREAM] = True
    if gen_ai is not None:
        _add(attributes, names.OPENAI_API_TYPE, gen_ai.api_type)
    _add(attributes, names.GEN_AI_REQUEST_MODEL, record.requested_model)
    _add(attributes, names.GEN_AI_RESPONSE_MODEL, record.response_model)
    _add(attributes, names.GEN_AI_RESPONSE_ID, record.response_id)
    reasons = clean.words(record.finish_reasons)
    if not reasons and _broke_in_the_middle(record):
        reasons = ("error",)
    if reasons:
        attributes[names.GEN_AI_FINISH_REASONS] = reasons
    if record.recoveries:
        attributes[names.RECOVERIES] = tuple(str(recovery) for recovery in record.recoveries)
    if record.first_token is not None:
        attributes[names.GEN_AI_FIRST_CHUNK] = record.first_token
    usage = record.usage
    for name, tokens in (
        (names.GEN_AI_INPUT_TOKENS, usage.input_tokens),
        (names.GEN_AI_OUTPUT_TOKENS, usage.output_tokens),
        (names.GEN_AI_CACHED_TOKENS, usage.cached_tokens),
        (names.GEN_AI_REASONING_TOKENS, usage.reasoning_tokens),
    ):
        if tokens is not None:
            attributes[name] = tokens
    if record.cost is not None:
        attributes[names.COST] = float(record.cost)  # an attribute has no decimal
    for _, result in record.hedges:
        attributes[names.HEDGE_RESULT] = result
    _add(attributes, names.CALLER, record.caller)
    _add(attributes, names.TARGET, record.target)
    _add(attributes, names.PROVIDER, record.provider)
    _add(attributes, names.OUTCOME, record.outcome)
    _add(attributes, names.ERROR_TYPE, chat_error(record))
    return attributes


def attempt_attributes(attempt: AttemptRecord, peer: Peer) -> Attributes:
    """Of one try: whom it asked for which model, and what came of it."""
    attributes: Attributes = {
        names.HTTP_METHOD: _method(peer.method),
        names.URL_FULL: clean.url(peer.url),
        names.SERVER_ADDRESS: peer.host,
        names.SERVER_PORT: peer.port,
        names.GEN_AI_PROVIDER: names.flavour(peer.host),
        names.GEN_AI_REQUEST_MODEL: clean.text(attempt.model),
        names.TARGET: attempt.target,
        names.PROVIDER: attempt.provider,
        names.OUTCOME: attempt.outcome.value,
    }
    if attempt.status is not None:
        attributes[names.HTTP_STATUS] = attempt.status
    if attempt.number > 1:
        attributes[names.HTTP_RESEND_COUNT] = attempt.number - 1
        attributes[names.SAME_TARGET] = attempt.same_target
    if attempt.probe:
        attributes[names.PROBE] = True
    _add(attributes, names.RECOVERY, attempt.recovery)
    if attempt.hedge:
        attributes[names.HEDGE] = True
    if attempt.outrun:
        attributes[names.OUTRUN] = True
    _add(attributes, names.ERROR_TYPE, attempt_error(attempt))
    return attributes


def _is_path(route: str) -> bool:
    """Whether it is a path template; what was refused before its path was known has only a word."""
    return route.startswith("/")


def _broken_off(record: Record) -> str | None:
    """The fault of an answer that began well: its status was sent before it broke."""
    if record.outcome is None or record.outcome in _FINE:
        return None
    return record.outcome.value


def _broke_in_the_middle(record: Record) -> bool:
    return record.first_token is not None and record.outcome not in (None, Outcome.OK, Outcome.CONTENT_POLICY)


def _method(method: str) -> str:
    return method if method in names.METHODS else "_OTHER"


def _add(attributes: Attributes, name: str, value: str | None) -> None:
    if value is not None:
        attributes[name] = clean.text(value)
