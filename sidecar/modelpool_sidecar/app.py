"""One sidecar, put together: its listeners, its config, its Fake providers; from starting to drained.

Configs come in through `apply`, from the mount in a pod and from manifests on disk under `modelpool run`: the same
door, the same rules. Nothing here decides about a request.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from modelpool_config.models import Config, Fake
from modelpool_sidecar import credentials as keys
from modelpool_sidecar import openfiles
from modelpool_sidecar.activechecks import ActiveChecks
from modelpool_sidecar.admin import AdminServer
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.room import Room
from modelpool_sidecar.core.state import State
from modelpool_sidecar.credentials import MountedCredentials
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.ports import Timer
from modelpool_sidecar.proxy import Proxy
from modelpool_sidecar.server import DataServer
from modelpool_sidecar.services import Services
from modelpool_sidecar.settings import Settings
from modelpool_sidecar.telemetry.service import TelemetryService
from modelpool_sidecar.upstream import AiohttpUpstream
from modelpool_sidecar.view import View

if TYPE_CHECKING:
    from modelpool_sidecar.fake import FakeProvider

logger = logging.getLogger(__name__)


class LoopClock:
    """ports.Clock over the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time

    def wall(self) -> float:
        """Unix time."""
        return time.time()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Arrange a call."""
        return self._loop.call_later(delay, callback)


class Sidecar:
    """The data plane in one event loop. `on_record` hears of every request when it is over.

    Made inside the running loop. `fake_greeting`: what Fake providers answer with, `{name}` and `{model}` filled in.
    `upstream`: the way to providers, where it is not the system's (names, certificate authorities).
    """

    def __init__(
        self,
        settings: Settings,
        telemetry: TelemetryService,
        on_record: Callable[[Record], None],
        *,
        fake_greeting: str | None = None,
        upstream: AiohttpUpstream | None = None,
    ) -> None:
        self._clock = clock = LoopClock()
        rng = random.Random().random  # noqa: S311 - spreads load, guards nothing
        self._settings, self._telemetry, self._greeting = settings, telemetry, fake_greeting
        self._credentials = MountedCredentials(clock.now)
        self._upstream = upstream or AiohttpUpstream()
        self._state, self._callers = State(), Register()
        self._fakes: dict[str, FakeProvider] = {}
        self._applying = asyncio.Lock()
        room = Room()
        self._proxy = Proxy(
            Services(
                upstream=self._upstream,
                credentials=self._credentials,
                clock=clock,
                rng=rng,
                state=self._state,
                telemetry=telemetry,
                on_record=on_record,
                callers=self._callers,
                room=room,
            )
        )
        self._checks = ActiveChecks(self._upstream, self._credentials, clock, rng, self._state, telemetry.metrics.check)
        self._view = View(self._proxy, self._state, self._credentials, self._callers, telemetry, self._fakes, clock)
        self._server = DataServer(self._proxy.accept, refusal_body=openai.refusal_body, room=room)
        self._admin = AdminServer(self._view)
        telemetry.observe(
            self._view.target_states,
            lambda: self._proxy.in_flight,
            self._view.queue_lengths,
            self._view.cache_sizes,
        )
        self.data_port = self.admin_port = self.local_port = 0

    def __repr__(self) -> str:
        return f"<Sidecar on {self.data_port}: {self._proxy!r}>"

    @property
    def has_config(self) -> bool:
        """Whether one is in force."""
        return self._view.config_in_force is not None

    @property
    def in_flight(self) -> int:
        """Requests that were admitted and are not over."""
        return self._proxy.in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for a place in their pool."""
        return self._proxy.waiting

    async def start(self) -> None:
        """Listen on the three ports. OSError, with a sentence, where one is taken; then nothing is left open."""
        settings = self._settings
        openfiles.raise_limit()
        try:
            sockets = await self._server.start(settings.data_hosts, settings.port)
            self.data_port = int(sockets[0].getsockname()[1])
            self.admin_port = await self._admin.start_public(settings.admin_host, settings.admin_port)
            self.local_port = await self._admin.start_local(settings.local_hosts, settings.local_port)
        except OSError:
            await self.stop()
            raise

    async def apply(self, config: Config, credentials: Mapping[str, str], sidecars: int = 1) -> bool:
        """Take over a config and its keys, all in one step between two requests (B46 to B48); whether it was new.

        Raises CannotCompileError, or OSError where a Fake cannot listen, and then everything stays as it was. Where
        they are those in force, nothing happens.
        """
        async with self._applying:
            return await self._apply(config, credentials, sidecars)

    async def apply_keys(self, credentials: Mapping[str, str], sidecars: int) -> bool:
        """The same under the config in force, while there is no other to use; without one nothing happens."""
        async with self._applying:
            config = self._view.config_in_force
            return config is not None and await self._apply(config, credentials, sidecars)

    async def _apply(self, config: Config, credentials: Mapping[str, str], sidecars: int) -> bool:
        digests = {name: keys.digest(value) for name, value in credentials.items()}
        in_force = (self._view.config_in_force, self._credentials.digests(), self._state.sidecars)
        if in_force == (config, digests, sidecars):
            return False
        scripts = _scripts(config)
        started: dict[str, FakeProvider] = {}
        try:
            await self._start_fakes(scripts, started)
            snapshot = compile_config(
                config,
                credential_digest=digests.get,
                fake_base_url=lambda name: (self._fakes.get(name) or started[name]).base_url,
            )
        except BaseException:
            await _stop_all(started)
            raise
        self._fakes.update(started)
        for name, script in scripts.items():
            self._fakes[name].replace(script)
        self._credentials.replace(credentials)
        self._callers.replace(
            {file: credentials[file] for file in snapshot.caller_files if file in credentials}, self._clock.now()
        )
        self._state.sidecars = sidecars
        self._proxy.snapshot = snapshot
        self._view.take(config)
        for key in self._state.retain(snapshot):
            logger.debug("forgotten: %s", key)
        self._checks.take(snapshot)
        self._upstream.retain(snapshot.providers.keys())
        self._proxy.reloaded()
        self._telemetry.config_reload(True, snapshot.digest)
        await _stop_all({name: self._fakes.pop(name) for name in list(self._fakes) if name not in scripts})
        return True

    def invalid(self) -> None:
        """A changed config could not be used; the one in force stays (B47)."""
        self._telemetry.config_reload(False)

    def tell(self, problems: Sequence[str]) -> None:
        """What of the newest config, keys or edit is not in use, a sentence each; nothing where all of it is."""
        self._view.tell(problems)

    async def drain(self, grace: float) -> None:
        """Accept nothing new, let what runs finish within `grace` seconds, end the rest visibly (B51)."""
        self._view.draining = True
        self._proxy.drain()
        self._checks.close()
        await self._server.drain(grace)

    async def stop(self) -> None:
        """Leave nothing open."""
        self._checks.close()
        await self._server.close()
        await self._admin.close()
        await self._upstream.close()
        await _stop_all(self._fakes)
        self._fakes.clear()

    async def _start_fakes(self, scripts: Mapping[str, Fake], started: "dict[str, FakeProvider]") -> None:
        """Let those that are new listen, and put them into `started`; those that run go on where they are."""
        new = scripts.keys() - self._fakes.keys()
        if not new:
            return
        from modelpool_sidecar.fake import FakeProvider  # noqa: PLC0415 - 20 ms that only a config with a Fake costs

        for name, script in scripts.items():
            if name in new:
                fake = FakeProvider(name, script, greeting=self._greeting)
                await fake.start()
                started[name] = fake


def _scripts(config: Config) -> dict[str, Fake]:
    """What each Fake provider plays; without a script it is healthy."""
    return {provider.name: provider.fake or Fake() for provider in config.providers if provider.dialect == "Fake"}


async def _stop_all(fakes: "Mapping[str, FakeProvider]") -> None:
    for fake in fakes.values():
        await fake.stop()
