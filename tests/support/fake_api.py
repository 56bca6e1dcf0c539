"""A Kubernetes API on loopback for the faults that a real one does not show on demand.

    async with FakeApi() as api:
        api.put({"apiVersion": "modelpool.dev/v1alpha1", "kind": "Provider", "metadata": {...}, "spec": {...}})
        ... a client at api.url, or KUBECONFIG=api.kubeconfig(folder) ...
        api.drop_watches()
        await api.wait_for(lambda: api.get("ConfigMap", "shop", "modelpool-config"))

It knows what the operator uses: namespaces, configmaps, secrets, pods, events, leases, definitions and the kinds that
these define, with get, list, watch, create, put, merge patch, server-side apply and delete. There is no RBAC, no schema
and no admission. `test_fake_api_contract.py` compares it with a real server.
"""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from fake_api_door import Asked, Door, Rule
from fake_api_store import Store
from fake_api_verbs import Verbs
from modelpool_operator.crds import definition

PATIENCE_SECONDS = 10.0
MAIN = "main"


class FakeApi(Store):
    """A store with doors. A fault that is asked of the API comes at every door; `api.doors[name]` has the same faults
    for one. `journal`: everything that was asked, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.doors: dict[str, Door] = {}
        self.journal: list[Asked] = []
        self._verbs = Verbs(self)
        for each in definition.DEFINITIONS:
            self.put(definition.render(each))
        self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})

    async def __aenter__(self) -> Self:
        await self.open_door(MAIN)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for door in self.doors.values():
            await door.close()

    async def open_door(self, name: str) -> Door:
        """One more address, for a client that is to be told from the others."""
        door = self.doors[name] = Door(name, self.changed, self._verbs.answer, self._ask, self._holders)
        await door.listen()
        return door

    @property
    def url(self) -> str:
        return self.doors[MAIN].url

    def kubeconfig(self, folder: Path) -> Path:
        """A file for KUBECONFIG."""
        return self.doors[MAIN].kubeconfig(folder)

    # What was asked, and waiting

    def asked(self, method: str = "", path: str = "", door: str = "") -> list[Asked]:
        """The requests with this method whose path matches."""
        pattern = re.compile(path)
        return [
            asked
            for asked in self.journal
            if method in ("", asked.method) and pattern.search(asked.path) and door in ("", asked.door)
        ]

    def writes(self, path: str = "", *, door: str = "", leases: bool = False) -> list[Asked]:
        """Everything that was to change something, but for the Leases of the elections, whatever became of it."""
        found = [asked for asked in self.asked(path=path, door=door) if asked.writes]
        return [asked for asked in found if leases or "/leases" not in asked.path]

    def watches(self, plural: str = "") -> int:
        """How many watches run."""
        running = (watching for door in self.doors.values() for watching in door.watching)
        return sum(plural in ("", watching.plural) for watching in running)

    async def wait_for(self, holds: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """What it comes to as soon as that is true, asked again at every change and request. AssertionError at the
        deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            if answer := holds():
                return answer
            try:
                await self.changed.wait(max(0.0, deadline - loop.time()))
            except TimeoutError:
                last = "\n".join(f"{each.method} {each.path} -> {each.status}" for each in self.journal[-15:])
                raise AssertionError(f"it did not come true within {seconds:g} s; the last requests:\n{last}") from None

    # Faults of the store

    def compact(self, *, as_status: bool = False) -> None:
        """Forget what happened: a watch from before and a LIST that has begun get 410. A watch gets it as an ERROR
        event, as the real server says it, or as an HTTP status."""
        super().compact()
        self._verbs.gone_as_status = as_status
        self._verbs.forget_pages()

    def lose_deleted(self, kind: str, namespace: str | None, name: str) -> None:
        """It vanishes, and no watch ever hears of it."""
        self.remove(kind, namespace, name, told=False)

    def duplicate_next_event(self, copies: int = 2) -> None:
        """Every watch gets the next change so often."""
        self.copies_of_next = copies

    def repeat_events(self, copies: int = 2) -> None:
        """Every watch gets every change so often, from now on."""
        self.copies_of_each = copies

    def lose_next_event(self) -> None:
        """No watch ever hears of the next change."""
        self.copies_of_next = 0

    def hold_events(self, plural: str) -> None:
        """Watches of this kind lag: the events of other kinds overtake."""
        self.held[plural] = self.version

    def release_events(self, plural: str) -> None:
        self.held.pop(plural, None)
        self.changed.fire()

    # Faults of every door

    def silence(self) -> None:
        for door in self.doors.values():
            door.silence()

    def speak(self) -> None:
        for door in self.doors.values():
            door.speak()

    def cut(self) -> None:
        for door in self.doors.values():
            door.cut()

    def slow(self, seconds: float, path: str = "") -> None:
        for door in self.doors.values():
            door.slow(seconds, path)

    def fail(self, method: str, path: str, code: int, times: int | None = 1, message: str = "") -> list[Rule]:
        return [door.fail(method, path, code, times, message) for door in self.doors.values()]

    def throttle(self, times: int | None = 1, retry_after_seconds: int = 1, path: str = "") -> list[Rule]:
        return [door.throttle(times, retry_after_seconds, path) for door in self.doors.values()]

    def lose_answers(self, method: str, path: str, times: int | None = 1) -> list[Rule]:
        return [door.lose_answers(method, path, times) for door in self.doors.values()]

    def mend(self) -> None:
        self.copies_of_each = 1
        for door in self.doors.values():
            door.mend()

    def drop_watches(self, plural: str = "") -> int:
        return sum(door.drop_watches(plural) for door in self.doors.values())

    def end_watches(self, plural: str = "") -> int:
        return sum(door.end_watches(plural) for door in self.doors.values())

    def send_bookmarks(self, plural: str = "") -> int:
        return sum(door.send_bookmarks(plural) for door in self.doors.values())

    def error_event(self, code: int = 500, plural: str = "", message: str = "the store is out of order") -> int:
        return sum(door.error_event(code, plural, message) for door in self.doors.values())

    async def refuse(self) -> None:
        for door in self.doors.values():
            await door.refuse()

    async def listen(self) -> None:
        for door in self.doors.values():
            await door.listen()

    def _ask(self, door: Door, request: web.Request, raw: bytes) -> Asked:
        agent = request.headers.get("User-Agent", "")
        asked = Asked(
            door=door.name,
            at=asyncio.get_running_loop().time(),
            method=request.method,
            path=request.path,
            query=dict(request.query),
            user_agent=agent,
            accept=request.headers.get("Accept", ""),
            manager=request.query.get("fieldManager", agent.partition("/")[0]),
            body=_decoded(raw),
            holders=self._holders(),
        )
        self.journal.append(asked)
        self.changed.fire()
        return asked

    def _holders(self) -> dict[str, str]:
        return {
            f"{lease['metadata']['namespace']}/{lease['metadata']['name']}": lease["spec"].get("holderIdentity") or ""
            for lease in self.items(self.of_kind("Lease"))
        }


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw
