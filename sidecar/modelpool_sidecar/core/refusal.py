"""Every answer of our own that is not a provider's: its code, its status, its sentence, its headers.

A refusal is a value; it becomes bytes in the client's own error shape in one place (`dialects`). Codes are stable:
users match on them.
"""

import math
from dataclasses import dataclass

MAX_RETRY_AFTER_SENT = 60
"""Seconds; official SDKs sleep as long as they are told to, one of them without any cap (behaviour.md, Defaults)."""

# code -> (status, type in the OpenAI error shape)
CODES: dict[str, tuple[int, str]] = {
    "invalid_json": (400, "invalid_request_error"),
    "invalid_body": (400, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "missing_model": (400, "invalid_request_error"),
    "invalid_model": (400, "invalid_request_error"),
    "duplicate_key": (400, "invalid_request_error"),
    "invalid_stream": (400, "invalid_request_error"),
    "capability_missing": (400, "invalid_request_error"),
    "context_length_exceeded": (400, "invalid_request_error"),
    "tokens_above_limit": (400, "invalid_request_error"),
    "unknown_target": (400, "invalid_request_error"),
    "missing_pool": (400, "invalid_request_error"),
    "no_stateful_target": (400, "invalid_request_error"),
    "no_matching_target": (400, "invalid_request_error"),
    "invalid_api_key": (401, "invalid_request_error"),
    "pinning_denied": (403, "invalid_request_error"),
    "foreign_host": (403, "invalid_request_error"),
    "foreign_origin": (403, "invalid_request_error"),
    "unknown_path": (404, "invalid_request_error"),
    "model_not_found": (404, "invalid_request_error"),
    "unknown_pool": (404, "invalid_request_error"),
    "unsupported_operation": (404, "invalid_request_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "body_too_large": (413, "invalid_request_error"),
    "unsupported_encoding": (415, "invalid_request_error"),
    "unsupported_media_type": (415, "invalid_request_error"),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "concurrency_exceeded": (429, "rate_limit_error"),
    "queue_timeout": (429, "rate_limit_error"),
    "all_limited": (429, "rate_limit_error"),
    "internal_error": (500, "server_error"),
    "upstream_auth_error": (502, "upstream_error"),
    "upstream_unreachable": (502, "upstream_error"),
    "upstream_error": (502, "upstream_error"),
    "upstream_unsupported": (502, "upstream_error"),
    "no_target": (503, "server_error"),
    "invalid_pool": (503, "server_error"),
    "sidecar_too_old": (503, "server_error"),
    "all_cooling": (503, "server_error"),
    "drained": (503, "server_error"),
    "credential_pending": (503, "server_error"),
    "overloaded": (503, "server_error"),
    "not_ready": (503, "server_error"),
    "draining": (503, "server_error"),
    "deadline_exceeded": (504, "timeout_error"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why we answer ourselves. `param`: the field of the request that is meant. `retry_after`: seconds, uncapped.

    `spent`: attempts were made, or repeating cannot help, so the client's SDK must not repeat on top of ours (B42).
    `upstream_status`: a provider's own status, passed on where its body cannot be.
    """

    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    spent: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    upstream_status: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status of this code, or the provider's."""
        return self.upstream_status or CODES[self.code][0]

    @property
    def type(self) -> str:
        """The `error.type` of this code in the OpenAI shape."""
        return CODES[self.code][1]

    @property
    def should_retry(self) -> bool | None:
        """What `x-should-retry` says; None = the header is absent (a local 429 or 503 that tells a short wait, B42)."""
        long = self.retry_after is not None and self.retry_after > MAX_RETRY_AFTER_SENT
        return False if self.spent or long else None

    @property
    def all_headers(self) -> tuple[tuple[str, str], ...]:
        """Headers of every dialect: Retry-After capped and rounded up, x-should-retry where it is decided."""
        more: list[tuple[str, str]] = list(self.headers)
        if self.retry_after is not None:
            seconds = min(MAX_RETRY_AFTER_SENT, max(1, math.ceil(self.retry_after)))
            more.append(("retry-after", str(seconds)))
        if self.should_retry is not None:
            more.append(("x-should-retry", "true" if self.should_retry else "false"))
        return tuple(more)
