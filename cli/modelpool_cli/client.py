"""Asking a sidecar that runs on this machine, with nothing but the standard library."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TIMEOUT_SECONDS = 660.0
"""Longer than a pool's default `total`: the sidecar's own answer comes first."""
_ADMIN_OFFSET = 2
_LAST_PORT = 65_535


class UnreachableError(Exception):
    """Nothing answers there, or not as HTTP; the message says what to do."""


class AddressError(UnreachableError):
    """What was given is no address."""


def parts_of(url: str) -> SplitResult:
    """An http address in its parts. Raises AddressError."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # ValueError where it is none
    except ValueError as error:
        raise AddressError(_no_address(url)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressError(_no_address(url))
    return parts


def _no_address(url: str) -> str:
    return f"{url} is not an address: write it like http://127.0.0.1:4891"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a sidecar listens: `data` for clients, `admin` for people, empty where it cannot be told. No slash at the
    end."""

    data: str
    admin: str

    @classmethod
    def of_port(cls, port: int, admin: str | None = None) -> "Address":
        """The ports that `modelpool run --port N` takes."""
        return cls(f"http://127.0.0.1:{port}", (admin or f"http://127.0.0.1:{port + _ADMIN_OFFSET}").rstrip("/"))

    @classmethod
    def of_url(cls, url: str, admin: str | None = None) -> "Address":
        """A base URL with or without /v1, as it stands in OPENAI_BASE_URL. Raises AddressError.

        Without a port it is something in front of a sidecar, whose admin port is not to be reached.
        """
        data = url.rstrip("/").removesuffix("/v1")
        parts = parts_of(data)
        beside = "" if parts.port is None else _origin_beside(parts, parts.port + _ADMIN_OFFSET)
        return cls(data, (admin or beside).rstrip("/"))


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """The JSON of the body, None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def error(self) -> str:
        """The sentence of an error body, or what can be said instead."""
        error = self.data.get("error") if isinstance(self.data, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        return str(message) if message else f"HTTP {self.status}"


def get(url: str, timeout: float = TIMEOUT_SECONDS, key: str | None = None) -> Reply:
    """GET. `key`: the caller's, where a pool asks for one; here and below."""
    return _whole("GET", url, None, timeout, key)


def post(url: str, body: object = None, timeout: float = TIMEOUT_SECONDS, key: str | None = None) -> Reply:
    """POST of JSON."""
    return _whole("POST", url, body, timeout, key)


class Streaming:
    """A POST whose answer is read event by event."""

    def __init__(self, url: str, body: object, key: str | None = None) -> None:
        self._connection, self._answer = _open("POST", url, body, TIMEOUT_SECONDS, key)
        self.status = self._answer.status
        self.headers = {name.lower(): value for name, value in self._answer.getheaders()}

    def whole(self) -> Reply:
        """The rest as one answer: for what turned out not to be a stream."""
        with closing(self._connection):
            return Reply(self.status, self.headers, self._answer.read())

    def events(self) -> Iterator[dict[str, Any]]:
        """The data of each event as JSON. Raises UnreachableError where the stream ends in the middle."""
        with closing(self._connection):
            try:
                for line in self._answer:
                    text = line.strip()
                    if text == b"data: [DONE]":
                        return
                    if text.startswith(b"data:"):
                        event = json.loads(text.removeprefix(b"data:"))
                        if isinstance(event, dict):
                            yield event
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise UnreachableError("the stream was cut off before its end") from error


def _whole(method: str, url: str, body: object, timeout: float, key: str | None) -> Reply:
    connection, answer = _open(method, url, body, timeout, key)
    with closing(connection):
        try:
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"the answer of {_origin(url)} was cut off before its end") from error
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)


def _open(
    method: str, url: str, body: object, timeout: float, key: str | None
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    parts = parts_of(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        data = None if body is None else json.dumps(body).encode()
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        shown = {} if key is None else {"authorization": f"Bearer {key}"}
        connection.request(method, path, data, {"content-type": "application/json", **shown})
        return connection, connection.getresponse()
    except ConnectionRefusedError as error:
        connection.close()
        raise UnreachableError(_nothing_there(url)) from error
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise UnreachableError(f"{_origin(url)} does not answer as a sidecar does: {error!r}") from error


def _origin_beside(parts: SplitResult, port: int) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}" if port <= _LAST_PORT else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _nothing_there(url: str) -> str:
    return (
        f"nothing runs at {_origin(url)}: start it in another terminal (`make run`, or `modelpool run -f DIR`), "
        "or name its port with --port"
    )
