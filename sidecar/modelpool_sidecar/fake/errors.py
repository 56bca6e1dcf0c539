"""The errors of the OpenAI API: status, type, code and sentence of each, and which one a scripted status means."""

import json
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class APIError:
    """An error as the API tells it."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of its answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


INVALID = "invalid_request_error"

_KNOWN: dict[str, APIError] = {
    error.code: error
    for error in (
        APIError(
            400, INVALID, "context_length_exceeded", "This model's maximum context length is exceeded.", "messages"
        ),
        APIError(400, INVALID, "content_policy_violation", "The request was rejected by the safety system."),
        APIError(400, INVALID, "content_filter", "The response was filtered by the content management policy."),
        APIError(400, INVALID, "invalid_prompt", "The prompt was rejected."),
        APIError(401, INVALID, "invalid_api_key", "Incorrect API key provided."),
        APIError(402, "billing_error", "billing_error", "The account has an unpaid bill."),
        APIError(403, "request_forbidden", "unsupported_country_region_territory", "Country or region not supported."),
        APIError(404, INVALID, "model_not_found", "The model does not exist or you do not have access to it.", "model"),
        APIError(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
        APIError(429, "rate_limit_error", "slow_down", "Requests are rising too fast; slow down."),
        APIError(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
        APIError(429, "insufficient_quota", "credit_balance_exhausted", "The credit balance is exhausted."),
        APIError(500, "server_error", "server_error", "The server had an error while processing your request."),
        APIError(503, "service_unavailable_error", "server_is_overloaded", "The engine is currently overloaded."),
    )
    if error.code is not None
}

_BY_STATUS: dict[int, str] = {
    401: "invalid_api_key",
    402: "billing_error",
    403: "unsupported_country_region_territory",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_is_overloaded",
}


def scripted(status: int | None, code: str | None) -> APIError:
    """The error of a step that says a status, a code or both. A code that the API does not have is taken as it is."""
    if code is None:
        assert status is not None
        code = _BY_STATUS.get(status)
    known = _KNOWN.get(code) if code is not None else None
    if known is not None:
        return APIError(status or known.status, known.type, known.code, known.message, known.param)
    status = status or 500
    kind = "server_error" if status >= 500 or status < 400 else "rate_limit_error" if status == 429 else INVALID
    return APIError(status, kind, code, f"This provider was told to answer {code or status}.")


def is_rate_limit(error: APIError) -> bool:
    """Whether the client is told to come again: by a Retry-After."""
    return error.status == 429 and error.type in {"requests", "tokens", "rate_limit_error"}


def unknown_url(method: str, path: str) -> APIError:
    """A path that the API does not have; `path` as the API tells it, with its prefix."""
    return APIError(404, INVALID, None, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> APIError:
    """A path that the API has, for another method."""
    return APIError(405, INVALID, "method_not_supported", f"Not allowed to {method} on {path}.")


def unauthorized(*, given: bool) -> APIError:
    """No key, or a wrong one."""
    if given:
        return _KNOWN["invalid_api_key"]
    return APIError(401, INVALID, None, "You didn't provide an API key in the Authorization header.")


def unknown_model(model: str) -> APIError:
    """A model that is not among those of this provider."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return APIError(404, INVALID, "model_not_found", message, "model")


def invalid(message: str, param: str | None = None, code: str | None = None) -> APIError:
    """A request that the API refuses."""
    return APIError(400, INVALID, code, message, param)


def missing(param: str) -> APIError:
    """A field that must be there is not."""
    return invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def rate_headers(retry_after: float | None) -> list[tuple[str, str]]:
    """The rate limit headers of every answer. `retry_after`: seconds, where the limit is reached."""
    limited = retry_after is not None
    reset = "120ms" if retry_after is None else f"{retry_after:g}s"
    headers = [
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-limit-tokens", "200000"),
        ("x-ratelimit-remaining-requests", "0" if limited else "499"),
        ("x-ratelimit-remaining-tokens", "199992"),
        ("x-ratelimit-reset-requests", reset),
        ("x-ratelimit-reset-tokens", "2ms"),
    ]
    if retry_after is not None:
        headers.append(("retry-after", str(math.ceil(retry_after))))
        headers.append(("retry-after-ms", str(math.ceil(retry_after * 1000))))
    return headers


def to_bytes(value: object) -> bytes:
    """JSON as the API writes it: UTF-8, no spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
