"""Through which address a client reaches the fake API, what was asked there, and what goes wrong on the way.

Every door leads to the same store and has faults of its own: so one of two operators can be cut off alone.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from fake_api_status import status
from fake_api_store import Signal

WRITES = ("POST", "PUT", "PATCH", "DELETE")
BODY_MOST_BYTES = 16 * 1024 * 1024

Answer = Callable[["Door", web.Request, "Asked"], Awaitable[web.StreamResponse]]
Order = Literal["drop", "end", "bookmark"] | dict[str, Any]
"""What a running watch is told to do; a dict is an ERROR event with this Status."""


@dataclass(slots=True)
class Asked:
    """One request. `holders`: who held each Lease when it was done, by namespace/name; `status`: None until it is
    answered; `left`: the connection was closed before that."""

    door: str
    at: float
    method: str
    path: str
    query: Mapping[str, str]
    user_agent: str
    accept: str
    manager: str
    body: Any
    holders: Mapping[str, str]
    status: int | None = None
    left: bool = False

    @property
    def writes(self) -> bool:
        return self.method in WRITES

    @property
    def watches(self) -> bool:
        return self.query.get("watch") in ("true", "1")


@dataclass(slots=True)
class Rule:
    """What happens to the next requests that match. `code` None: it is done, and the answer is lost on the way."""

    method: str
    path: re.Pattern[str]
    code: int | None
    times: int | None
    message: str = ""
    retry_after_seconds: int | None = None

    def takes(self, method: str, path: str) -> bool:
        """Whether this one is meant; counts down."""
        if self.times == 0 or self.method not in ("*", method) or not self.path.search(path):
            return False
        self.times = None if self.times is None else self.times - 1
        return True


@dataclass(slots=True, eq=False)
class Watching:
    """A watch that runs."""

    plural: str
    orders: deque[Order] = field(default_factory=deque)


class Door:
    """A listening address on loopback. `mend` ends every fault."""

    def __init__(
        self,
        name: str,
        changed: Signal,
        answer: Answer,
        ask: Callable[..., Asked],
        holders: Callable[[], Mapping[str, str]],
    ) -> None:
        self.name = name
        self.port = 0
        self.watching: set[Watching] = set()
        self._changed = changed
        self._answer = answer
        self._ask = ask
        self._holders = holders
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._silent = False
        self._cut = False
        self._slow: tuple[float, re.Pattern[str]] | None = None
        self._rules: list[Rule] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubeconfig(self, folder: Path) -> Path:
        """A file for KUBECONFIG that leads here."""
        path = folder / f"kubeconfig-{self.name}.json"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": "fake"}}],
        }
        path.write_text(json.dumps(config))
        return path

    # Faults

    def silence(self) -> None:
        """Connections stay open and no byte comes; what is asked meanwhile is done when it speaks again, unless who
        asked has left."""
        self._silent = True

    def speak(self) -> None:
        self._silent = False
        self._changed.fire()

    def cut(self) -> None:
        """Every connection is reset when something is asked, running watches at once."""
        self._cut = True
        self.drop_watches()

    def slow(self, seconds: float, path: str = "") -> None:
        """Every request whose path matches takes so much longer."""
        self._slow = (seconds, re.compile(path))

    def fail(self, method: str, path: str, code: int, times: int | None = 1, message: str = "") -> Rule:
        """The next `times` requests (None: all) whose method ("*": any) and path with query match get this status. The
        same as long as its `times` are not 0."""
        return self._rule(Rule(method, re.compile(path), code, times, message))

    def throttle(self, times: int | None = 1, retry_after_seconds: int = 1, path: str = "") -> Rule:
        """429 with Retry-After."""
        sentence = "too many requests, please try again later"
        return self._rule(Rule("*", re.compile(path), 429, times, sentence, retry_after_seconds))

    def lose_answers(self, method: str, path: str, times: int | None = 1) -> Rule:
        """What is asked is done, and the connection breaks before the answer comes."""
        return self._rule(Rule(method, re.compile(path), None, times))

    def mend(self) -> None:
        """No fault any more; where it refused, `listen` is what helps."""
        self._cut, self._slow = False, None
        self._rules.clear()
        self.speak()

    def drop_watches(self, plural: str = "") -> int:
        """Running watches (of this kind) break in the middle of a line. How many there were."""
        return self._order("drop", plural)

    def end_watches(self, plural: str = "") -> int:
        """Running watches end as they do when their time is over."""
        return self._order("end", plural)

    def send_bookmarks(self, plural: str = "") -> int:
        """Running watches that take bookmarks get one."""
        return self._order("bookmark", plural)

    def error_event(self, code: int = 500, plural: str = "", message: str = "the store is out of order") -> int:
        """Running watches get an ERROR event, and end."""
        return self._order(status(code, message), plural)

    async def refuse(self) -> None:
        """Stop listening, and break every connection."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._break_connections()

    async def listen(self) -> None:
        """Start listening, at the same port as before."""
        if self._runner is None:
            app = web.Application(client_max_size=BODY_MOST_BYTES)
            app.router.add_route("*", "/{path:.*}", self._serve)
            self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await self._runner.setup()
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await self._site.start()
            self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        await self.refuse()
        if self._runner is not None:
            await self._runner.cleanup()

    # The way of a request

    async def spoken(self) -> None:
        """Returns when it does not keep silent."""
        while self._silent:
            await self._changed.wait()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        asked = self._ask(self, request, raw)
        try:
            return await self._go_through(request, asked)
        except asyncio.CancelledError:
            asked.left = True
            self._changed.fire()
            raise

    async def _go_through(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        if self._cut:
            await self._abort(request)
        await self.spoken()
        if self._slow is not None and self._slow[1].search(request.path_qs):
            await asyncio.sleep(self._slow[0])
        rule = next((rule for rule in self._rules if rule.takes(request.method, request.path_qs)), None)
        if rule is not None and rule.code is not None:
            answer: web.StreamResponse = _refusal(rule)
        else:
            asked.holders = self._holders()
            answer = await self._answer(self, request, asked)
            if rule is not None:
                asked.status = answer.status
                await self._abort(request)
        await self.spoken()
        asked.status = answer.status
        self._changed.fire()
        return answer

    async def _abort(self, request: web.Request) -> None:
        """Reset the connection; never returns, because the handler is cancelled with it."""
        if request.transport is not None:
            request.transport.abort()
        self._changed.fire()
        await asyncio.Event().wait()

    def _rule(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def _order(self, order: Order, plural: str) -> int:
        meant = [watching for watching in self.watching if plural in ("", watching.plural)]
        for watching in meant:
            watching.orders.append(order)
        self._changed.fire()
        return len(meant)

    def _break_connections(self) -> None:
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()


def _refusal(rule: Rule) -> web.Response:
    assert rule.code is not None
    headers = {} if rule.retry_after_seconds is None else {"Retry-After": str(rule.retry_after_seconds)}
    details = {} if rule.retry_after_seconds is None else {"retryAfterSeconds": rule.retry_after_seconds}
    body = status(rule.code, rule.message or f"a fault of the test: {rule.code}", details=details)
    return web.json_response(body, status=rule.code, headers=headers)
