"""Which paths are served, by which method, and what is said about the others (B43)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from modelpool_sidecar.core.catalogue import (
    BY_WORD,
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    MODEL,
    OPERATIONS,
    RESPONSES,
    Operation,
)
from modelpool_sidecar.core.refusal import Refusal

__all__ = [
    "BY_WORD",
    "CHAT",
    "COMPLETIONS",
    "DEFAULT_ADDRESS",
    "EMBEDDINGS",
    "OPERATIONS",
    "RESPONSES",
    "Operation",
    "find",
    "plain_query",
    "split_target",
]

DEFAULT_ADDRESS = "127.0.0.1:4891"
"""Where a sidecar listens unless it was told otherwise; used in sentences where the request names no better one."""

Rows = tuple[Operation, ...]
"""What one path can do, by its methods."""


def _by_route(operations: Iterable[Operation]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for operation in operations:
        found[operation.route] = (*found.get(operation.route, ()), operation)
    return found


_PLAIN = _by_route(operation for operation in OPERATIONS if "{" not in operation.route)
_EXACT = {(operation.method, route): operation for route, rows in _PLAIN.items() for operation in rows}
_SHAPES = [
    (route.split("/"), rows)
    for route, rows in _by_route(operation for operation in OPERATIONS if operation is not MODEL).items()
    if "{" in route
]
_ID = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.~:@=+-]{0,255}")
_MODEL_PREFIX = "/v1/models/"
_MAIN = [f"{operation.method} {operation.route}" for operation in OPERATIONS if operation.answer == "model"]
_MORE = dict.fromkeys(
    prefix
    for each in OPERATIONS
    if each.answer != "model" and (prefix := "/".join(each.route.split("/")[:3])) != RESPONSES.route
)
_SERVED = f"{', '.join(_MAIN)}; and of the OpenAI API {', '.join(_MORE)}"

# Paths of the provider's API that exist and are not served here: their users made no typing error.
_ELSEWHERE = (
    "/v1/assistants",
    "/v1/chat/completions/",
    "/v1/fine_tuning",
    "/v1/messages",
    "/v1/realtime",
    "/v1/responses/",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/videos",
)

_PLAIN_QUERY = re.compile(r"[!\x24-\x7e\"]*")
_LOOPBACK_ADDRESS = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\]):\d{1,5}")


def split_target(target: str) -> tuple[str, str]:
    """Path and query of a raw request target, neither decoded."""
    path, _, query = target.partition("?")
    return path, query


def plain_query(query: str) -> bool:
    """Whether a query is printable ASCII without white space and fragment: the only kind that is passed on."""
    return _PLAIN_QUERY.fullmatch(query) is not None


def find(method: str, path: str, address: str = "") -> tuple[Operation, str | None] | Refusal:
    """The operation of a raw path, with what the path holds: the decoded id of a model, else the path below `/v1` where
    there are ids in it.

    `address`: the request's Host, so that a sentence can name the base URL that would work; ours otherwise.
    """
    operation = _EXACT.get((method, path))
    if operation is not None:
        return operation, None
    fault = _unsafe(path)
    if fault is not None:
        return Refusal("unknown_path", f"the path must not contain {fault}")
    found = _rows(path)
    if found is None:
        return _unknown(path, address)
    if isinstance(found, Refusal):
        return found
    rows, held = found
    for operation in rows:
        if operation.method == method:
            return operation, held
    return _wrong_method(rows, method)


def _rows(path: str) -> tuple[Rows, str | None] | Refusal | None:
    """What a path can do; None where it is none of ours."""
    rows = _PLAIN.get(path)
    if rows is not None:
        return rows, None
    if path.startswith(_MODEL_PREFIX):
        name = _decoded_id(path[len(_MODEL_PREFIX) :])
        if name is None:
            return Refusal("unknown_path", "the model's name in the path is not printable UTF-8")
        return ((MODEL,), name) if name else None
    parts = path.split("/")
    for shape, rows in _SHAPES:
        if len(shape) != len(parts) or not parts[-1]:
            continue
        others = [(want, have) for want, have in zip(shape, parts, strict=True) if want != have]
        if not all(want.startswith("{") for want, _ in others):
            continue
        if not all(_ID.fullmatch(have) for _, have in others):
            return Refusal("unknown_path", "an id in the path must be of letters, digits and _ . ~ : @ = + -")
        return rows, path.removeprefix("/v1")
    return None


def _wrong_method(rows: Rows, method: str) -> Refusal:
    methods = [operation.method for operation in rows]
    message = f"{rows[0].route} takes {' or '.join(methods)}, not {_shown(method)}"
    return Refusal("method_not_allowed", message, headers=(("allow", ", ".join(methods)),))


def _unsafe(path: str) -> str | None:
    lower = path.lower()
    if "%2f" in lower or "%5c" in lower or "\\" in lower:
        return "an encoded slash or a backslash"
    if "//" in lower:
        return "an empty segment (//)"
    if any(segment in (".", "..") for segment in lower.replace("%2e", ".").split("/")):
        return "a dot segment (. or ..)"
    return None


def _decoded_id(raw: str) -> str | None:
    try:
        decoded = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeError:
        return None
    return decoded if decoded.isprintable() else None


def _unknown(path: str, address: str) -> Refusal:
    base = f"http://{address if _LOOPBACK_ADDRESS.fullmatch(address) else DEFAULT_ADDRESS}/v1"
    trimmed = path.rstrip("/")
    again = path.removeprefix("/v1")
    if not path.startswith("/"):
        message = f"a path is expected here, not a whole URL: this is no forward proxy; set base_url to {base}"
    elif trimmed in ("", "/v1"):
        message = f"this is modelpool; set base_url to {base}, which serves {_SERVED}"
    elif _served("/v1" + path):
        message = f"{_shown(path)} is not served; did you mean /v1{_shown(path)}: set base_url to {base}"
    elif again != path and _served(again):
        message = f"{_shown(path)} is not served; did you mean {_shown(again)}: set base_url to {base}, with one /v1"
    elif _served(trimmed):
        message = f"{_shown(path)} is not served; did you mean {_shown(trimmed)}, without the slash at its end"
    elif path.startswith(_ELSEWHERE):
        return Refusal("unsupported_operation", f"{_shown(path)} is not supported here; served are {_SERVED}")
    else:
        message = f"{_shown(path)} is not served; served are {_SERVED}"
    return Refusal("unknown_path", message)


def _served(path: str) -> bool:
    return isinstance(_rows(path), tuple)


def _shown(text: str) -> str:
    """A path or method for a sentence: ASCII only, and not all of a long one."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    return plain if len(plain) <= 200 else f"{plain[:200]}..."
