"""What a watch of the fake API gets to see, event by event, and how it ends."""

import asyncio
import json
from collections.abc import Callable, Iterator

from aiohttp import web

from fake_api_door import Asked, Door, Order, Watching
from fake_api_kinds import Resource
from fake_api_selectors import Matches
from fake_api_status import expired
from fake_api_store import Event, Object, Store

DEFAULT_SECONDS = 1800
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}

Show = Callable[[Object], Object]


async def watch(
    store: Store,
    door: Door,
    request: web.Request,
    asked: Asked,
    resource: Resource,
    matches: Matches,
    show: Show,
    since: int,
) -> web.StreamResponse:
    """Answer with events until the time is over, the client leaves or a fault ends it."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    asked.status = response.status
    if "as=PartialObjectMetadataList" in request.headers.get("Accept", ""):
        return response  # the real one ends at once, too: no event is a list
    watching = Watching(resource.plural)
    door.watching.add(watching)
    try:
        await _Stream(store, door, request, response, watching, resource, matches, show).run(asked, since)
    except ConnectionError:
        """The client has left."""
    finally:
        door.watching.discard(watching)
    return response


class _Stream:
    """One watch."""

    def __init__(
        self,
        store: Store,
        door: Door,
        request: web.Request,
        response: web.StreamResponse,
        watching: Watching,
        resource: Resource,
        matches: Matches,
        show: Show,
    ) -> None:
        self._store = store
        self._door = door
        self._request = request
        self._response = response
        self._watching = watching
        self._resource = resource
        self._matches = matches
        self._show = show
        self._bookmarks = False
        self._seen = 0

    async def run(self, asked: Asked, since: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + float(asked.query.get("timeoutSeconds") or DEFAULT_SECONDS)
        self._bookmarks = asked.query.get("allowWatchBookmarks") in ("true", "1")
        if since and since < self._store.forgotten:
            await self._send("ERROR", expired(since, self._store.forgotten))
            return
        self._seen = since or self._store.version
        if not since:
            await self._send_all(end=asked.query.get("sendInitialEvents") == "true")
        while True:
            await self._door.spoken()
            while self._watching.orders:
                if await self._obey(self._watching.orders.popleft()):
                    return
            if await self._send_new():
                continue
            if self._resource not in self._store.resources:
                return
            try:
                await self._store.changed.wait(max(0.0, deadline - loop.time()))
            except TimeoutError:
                await self._bookmark()
                return

    async def _send_all(self, *, end: bool) -> None:
        for item in list(self._store.items(self._resource)):
            if self._matches(item):
                await self._send("ADDED", self._show(item))
        if end:
            await self._bookmark(INITIAL_EVENTS_END)

    async def _send_new(self) -> bool:
        """Everything that is new; whether there was anything."""
        until = self._store.held.get(self._resource.plural, self._store.version)
        found = [event for event in self._store.events(self._resource, self._seen) if event.version <= until]
        for event in found:
            self._seen = event.version
            for kind, item in self._seen_as(event):
                await self._send(kind, self._show(item))
            if self._watching.orders:
                break
        return bool(found)

    def _seen_as(self, event: Event) -> Iterator[tuple[str, Object]]:
        was = event.old is not None and self._matches(event.old)
        now = event.new is not None and self._matches(event.new)
        for _ in range(event.copies):
            if now and event.new is not None:
                yield ("MODIFIED" if was else "ADDED"), event.new
            elif was and event.old is not None:
                metadata = {**event.old["metadata"], "resourceVersion": str(event.version)}
                yield "DELETED", {**event.old, "metadata": metadata}

    async def _obey(self, order: Order) -> bool:
        """Whether it was the end."""
        if isinstance(order, dict):
            await self._send("ERROR", order)
        elif order == "bookmark":
            await self._bookmark()
        elif order == "drop":
            await self._response.write(b'{"type":"MODIFIED","object":{"apiVersion":"v1","ki')
            if self._request.transport is not None:
                self._request.transport.close()
            await asyncio.Event().wait()  # ends when the connection has
        return order != "bookmark"

    async def _bookmark(self, annotations: dict[str, str] | None = None) -> None:
        if self._bookmarks:
            own = {"resourceVersion": str(self._store.held.get(self._resource.plural, self._store.version))}
            metadata = {**own, **({"annotations": annotations} if annotations else {})}
            item = {"kind": self._resource.kind, "apiVersion": self._resource.api_version, "metadata": metadata}
            await self._send("BOOKMARK", self._show(item))

    async def _send(self, kind: str, item: Object) -> None:
        await self._door.spoken()
        await self._response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
