"""One sidecar between raw providers and raw clients, from its beginning to its closed books."""

import asyncio
import itertools
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from builders import a_config, a_pool, a_provider, a_target
from conformance import books
from conformance.client import Client
from conformance.provider import Provider
from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry import service
from modelpool_sidecar.upstream import AiohttpUpstream

TIMEOUTS = {"connect": 1_000, "head": 1_000, "first_token": 1_000, "idle": 1_000}
COOLDOWN_SECONDS = 0.7
HEALTH = {
    "failures": 3,
    "min_requests": 3,
    "cooldown": int(COOLDOWN_SECONDS * 1000),
    "max_cooldown": int(COOLDOWN_SECONDS * 1000),
    "successes": 1,
    "ramp_up": 0,
}
TOTAL = 5_000
KEYS = {"alice": "alice-has-a-long-key", "bob": "bob-has-a-long-key-too"}
CALLERS = {"keys": "team", "source": "Secret team"}
"""The `callers` of a pool that only these two may use."""
QUIET_SECONDS = 3.0
"""How long what is given back may take; nearly always it is back at once."""

Contexts = tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]

_tasks: ContextVar["set[asyncio.Task[Any]] | None"] = ContextVar("tasks", default=None)
_numbers = itertools.count(1)


def count_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let each task of this loop be noted by the house in whose context it was made."""

    def make(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
        tasks = _tasks.get()
        if tasks is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return task

    loop.set_task_factory(make)


class Names(AbstractResolver):
    """Every name is this machine's, but those that are `unknown`."""

    def __init__(self) -> None:
        self.unknown: set[str] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host in self.unknown:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=flags)]

    async def close(self) -> None:
        pass


class House:
    """The sidecar, `primary` before `backup` in pool `chat`, `spare` in pool `spare`."""

    def __init__(
        self, sidecar: Sidecar, upstream: AiohttpUpstream, providers: dict[str, Provider], names: Names
    ) -> None:
        self.timeouts: Mapping[str, int] = TIMEOUTS
        self.health: Mapping[str, int] = HEALTH
        self.sidecar, self.upstream, self.providers, self.names = sidecar, upstream, providers, names
        self.primary, self.backup = providers["primary"], providers["backup"]
        self.records: deque[Record] = deque()
        self.clients: list[Client] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.idle_tasks = 0
        self._number = next(_numbers)
        self._asked = itertools.count(1)

    def ident(self) -> str:
        """Of the next request; no other one in this process has it."""
        return f"id-{self._number}-{next(self._asked)}"

    def client(self, receive_buffer: int | None = None) -> Client:
        client = Client(self.sidecar.data_port, receive_buffer)
        self.clients.append(client)
        return client

    async def apply(self, pools: Sequence[contract.Pool], keys: Mapping[str, str] = KEYS, **changes: Any) -> None:
        """A config of these pools and all providers, `changes` in each; `keys`: of the callers."""
        digests = {name: callerkeys.digest(key) for name, key in keys.items()}
        config = a_config(pools, [self.contract(name, **changes) for name in self.providers])
        await self.sidecar.apply(config, {CALLERS["keys"]: callerkeys.encode(digests)})

    def contract(self, name: str, **changes: Any) -> contract.Provider:
        provider = self.providers[name]
        scheme = "https" if provider.contexts else "http"
        if provider.takes_prefill:
            changes["models"] = ({"name": f"{name}-model", "capabilities": ("Prefill",)},)
        changes = {"timeouts": self.timeouts, "health": self.health, **changes}
        return a_provider(name, base_url=f"{scheme}://{name}.test:{provider.port}/v1", **changes)

    async def without_primary(self) -> None:
        """Another config: pool `chat` has only the backup, and the primary is no provider any more."""
        pools = [a_pool(targets=[a_target("backup")], total=TOTAL), a_pool("spare", targets=[a_target("spare")])]
        await self.sidecar.apply(a_config(pools, [self.contract(name) for name in ("backup", "spare")]), {})

    async def turn(self, provider: str, fault: Any) -> None:
        """From now on that provider does that."""
        if fault is not None and fault.dns:
            self.names.unknown.add(f"{provider}.test")
        else:
            self.names.unknown.discard(f"{provider}.test")
        await self.providers[provider].turn(fault)

    def leave(self) -> None:
        """No client is there any more."""
        for client in self.clients:
            client.close()

    async def settled(self) -> list[str]:
        """The books, once they are closed or it has taken too long."""
        self.leave()
        end = asyncio.get_running_loop().time() + QUIET_SECONDS
        while (left := books.still_open(self)) and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
        return left


@asynccontextmanager
async def house(
    pool: Mapping[str, Any] = MappingProxyType({}),
    timeouts: Mapping[str, int] = MappingProxyType({}),
    tls: Contexts | None = None,
    *,
    prefill: bool = False,
    providers: Mapping[str, Provider] | None = None,
    pools: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    health: Mapping[str, int] = MappingProxyType({}),
) -> AsyncIterator[House]:
    """`pool`: fields of pool `chat`; `pools`: other pools, by name. `timeouts`, `health`: of the providers, where they
    are others than usual. `tls`: contexts of a trusted server, of another one, and of who trusts the first; then the
    primary speaks TLS. `prefill`: the backup declares it, and goes on from the text that it is given. `providers`:
    others than the usual three.

    RuntimeError where something is left when it has stopped.
    """
    tasks: set[asyncio.Task[Any]] = set()
    _tasks.set(tasks)
    async with AsyncExitStack() as stack:  # so that what was begun is ended, also where the rest never began
        providers = dict(providers or {name: Provider(name) for name in ("primary", "backup", "spare")})
        if tls is not None:
            providers["primary"].contexts = tls[:2]
        providers["backup"].takes_prefill = prefill
        for provider in providers.values():
            stack.push_async_callback(provider.stop)
            await provider.start()
        names = Names()
        upstream = AiohttpUpstream(ssl_context=tls[2] if tls is not None else None, resolver=names)
        records: deque[Record] = deque(maxlen=100)
        settings = Settings(data_hosts=("127.0.0.1",), local_hosts=("127.0.0.1",), port=0)
        sidecar = Sidecar(settings, service.build({}), records.append, upstream=upstream)
        stack.push_async_callback(sidecar.stop)
        await sidecar.start()
        held = House(sidecar, upstream, providers, names)
        stack.callback(held.leave)
        held.records, held.tasks, held.timeouts = records, tasks, {**TIMEOUTS, **timeouts}
        held.health = {**HEALTH, **health}
        targets = [a_target("primary"), a_target("backup", priority=1)]
        fields = {"targets": targets, "total": TOTAL, "limits": {"concurrency": {"max": 8}}, **pool}
        more = [a_pool(name, **{"total": TOTAL, **others}) for name, others in pools.items()]
        await held.apply([a_pool(**fields), a_pool("spare", targets=[a_target("spare")]), *more])
        held.idle_tasks = len(tasks)
        yield held
    for _ in range(20):
        if not tasks:
            return
        await asyncio.sleep(0.01)
    raise RuntimeError(f"left after the end: {sorted(map(repr, tasks))}")
