"""The one line that a finished request leaves in the log: JSON, names and numbers only (B44)."""

from datetime import UTC, datetime

import orjson

from modelpool_sidecar.core import cost
from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.telemetry import clean

FIELDS: tuple[str, ...] = (
    "time",
    "event",
    "method",
    "route",
    "operation",
    "stream",
    "status",
    "outcome",
    "refusal",
    "caller",
    "pool",
    "target",
    "provider",
    "requested_model",
    "sent_model",
    "response_model",
    "response_id",
    "finish_reasons",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost",
    "attempts",
    "outcomes",
    "recoveries",
    "dropped_events",
    "hedge",
    "observed",
    "cache",
    "queued_ms",
    "first_token_ms",
    "duration_ms",
    "client_retry",
    "config",
    "trace_id",
)
"""In this order; one that has nothing to tell is left out."""


def log_line(record: Record, *, trace_id: str | None = None, ended: float | None = None) -> str:
    """The line, without a line break.

    `trace_id` overrides the record's own; `ended`: epoch seconds of the end, where nobody else adds a time.
    """
    usage = record.usage
    fields: dict[str, object] = {
        "time": None if ended is None else _time(ended),
        "event": "request",
        "method": clean.text(record.method, clean.MAX_WORD),
        "route": record.route,
        "operation": record.operation,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome,
        "refusal": record.refusal,
        "caller": record.caller,
        "pool": record.pool,
        "target": record.target,
        "provider": record.provider,
        "requested_model": _text(record.requested_model),
        "sent_model": _text(record.sent_model),
        "response_model": _text(record.response_model),
        "response_id": _text(record.response_id),
        "finish_reasons": clean.words(record.finish_reasons) or None,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cached_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": None if record.cost is None else cost.plain(record.cost),
        "attempts": len(record.attempts),
        "outcomes": [_attempt(attempt) for attempt in record.attempts] or None,
        "recoveries": [str(recovery) for recovery in record.recoveries] or None,
        "dropped_events": record.dropped or None,
        "hedge": next((result for _, result in reversed(record.hedges)), None),
        "observed": list(record.observed) or None,
        "cache": record.cache,
        "queued_ms": None if record.queued is None else _milliseconds(record.queued),
        "first_token_ms": None if record.first_token is None else _milliseconds(record.first_token),
        "duration_ms": _milliseconds(record.duration),
        "client_retry": record.client_retry or None,
        "config": record.config or None,
        "trace_id": trace_id or record.trace_id,
    }
    return orjson.dumps({name: value for name, value in fields.items() if value is not None}).decode()


def _attempt(attempt: AttemptRecord) -> dict[str, object]:
    fields: dict[str, object] = {
        "target": attempt.target,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "duration_ms": _milliseconds(attempt.ended - attempt.started),
        "probe": attempt.probe or None,
        "recovery": attempt.recovery,
        "hedge": attempt.hedge or None,
        "outrun": attempt.outrun or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _text(value: str | None) -> str | None:
    return None if value is None else clean.text(value)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
