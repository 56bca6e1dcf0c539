"""What the kubelet and Prometheus ask: is it alive, is it ready, what has it counted. Nothing secret is served."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from modelpool_operator.telemetry import CONTENT_TYPE, Telemetry

LAG_SECONDS = 1.0
STUCK_SECONDS = 30.0


class Probes:
    """`why_not_ready`: None where it is ready, else a sentence."""

    def __init__(self, telemetry: Telemetry, why_not_ready: Callable[[], str | None]) -> None:
        self._telemetry = telemetry
        self._why_not_ready = why_not_ready
        self._runner: web.AppRunner | None = None
        self._late = 0.0

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises OSError where it is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        found: int = self._runner.addresses[0][1]
        return found

    async def measure(self) -> None:
        """Note by how much the event loop is late, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(LAG_SECONDS)
            self._late = loop.time() - began - LAG_SECONDS
            self._telemetry.late(self._late)

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        if self._late > STUCK_SECONDS:
            return web.Response(status=500, text=f"the event loop was late by {self._late:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        why = self._why_not_ready()
        return web.Response(text="ok\n") if why is None else web.Response(status=503, text=f"{why}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._telemetry.scrape(), headers={"Content-Type": CONTENT_TYPE})
