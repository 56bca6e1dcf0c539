"""Finished requests for telemetry tests, one argument away from the usual case."""

from typing import Any

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import AttemptRecord, Record, Usage


def attempt(number: int = 1, **changes: Any) -> AttemptRecord:
    fields: dict[str, Any] = {
        "number": number,
        "target": "primary",
        "provider": "openai",
        "model": "gpt-4o",
        "outcome": Outcome.OK,
        "status": 200,
        "started": 100.1,
        "ended": 101.0,
        "same_target": False,
        "probe": False,
    }
    return AttemptRecord(**{**fields, **changes})


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "method": "POST",
        "route": "/v1/chat/completions",
        "operation": "chat",
        "stream": False,
        "status": 200,
        "outcome": Outcome.OK,
        "refusal": None,
        "pool": "chat",
        "target": "primary",
        "provider": "openai",
        "requested_model": "chat",
        "sent_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06",
        "response_id": "chatcmpl-1",
        "finish_reasons": ("stop",),
        "usage": Usage(12, 34, 5, 6),
        "attempts": (attempt(),),
        "started": 100.0,
        "duration": 1.5,
        "first_token": None,
        "client_retry": 0,
        "config": "0123456789ab",
    }
    return Record(**{**fields, **changes})


def refused(code: str = "model_not_found", status: int = 404, **changes: Any) -> Record:
    """A request that led nowhere: no pool, no attempt."""
    nothing: dict[str, Any] = {
        "status": status,
        "outcome": None,
        "refusal": code,
        "pool": None,
        "target": None,
        "provider": None,
        "sent_model": None,
        "response_model": None,
        "response_id": None,
        "finish_reasons": (),
        "usage": Usage(),
        "attempts": (),
    }
    return record(**{**nothing, **changes})
