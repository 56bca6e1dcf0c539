"""Replicas that compete for one Lease on virtual time, and a judge who looks on."""

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import virtual_loop
from modelpool_operator.elector import Elector
from modelpool_operator.kube import WRITE, ApiError

WRITE_SECONDS = WRITE.total
NEVER = 1e9


@dataclass
class Server:
    """One Lease, with the optimistic lock of the real one. `calls`: what was asked of it, and what became of it."""

    lease: dict[str, Any] | None = None
    version: int = 0
    calls: list[tuple[str, int]] = field(default_factory=list)

    def answer(self, method: str, body: dict[str, Any] | None) -> dict[str, Any]:
        status = self._do(method, body)
        self.calls.append((method, status))
        if status >= 300:
            raise ApiError(status, "", f"HTTP {status}")
        return copy.deepcopy(self.lease or {})

    def _do(self, method: str, body: dict[str, Any] | None) -> int:
        if method == "POST":
            if self.lease is not None:
                return 409
        elif self.lease is None:
            return 404
        if method == "GET":
            return 200
        assert body is not None
        if method == "PUT" and body["metadata"].get("resourceVersion") != str(self.version):
            return 409
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return 200

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec


@dataclass
class Line:
    """One replica's way to the server. `there` and `back`: seconds until the server acts, and from then to the answer;
    a request that is given up is acted on all the same. `status`: what is answered instead; 0 = nobody listens."""

    server: Server
    there: float = 0.01
    back: float = 0.01
    status: int | None = None

    async def elect(self, method: str, path: str, body: Any, seconds: float) -> dict[str, Any]:
        assert path.startswith("/apis/coordination.k8s.io/v1/namespaces/ns/leases")
        loop = asyncio.get_running_loop()
        if self.status is not None:
            await asyncio.sleep(0.001)
            raise ApiError(self.status, "", f"HTTP {self.status}")
        body, back = copy.deepcopy(body), self.back
        came: asyncio.Future[dict[str, Any]] = loop.create_future()

        def act() -> None:
            try:
                found: dict[str, Any] | ApiError = self.server.answer(method, body)
            except ApiError as error:
                found = error
            loop.call_later(back, arrive, found)

        def arrive(found: dict[str, Any] | ApiError) -> None:
            if came.done():
                return
            if isinstance(found, ApiError):
                came.set_exception(found)
            else:
                came.set_result(found)

        loop.call_later(self.there, act)
        try:
            return await asyncio.wait_for(came, seconds)
        except TimeoutError:
            raise ApiError(0, "Unreachable", "it did not answer in time") from None


@dataclass
class Replica:
    """An elector with its line and a clock of its own."""

    name: str
    server: Server
    offset: float = 0.0
    rate: float = 1.0
    line: Line = field(init=False)
    elector: Elector = field(init=False)
    leads: bool = False
    terms: int = 0
    ends_in: float = NEVER
    fault: Exception | None = None
    stops_in: float = 0.0
    task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.line = Line(self.server)
        clock = asyncio.get_running_loop().time
        self.elector = Elector(
            self.line, "ns", "modelpool-operator", self.name, lambda: self.offset + self.rate * clock()
        )

    async def lead(self) -> None:
        self.leads = True
        self.terms += 1
        try:
            await asyncio.sleep(self.ends_in)
            if self.fault is not None:
                raise self.fault
        finally:
            await asyncio.sleep(self.stops_in)
            self.leads = False

    def start(self) -> "Replica":
        self.task = asyncio.get_running_loop().create_task(self.elector.run(self.lead))
        return self

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def vanish(self) -> None:
        """As a killed process: it asks nothing any more."""
        self.line.there = self.line.back = NEVER


Scene = Callable[[Server, list[Replica]], Awaitable[None]]


@dataclass
class Judge:
    """Looks at all replicas twenty times a second. `gaps`: seconds between one's hold and the next one's."""

    replicas: list[Replica]
    gaps: list[float] = field(default_factory=list)
    _holder: Replica | None = None
    _held_at: float = 0.0

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            holders = [each for each in self.replicas if each.elector.held]
            assert len(holders) <= 1, f"{[each.name for each in holders]} lead at {loop.time()}"
            for holder in holders:
                if self._holder is not None and holder is not self._holder:
                    self.gaps.append(loop.time() - self._held_at)
                self._holder, self._held_at = holder, loop.time()
            await asyncio.sleep(0.05)


def play(scene: Scene, number: int = 2, *, offsets: tuple[float, ...] = (0.0, 5e6, -3e5), rates: Any = ()) -> Judge:
    """Some replicas start together; never two of them hold the Lease, whatever the scene does."""

    async def main() -> Judge:
        server = Server()
        replicas = [
            Replica(f"replica-{each}", server, offsets[each], rates[each] if rates else 1.0) for each in range(number)
        ]
        judge = Judge(replicas)
        watching = asyncio.get_running_loop().create_task(judge.watch())
        for each in replicas:
            each.start()
        try:
            await scene(server, replicas)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
            for each in replicas:
                each.line.there = each.line.back = 0.0
                each.line.status = 0
                await each.stop()
        return judge

    return virtual_loop.run(main())


def leader_of(replicas: list[Replica]) -> Replica:
    (found,) = (each for each in replicas if each.elector.held)
    return found


async def until(holds: Callable[[], Any], seconds: float) -> float:
    """How long it took to come true."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not holds():
        assert loop.time() - began < seconds, f"it did not come true within {seconds} s"
        await asyncio.sleep(0.01)
    return loop.time() - began
