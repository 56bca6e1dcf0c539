"""A whole sidecar in the test's own loop, on free loopback ports, in front of Fake providers on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from builders import a_config, a_pool, a_provider, a_target
from modelpool_config import models as contract
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.fake import FakeProvider
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry import service


class Running:
    """What a test holds: the sidecar, its records, the providers behind it."""

    def __init__(self, sidecar: Sidecar, records: list[Record], fakes: Mapping[str, FakeProvider]) -> None:
        self.sidecar, self.records, self.fakes = sidecar, records, fakes

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.sidecar.data_port}"

    @property
    def base_url(self) -> str:
        """What an SDK is given."""
        return f"{self.address}/v1"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.sidecar.admin_port}"

    @property
    def local(self) -> str:
        return f"http://127.0.0.1:{self.sidecar.local_port}"

    def provider(self, name: str, **changes: Any) -> contract.Provider:
        """A provider of the contract at that Fake's address."""
        return a_provider(name, base_url=self.fakes[name].base_url, **changes)

    async def apply(self, pools: Sequence[contract.Pool], providers: Sequence[contract.Provider], **more: Any) -> None:
        """Another config."""
        await self.sidecar.apply(a_config(pools, providers), more.pop("credentials", {}), **more)

    async def quiet(self) -> None:
        """Wait until nothing is in flight here and no provider works any more; ten seconds at most."""
        async with asyncio.timeout(10):
            for fake in self.fakes.values():
                await fake.until(lambda provider: all(attempt.ended is not None for attempt in provider.attempts))
            while self.sidecar.in_flight:  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(0)


@asynccontextmanager
async def running(
    *names: str,
    pools: Sequence[contract.Pool] | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    credentials: Mapping[str, str] | None = None,
    **fake: Any,
) -> AsyncIterator[Running]:
    """A sidecar with one Fake for each name (`primary`, `backup`), and one pool `chat` over them by priority.

    `changes`: fields of the contract's providers, by name. `fake`: arguments of every FakeProvider.
    """
    names = names or ("primary", "backup")
    fakes = {name: FakeProvider(name, **fake) for name in names}
    for provider in fakes.values():
        await provider.start()
    records: list[Record] = []
    settings = Settings(data_hosts=("127.0.0.1",), local_hosts=("127.0.0.1",), port=0)
    sidecar = Sidecar(settings, service.build({}), records.append)
    await sidecar.start()
    held = Running(sidecar, records, fakes)
    try:
        if pools is None:
            pools = [a_pool(targets=[a_target(name, priority=index) for index, name in enumerate(names)])]
        providers = [held.provider(name, **(changes or {}).get(name, {})) for name in names]
        await held.apply(pools, providers, credentials=credentials or {})
        yield held
    finally:
        await sidecar.stop()
        for provider in fakes.values():
            await provider.stop()
