"""What the API server is asked, and what its refusals mean: the only API client.

One raw call on the official client's asynchronous transport; its typed API costs 25 MB, and returns nothing where
server-side apply creates. Foreign errors become ApiError here. A write asks first whether it may (the Lease), and is
given up before the Lease could pass to somebody else.
"""

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException

READ = aiohttp.ClientTimeout(total=30, sock_connect=5)
WRITE = aiohttp.ClientTimeout(total=4.5, sock_connect=2)
"""Ends before a Lease that was good when it began can have passed on; see `elector`."""
PAGE = 500
_SCHEMA = "failed to create typed patch object"

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Object = dict[str, Any]


class ApiError(Exception):
    """A request that failed. `status` 0: no answer came. The message is one line and holds no value of ours."""

    def __init__(
        self, status: int, reason: str, message: str, causes: Sequence[str] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = tuple(causes)
        self.retry_after_seconds = retry_after

    @property
    def absent(self) -> bool:
        """Nothing is there."""
        return self.status == 404

    @property
    def stale(self) -> bool:
        """Somebody changed the object since it was read, or made it first."""
        return self.status == 409

    @property
    def expired(self) -> bool:
        """The resourceVersion is too old: list again."""
        return self.status == 410

    @property
    def terminating(self) -> bool:
        """The namespace is being deleted and takes nothing new."""
        return self.status == 403 and "NamespaceTerminating" in self.causes

    @property
    def lasting(self) -> bool:
        """Asking again with the same bytes leads to the same answer. A schema error of an apply comes as 500."""
        return self.status in (400, 403, 413, 422) or (self.status == 500 and _SCHEMA in str(self))


class NotLeadingError(Exception):
    """A write was asked for while the Lease is not surely ours."""


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a collection, as of one resourceVersion."""

    items: tuple[Object, ...]
    version: str


class Kube:
    """The API server. Writes are refused until `guard` has named who allows them."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._may_write: Callable[[], bool] = lambda: False

    def guard(self, may_write: Callable[[], bool]) -> None:
        """`may_write` is asked right before each write."""
        self._may_write = may_write

    async def get(self, path: str, *, patience: aiohttp.ClientTimeout = READ) -> Object:
        """One object. ApiError where it is absent."""
        return await self._call("GET", path, patience=patience)

    async def list(self, path: str, selectors: Mapping[str, str] | None = None, *, metadata: bool = False) -> Listed:
        """Every object of a collection, page by page. ApiError with `expired` where it changed for too long."""
        items: list[Object] = []
        more: dict[str, str] = {}
        while True:
            query = {**(selectors or {}), "limit": str(PAGE), **more}
            page = await self._call("GET", path, query, accept=METADATA_LIST if metadata else None)
            items += page.get("items") or []
            token = page["metadata"].get("continue")
            if not token:
                return Listed(tuple(items), page["metadata"]["resourceVersion"])
            more = {"continue": token}

    async def watch(
        self,
        path: str,
        version: str,
        selectors: Mapping[str, str] | None = None,
        *,
        seconds: int,
        metadata: bool = False,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Changes since `version`, as type and object, for about that long. Ends by itself, or with ApiError; a silent
        one is believed to live until some seconds after it should have ended."""
        query = {
            **(selectors or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        patience = aiohttp.ClientTimeout(total=seconds + 15, sock_connect=5)
        response = await self._send("GET", path, query, accept=METADATA if metadata else None, patience=patience)
        try:
            if response.status >= 300:
                raise _refusal(response.status, await response.read(), response.headers)
            async for line in _lines(response.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _of_status(event["object"])
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _no_answer(error) from error
        finally:
            response.close()

    async def apply(self, path: str, body: Object, manager: str, *, force: bool = True) -> Object:
        """Server-side apply: what stands in `body` is owned by `manager`; the object as it stands then."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._write("PATCH", path, query, body, APPLY)

    async def merge(self, path: str, body: Object, manager: str) -> Object:
        """Merge patch: null removes, also what somebody else owns."""
        return await self._write("PATCH", path, {"fieldManager": manager}, body, MERGE)

    async def create(self, path: str, body: Object, manager: str) -> Object:
        """A new object; ApiError with `stale` where it is there already."""
        return await self._write("POST", path, {"fieldManager": manager}, body)

    async def elect(self, method: str, path: str, body: Object | None, seconds: float) -> Object:
        """The one write that is made without the Lease: the one of the Lease itself."""
        return await self._call(method, path, body=body, patience=aiohttp.ClientTimeout(total=seconds))

    async def _write(self, method: str, path: str, query: Mapping[str, str], body: Object, kind: str = "") -> Object:
        if not self._may_write():
            raise NotLeadingError(f"{method} {path}: the Lease is not ours")
        return await self._call(method, path, query, body=body, kind=kind, patience=WRITE)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        kind: str = "",
        accept: str | None = None,
        patience: aiohttp.ClientTimeout = READ,
    ) -> Object:
        response = await self._send(method, path, query, body=body, kind=kind, accept=accept, patience=patience)
        try:
            data = await response.read()
            if response.status >= 300:
                raise _refusal(response.status, data, response.headers)
            found: Object = json.loads(data)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _no_answer(error) from error
        finally:
            response.release()
        return found

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: Object | None = None,
        kind: str = "",
        accept: str | None = None,
        patience: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        try:
            method, url, headers, data, _ = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept or "application/json", "Content-Type": kind or "application/json"},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(method, url, headers, data, _request_timeout=patience)
        except (aiohttp.ClientError, TimeoutError, OSError, ApiException, ConfigException, ValueError) as error:
            # The last two: the token's file is empty just now, or holds what no header can carry.
            raise _no_answer(error) from error
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Whole lines of any length: an object's metadata alone can be larger than the line that aiohttp takes."""
    rest = b""
    async for data in content.iter_any():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line:
                yield line


def _refusal(status: int, data: bytes, headers: Mapping[str, str]) -> ApiError:
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        told = {"message": f"HTTP {status}"}
    return _of_status({**told, "code": status}, headers.get("Retry-After"))


def _of_status(status: Object, retry_after: str | None = None) -> ApiError:
    details = status.get("details") or {}
    causes = [str(cause.get("reason") or cause.get("type") or "") for cause in details.get("causes") or ()]
    wait = float(retry_after) if retry_after and retry_after.isdigit() else details.get("retryAfterSeconds")
    message = " ".join(str(status.get("message") or status.get("reason") or "").split())
    return ApiError(int(status.get("code") or 500), str(status.get("reason") or ""), message, causes, wait)


def _no_answer(error: Exception) -> ApiError:
    words = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return ApiError(0, "Unreachable", f"the API server cannot be asked: {words}")
