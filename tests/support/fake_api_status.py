"""How the fake API refuses: the Status objects of Kubernetes, with their reasons, codes and sentences."""

from typing import Any

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
_FIELD_REASONS = {"Required value": "FieldValueRequired", "Too long": "FieldValueTooLong"}


class RefusedError(Exception):
    """An answer that is not 2xx. `reason` and `details` as in a Status."""

    def __init__(self, code: int, message: str, reason: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason or REASONS.get(code, "")
        self.details = details or {}

    @property
    def body(self) -> dict[str, Any]:
        """The Status object."""
        return status(self.code, str(self), self.reason, self.details)


class PageNotFoundError(Exception):
    """A path that the server does not serve at all: 404 in plain text, not a Status."""


def status(code: int, message: str, reason: str = "", details: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Status of a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason or REASONS.get(code, ""),
        **({"details": details} if details else {}),
        "code": code,
    }


def no_such_path() -> RefusedError:
    """The kind is served, and this path of it is not."""
    return RefusedError(404, "the server could not find the requested resource")


def not_found(name: str, group: str, plural: str) -> RefusedError:
    """There is no such object."""
    qualified = f"{plural}.{group}" if group else plural
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return RefusedError(404, f'{qualified} "{name}" not found', details=details)


def already_exists(name: str, group: str, plural: str) -> RefusedError:
    """Somebody was faster, or it was there all the time."""
    qualified = f"{plural}.{group}" if group else plural
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return RefusedError(409, f'{qualified} "{name}" already exists', "AlreadyExists", details)


def modified(name: str, group: str, plural: str) -> RefusedError:
    """The optimistic lock: the resourceVersion that was sent is not the present one."""
    qualified = f"{plural}.{group}" if group else plural
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    sentence = "the object has been modified; please apply your changes to the latest version and try again"
    return RefusedError(409, f'Operation cannot be fulfilled on {qualified} "{name}": {sentence}', details=details)


def invalid(kind: str, group: str, name: str, field: str, message: str) -> RefusedError:
    """422: the object breaks a rule of its kind."""
    qualified = f"{kind}.{group}" if group else kind
    reason = next(
        (reason for start, reason in _FIELD_REASONS.items() if message.startswith(start)), "FieldValueInvalid"
    )
    causes = [{"reason": reason, "message": message, "field": field}]
    named = {"name": name} if name else {}
    details = {**named, **({"group": group} if group else {}), "kind": kind, "causes": causes}
    return RefusedError(422, f'{qualified} "{name}" is invalid: {field}: {message}', details=details)


def expired(since: int, oldest: int) -> dict[str, Any]:
    """410: what happened after `since` is forgotten."""
    return status(410, f"too old resource version: {since} ({oldest})")
