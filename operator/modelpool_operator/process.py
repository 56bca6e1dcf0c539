"""The operator as a process: reads its environment, competes for the Lease, leads, and gives the Lease up at a signal.

Exit code 0 after a signal, 2 where the environment, the way to the API server or the port cannot be used.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
from collections.abc import Callable

from modelpool_operator import access
from modelpool_operator.access import AccessError
from modelpool_operator.elector import Elector
from modelpool_operator.kube import Kube
from modelpool_operator.leading import Leading
from modelpool_operator.probes import Probes
from modelpool_operator.settings import Settings, SettingsError
from modelpool_operator.telemetry import Telemetry

SILENT_SECONDS = 60.0
STALE_RESYNCS = 3.0

logger = logging.getLogger("modelpool_operator")


def main() -> int:
    """Run until a signal; the process's exit code."""
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no logger before the settings
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    return asyncio.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Compete and lead until a signal."""
    try:
        found = await access.configuration(settings.kubeconfig)
    except AccessError as error:
        logger.error("%s", error)
        return 2
    telemetry = Telemetry(os.environ)
    async with access.client(found) as client:
        operator = Operator(settings, Kube(client), telemetry, lambda: access.connection(found))
        try:
            return await operator.run()
        finally:
            await asyncio.to_thread(telemetry.shutdown)


class Operator:
    """One replica: stands by or leads. `kube` is asked for nothing but reads and the Lease until it leads."""

    def __init__(self, settings: Settings, kube: Kube, telemetry: Telemetry, login: Callable[[], access.Login]) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._login = login
        self._kube = kube
        self._started: float | None = None
        self._term: Leading | None = None
        instance = settings.instance
        self.elector = Elector(
            kube, instance.namespace, instance.lease, settings.identity, lambda: asyncio.get_running_loop().time()
        )
        kube.guard(lambda: self.elector.held)
        self.probes = Probes(telemetry, self.why_not_ready)

    async def run(self) -> int:
        """Listen, compete, lead; until a signal."""
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        try:
            port = await self.probes.start(self._settings.host, self._settings.port)
        except OSError as error:
            logger.error("%s; set MODELPOOL_LISTEN to another address", error.strerror or error)
            return 2
        where = ", ".join(self._settings.watch_namespaces) or "all namespaces"
        logger.info("%s watches %s; probes on port %d", self._settings.instance, where, port)
        ended = asyncio.Event()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, ended.set)
        tasks = [asyncio.create_task(self.elector.run(self.lead)), asyncio.create_task(self.probes.measure())]
        stopping = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            failed = await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(OSError):
                await self.probes.stop()
        for fault in failed:
            if isinstance(fault, Exception):
                logger.error("it ends: %s", fault, exc_info=fault)
                return 1
        logger.info("ended by a signal")
        return 0

    async def lead(self) -> None:
        """One term."""
        self._term = Leading(self._kube, self._settings, self._telemetry, self._login, random.random)
        self._telemetry.leading(True)
        try:
            await self._term.run()
        finally:
            self._telemetry.leading(False)
            self._term = None

    def why_not_ready(self) -> str | None:
        """A leader is ready when everything is listed and was not long ago; a standby when the API server answers."""
        now = asyncio.get_running_loop().time()
        term = self._term
        if term is not None:
            if term.resynced is None:
                return "leading, and not everything is listed yet"
            age = now - term.resynced
            if age > STALE_RESYNCS * self._settings.resync_seconds:
                return f"everything was listed last {age:.0f} s ago"
            return None
        heard = self.elector.heard
        if heard is None:
            return "the API server has not answered yet"
        if now - heard > SILENT_SECONDS:
            return f"the API server has not answered for {now - heard:.0f} s"
        return None
