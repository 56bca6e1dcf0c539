"""Which request is meant: by the flags of `modelpool explain`, by a file, or by both."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from modelpool_cli.rehearsal import Asked
from modelpool_operator.problems import nearest
from modelpool_sidecar.core import operations
from modelpool_sidecar.core.catalogue import OPERATIONS, Operation

LENT = "the-key-of-whoever-is-explained"
"""The key that a caller shows, who is named with `--caller`."""
_HOST = ("host", operations.DEFAULT_ADDRESS)
_JSON = ("content-type", "application/json")
_FORM = ("content-type", "multipart/form-data; boundary=form")


class RequestError(Exception):
    """What was given is no request; the message is a sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line. `file`: None where the flags say all; `-` is standard input."""

    file: str | None
    model: str | None
    operation: str
    stream: bool
    headers: tuple[tuple[str, str], ...]
    caller: str | None = None


def request(wanted: Wanted) -> Asked:
    """The request that is meant. Raises RequestError."""
    row = next((each for each in OPERATIONS if wanted.operation in _spellings(each)), None)
    named, _, path = wanted.operation.rpartition(" ")
    raw = path.startswith("/")
    if row is None and not raw:
        raise RequestError(_no_operation(wanted.operation))
    method = row.method if row is not None else named or "POST"
    if row is not None:
        path = row.route.replace("{id}", (not row.state and wanted.model) or "ID").replace("{item}", "ITEM")
    kind = _JSON
    if row is not None and row.body in ("form", "upload"):
        kind, body = _FORM, _form(wanted)
    elif row is not None and row.state:
        body = _read(wanted.file) if wanted.file is not None and row.body == "json" else b""
    else:
        body = _body(wanted, path) if method == "POST" else b""
    shown = [] if wanted.caller is None else [("authorization", f"Bearer {LENT}")]
    headers = {name.lower(): value for name, value in (_HOST, *([kind] if body else []), *wanted.headers, *shown)}
    return Asked(method, path, tuple(headers.items()), body)


def _spellings(row: Operation) -> tuple[str, ...]:
    """How it may be asked for."""
    return row.name, row.route, f"{row.method} {row.route}"


def _no_operation(named: str) -> str:
    near = nearest(named, [each.name for each in OPERATIONS])
    hint = f"did you mean {near}? A path will do too" if near else "a path will do"
    return f"--operation: none is called {named!r}; {hint}, such as /v1/embeddings; docs/operations.md lists them"


def _form(wanted: Wanted) -> bytes:
    """A form with what the flags say; a request on disk is JSON, so a form is none."""
    if wanted.file is not None:
        raise RequestError(
            f"--operation {wanted.operation} takes a form, and {wanted.file} is taken for JSON; leave it out"
        )
    fields = {"model": wanted.model, "stream": "true" if wanted.stream else None}
    part = '--form\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    said = "".join(part.format(name, value) for name, value in fields.items() if value is not None)
    return f"{said}--form--\r\n".encode()


def _body(wanted: Wanted, path: str) -> bytes:
    flags: dict[str, Any] = {"model": wanted.model} if wanted.model is not None else {}
    flags |= {"stream": True} if wanted.stream else {}
    if wanted.file is None:
        field = {"/v1/embeddings": "input", "/v1/responses": "input", "/v1/completions": "prompt"}.get(path)
        content = {field: "hello"} if field else {"messages": [{"role": "user", "content": "hello"}]}
        return json.dumps({**flags, **content}).encode()
    body = _read(wanted.file)
    if not flags:
        return body
    try:
        document = json.loads(body)
    except ValueError as error:
        raise RequestError(f"{wanted.file} is not JSON, so --model and --stream cannot be put into it") from error
    if not isinstance(document, dict):
        raise RequestError(f"{wanted.file} is no JSON object, so --model and --stream cannot be put into it")
    return json.dumps({**document, **flags}).encode()


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise RequestError(f"cannot read {file}: {error.strerror}") from error
