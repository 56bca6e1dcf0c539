"""What the fake API answers to one request: discovery, and get, list, watch, create, put, patch, delete."""

import base64
import json
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from aiohttp import web

import fake_api_apply
import fake_api_kinds
from fake_api_apply import Owner
from fake_api_door import Asked, Door
from fake_api_kinds import Resource
from fake_api_selectors import selector
from fake_api_status import PageNotFoundError, RefusedError, expired, invalid, modified, no_such_path, not_found
from fake_api_store import Entry, Object, Store
from fake_api_watch import watch

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}
REQUEST_MOST_BYTES = 3 * 1024 * 1024
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_HEALTH = ("/healthz", "/livez", "/readyz")
_AS = re.compile(r"as=(PartialObjectMetadata(?:List)?);")


@dataclass(frozen=True, slots=True)
class Target:
    """What a path means."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


class Verbs:
    """The server's work on one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self.gone_as_status = False

    def forget_pages(self) -> None:
        """A LIST that has begun cannot be continued."""
        self._pages.clear()

    async def answer(self, door: Door, request: web.Request, asked: Asked) -> web.StreamResponse:
        """Never raises for what a client did wrong."""
        try:
            found = self._discover(request.path)
            if found is not None:
                return found if isinstance(found, web.Response) else web.json_response(found)
            target = self._target(request.path)
            if asked.method == "GET" and not target.name and asked.watches:
                return await self._watch(door, request, asked, target)
            code, body = self._verb(asked, target, request)
            return web.json_response(_shown(body, request.headers.get("Accept", "")), status=code)
        except PageNotFoundError:
            return web.Response(status=404, text="404 page not found\n")
        except RefusedError as error:
            return web.json_response(error.body, status=error.code)

    def _discover(self, path: str) -> Any:
        resources = self._store.resources
        parts = path.strip("/").split("/")
        if path in _HEALTH:
            return web.Response(text="ok")
        if path == "/version":
            return VERSION
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "/apis":
            return fake_api_kinds.groups(resources)
        if parts[0] == "apis" and len(parts) == 2:
            return fake_api_kinds.group(resources, parts[1])
        if (parts[0], len(parts)) in (("api", 2), ("apis", 3)):
            return fake_api_kinds.listing(resources, "/".join(parts[1:]))
        return None

    def _target(self, path: str) -> Target:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "v1"]:
            group, rest = "", parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, rest = parts[1], parts[3:]
        else:
            raise PageNotFoundError
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] != "status":
            namespace, rest = rest[1], rest[2:]
        if not 1 <= len(rest) <= 3:
            raise PageNotFoundError
        plural, name, subresource = (*rest, "", "")[:3]
        resource = self._store.resource(group, "v1" if not group else parts[2], plural)
        if namespace and not resource.namespaced:
            raise PageNotFoundError
        if subresource and not (subresource == "status" and resource.status):
            raise no_such_path()
        return Target(resource, namespace, name, subresource)

    def _verb(self, asked: Asked, target: Target, request: web.Request) -> tuple[int, Any]:
        resource = target.resource
        if resource.namespaced and not target.namespace and target.name:
            raise no_such_path()
        if resource.namespaced and not target.namespace and asked.writes:
            raise RefusedError(405, "the server does not allow this method on the requested resource")
        if asked.method == "GET" and not target.name:
            return 200, self._list(asked, target)
        if asked.method == "POST" and not target.name:
            return 201, self._create(asked, target)
        if not target.name:
            raise RefusedError(405, "the server does not allow this method on the requested resource")
        entry = self._store.entry(resource, target.namespace, target.name)
        if asked.method == "PATCH" and request.content_type == _APPLY:
            return self._apply(asked, target, entry)
        if asked.method == "PUT":
            return self._put(asked, target, entry)
        if entry is None:
            raise not_found(target.name, resource.group, resource.plural)
        if asked.method == "GET":
            return 200, entry.item
        if asked.method == "DELETE":
            return 200, self._delete(asked, target, entry)
        if asked.method == "PATCH" and request.content_type == _MERGE:
            return 200, self._merge(asked, target, entry)
        accepted = f"{_MERGE}, {_APPLY}"
        raise RefusedError(415, f"the body of the request was in an unknown format - accepted media types: {accepted}")

    # Reading

    def _list(self, asked: Asked, target: Target) -> Object:
        resource, query = target.resource, asked.query
        matches = selector(resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        version = self._store.version
        if token := query.get("continue"):
            if token not in self._pages:
                raise RefusedError(
                    410, "The provided continue parameter is too old to display a consistent list result"
                )
            version, items = self._pages[token]
        else:
            items = [item for item in self._store.items(resource, target.namespace) if matches(item)]
        metadata: Object = {"resourceVersion": str(version), **({"continue": ""} if resource.custom else {})}
        limit = int(query.get("limit") or 0)
        if 0 < limit < len(items):
            items, rest = items[:limit], items[limit:]
            token = base64.urlsafe_b64encode(f"{version}/{len(self._pages)}".encode()).decode()
            self._pages[token] = (version, rest)
            metadata |= {"continue": token, "remainingItemCount": len(rest)}
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items if resource.custom else [_without(item, "kind", "apiVersion") for item in items],
        }

    async def _watch(self, door: Door, request: web.Request, asked: Asked, target: Target) -> web.StreamResponse:
        query = asked.query
        matches = selector(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        if target.namespace:
            both, namespace = matches, target.namespace
            matches = lambda item: item["metadata"]["namespace"] == namespace and both(item)  # noqa: E731 (a closure)
        accept = request.headers.get("Accept", "")
        since = int(query.get("resourceVersion") or 0)
        if since and since < self._store.forgotten and self.gone_as_status:
            gone = expired(since, self._store.forgotten)
            return web.json_response(gone, status=gone["code"])
        return await watch(
            self._store, door, request, asked, target.resource, matches, lambda item: _shown(item, accept), since
        )

    # Writing

    def _create(self, asked: Asked, target: Target) -> Object:
        body = _body(asked, target)
        if not body["metadata"].get("name") and not body["metadata"].get("generateName"):
            sentence = "Required value: name or generateName is required"
            raise invalid(target.resource.kind, target.resource.group, "", "metadata.name", sentence)
        return self._store.create(
            target.resource, target.namespace, body, _owner(asked, target, applies=False), dry=_dry(asked)
        )

    def _put(self, asked: Asked, target: Target, entry: Entry | None) -> tuple[int, Object]:
        body, resource = _body(asked, target), target.resource
        if entry is None:
            if resource.puts:
                return 201, self._create(asked, target)
            raise not_found(target.name, resource.group, resource.plural)
        if resource.locked and not body["metadata"].get("resourceVersion"):
            sentence = "Invalid value: 0: must be specified for an update"
            raise invalid(resource.plural, resource.group, target.name, "metadata.resourceVersion", sentence)
        return 200, self._replace(asked, target, entry, body)

    def _merge(self, asked: Asked, target: Target, entry: Entry) -> Object:
        if not isinstance(asked.body, dict):
            raise RefusedError(400, "the body of a merge patch must be an object")
        merged = _merged(entry.item, asked.body)
        return self._replace(asked, target, entry, merged)

    def _replace(self, asked: Asked, target: Target, entry: Entry, body: Object) -> Object:
        owner = _owner(asked, target, applies=False)
        return self._store.replace(target.resource, entry, _part(target, entry.item, body), owner, dry=_dry(asked))

    def _apply(self, asked: Asked, target: Target, entry: Entry | None) -> tuple[int, Object]:
        resource = target.resource
        owner = _owner(asked, target, applies=True)
        body = _body(asked, target)
        if entry is None:
            if target.subresource:
                raise not_found(target.name, resource.group, resource.plural)
            body["metadata"] |= {"name": target.name}
            return 201, self._store.create(resource, target.namespace, body, owner, dry=_dry(asked))
        wanted = _appliable(target, body)
        force = asked.query.get("force") in ("true", "1")
        result, owners = fake_api_apply.apply(entry.item, entry.owners, wanted, owner, force=force)
        result["metadata"]["resourceVersion"] = body["metadata"].get("resourceVersion")
        result["metadata"]["uid"] = body["metadata"].get("uid", result["metadata"]["uid"])
        return 200, self._store.replace(resource, entry, result, owner, owners, dry=_dry(asked))

    def _delete(self, asked: Asked, target: Target, entry: Entry) -> Object:
        resource, metadata = target.resource, entry.item["metadata"]
        options = asked.body if isinstance(asked.body, dict) else {}
        for field, wanted in (options.get("preconditions") or {}).items():
            if metadata[field] != wanted:
                raise modified(target.name, resource.group, resource.plural)
        left = self._store.delete(resource, entry)
        if left is not None:
            return left
        details = {"name": target.name, "kind": resource.plural, "uid": metadata["uid"]}
        details |= {"group": resource.group} if resource.group else {}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _body(asked: Asked, target: Target) -> Object:
    """A copy of the object that was sent. Raises RefusedError where it is not the one that the path names."""
    if not isinstance(asked.body, dict):
        raise RefusedError(400, "the body of the request is not an object")
    body, resource = deepcopy(asked.body), target.resource
    sent = (body.get("apiVersion", resource.api_version), body.get("kind", resource.kind))
    if sent != (resource.api_version, resource.kind):
        raise RefusedError(
            400, f"{sent[0]}, Kind={sent[1]} does not match {resource.api_version}, Kind={resource.kind}"
        )
    metadata = body.setdefault("metadata", {})
    if metadata.get("namespace", target.namespace) != target.namespace:
        sentence = "the namespace of the provided object does not match the namespace sent on the request"
        raise RefusedError(400, sentence)
    if target.name and metadata.get("name", target.name) != target.name:
        told = f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        raise RefusedError(400, told)
    if len(json.dumps(body)) > REQUEST_MOST_BYTES:
        raise RefusedError(413, f"Request entity too large: limit is {REQUEST_MOST_BYTES}")
    return body


def _owner(asked: Asked, target: Target, *, applies: bool) -> Owner:
    if applies and "fieldManager" not in asked.query:
        sentence = "Required value: is required for apply patch"
        raise invalid("PatchOptions", "meta.k8s.io", "", "fieldManager", sentence)
    return Owner(asked.manager, target.subresource, applies)


def _part(target: Target, present: Object, body: Object) -> Object:
    """What this path may write: the status, or all but the status."""
    if not target.resource.status:
        return body
    if target.subresource:
        metadata = {**present["metadata"], "resourceVersion": body["metadata"].get("resourceVersion")}
        return {**_without(present, "status"), "metadata": metadata, **_only(body, "status")}
    return {**_without(body, "status"), **_only(present, "status")}


def _appliable(target: Target, body: Object) -> Object:
    if target.subresource:
        return _only(body, "status")
    return _without(body, "status") if target.resource.status else body


def _merged(present: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result = dict(present) if isinstance(present, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _shown(item: Object, accept: str) -> Object:
    """As it was asked for: whole, or its metadata alone. Raises RefusedError (406)."""
    wanted = _AS.search(accept)
    if wanted is None or item.get("kind") == "Status":
        return item
    kind = {"kind": wanted[1], "apiVersion": "meta.k8s.io/v1"}
    if ("items" in item) != wanted[1].endswith("List"):
        is_a = "a list" if "items" in item else "not a list"
        raise RefusedError(406, f"you requested {wanted[1]}, but the requested object is {is_a} ({item['kind']})")
    if "items" not in item:
        return {**kind, "metadata": item["metadata"]}
    each_kind = {**kind, "kind": "PartialObjectMetadata"}
    items = [{**each_kind, "metadata": each["metadata"]} for each in item["items"]]
    return {**kind, "metadata": item["metadata"], "items": items or None}


def _dry(asked: Asked) -> bool:
    return asked.query.get("dryRun") == "All"


def _without(item: Mapping[str, Any], *keys: str) -> Object:
    return {key: value for key, value in item.items() if key not in keys}


def _only(item: Mapping[str, Any], key: str) -> Object:
    return {key: item[key]} if key in item else {}
