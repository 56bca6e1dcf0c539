"""What operators and people ask a sidecar: is it alive, ready, in sync, and what does it think of its targets.

Two faces: one on the pod's address, without secrets and read-only; one on loopback, which shows the config and the
state and lets Fake providers be broken. The second checks Host and Origin: a web page must not reach it (B43).
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import web

from modelpool_sidecar import faults, listening
from modelpool_sidecar.core.origin import judge_origin
from modelpool_sidecar.page import status_page
from modelpool_sidecar.ports import Headers

logger = logging.getLogger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KEEP_ALIVE_SECONDS = 75.0
_STOP_SECONDS = 1.0

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminSource(Protocol):
    """What is told here; the composition root knows it."""

    def ready(self) -> str | None:
        """None once a valid config is in force, else why not yet."""
        ...

    def metrics(self) -> bytes:
        """The metrics in the Prometheus text format."""
        ...

    def digest(self) -> Mapping[str, object]:
        """Config and credentials digest, version, features: what the operator compares."""
        ...

    def config(self) -> Mapping[str, object]:
        """The config in force. It names credentials, it holds none."""
        ...

    def state(self) -> Mapping[str, object]:
        """Pools, targets with their stances, what is in flight."""
        ...

    def fakes(self) -> Sequence[str]:
        """The names of the Fake providers that this process plays."""
        ...

    def break_fake(self, name: str, fault: str) -> None:
        """Let one of `fakes` fail from now on. ValueError, with a sentence, where there is no such fault."""

    def mend_fake(self, name: str) -> None:
        """Let one of `fakes` go on."""


def public_app(source: AdminSource) -> web.Application:
    """For the kubelet, Prometheus and the operator: nothing here is secret, nothing changes anything."""
    app = _app("/livez, /readyz, /metrics and /-/digest")
    app.router.add_get("/livez", _tells(lambda: _text(200, "ok")))
    app.router.add_get("/readyz", _tells(lambda: _readiness(source.ready())))
    app.router.add_get("/metrics", _tells(lambda: _metrics(source.metrics())))
    app.router.add_get("/-/digest", _tells(lambda: _json(200, source.digest())))
    return app


def local_app(source: AdminSource) -> web.Application:
    """For people on this machine, or behind a port-forward."""

    async def break_it(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        unknown = _unknown(source, name)
        if unknown is not None:
            return unknown
        fault = request.query.get("as", "500")
        try:
            source.break_fake(name, fault)
        except ValueError as error:
            return _error(400, str(error))
        return _json(200, {"name": name, "broken": fault})

    async def mend_it(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        unknown = _unknown(source, name)
        if unknown is not None:
            return unknown
        source.mend_fake(name)
        return _json(200, {"name": name, "broken": None})

    app = _app("the status page /, /-/config, /-/state and POST /-/fake/NAME/break or mend", only_from_here=True)
    app.router.add_get("/", _tells(_status_page))
    app.router.add_get("/-/config", _tells(lambda: _json(200, source.config())))
    app.router.add_get("/-/state", _tells(lambda: _json(200, source.state())))
    app.router.add_post("/-/fake/{name}/break", break_it)
    app.router.add_post("/-/fake/{name}/mend", mend_it)
    return app


class AdminServer:
    """Listens on both faces."""

    def __init__(self, source: AdminSource) -> None:
        self._source = source
        self._runners: list[web.AppRunner] = []

    async def start_public(self, host: str, port: int) -> int:
        """Serve the public face on this address; returns the port. OSError where it is taken."""
        return await self._start(public_app(self._source), [host], port)

    async def start_local(self, hosts: Sequence[str], port: int) -> int:
        """Serve the loopback face; returns the port. OSError where it is taken."""
        return await self._start(local_app(self._source), hosts, port)

    async def close(self) -> None:
        """Stop listening; answers on their way get a moment."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _start(self, app: web.Application, hosts: Sequence[str], port: int) -> int:
        sockets = listening.bind(hosts, port)
        runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=_KEEP_ALIVE_SECONDS, shutdown_timeout=_STOP_SECONDS
        )
        await runner.setup()
        self._runners.append(runner)
        for sock in sockets:
            await web.SockSite(runner, sock).start()
        return int(sockets[0].getsockname()[1])


def _tells(tell: Callable[[], web.Response]) -> _Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        return tell()

    return handler


def _app(paths: str, *, only_from_here: bool = False) -> web.Application:
    @web.middleware
    async def in_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Every answer that is not the handler's, too, is JSON with a sentence."""
        refusal = judge_origin(_headers(request)) if only_from_here else None
        if refusal is not None:
            return _error(refusal.status, refusal.message)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as refused:
            there = " or ".join(sorted(refused.allowed_methods))
            return _error(405, f"{request.method} is not for {request.path}; use {there}")
        except web.HTTPException as refused:
            return _error(refused.status, f"there is no {request.path} here, but {paths}")
        except Exception as error:
            faults.log(logger, f"{request.path} failed", error)
            return _error(500, "the sidecar failed; its log says how")

    return web.Application(middlewares=[in_json])


def _headers(request: web.Request) -> Headers:
    return tuple((name.lower(), value) for name, value in request.headers.items())


def _unknown(source: AdminSource, name: str) -> web.Response | None:
    names = source.fakes()
    if name in names:
        return None
    there = f"there is {', '.join(sorted(names))}" if names else "this sidecar plays none"
    return _error(404, f"no Fake provider is called {name!r}; {there}")


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


def _readiness(reason: str | None) -> web.Response:
    return _text(200, "ok") if reason is None else _text(503, reason)


def _metrics(text: bytes) -> web.Response:
    return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})


def _status_page() -> web.Response:
    html, headers = status_page()
    return web.Response(body=html, headers=headers)


def _json(status: int, value: Mapping[str, object]) -> web.Response:
    return web.Response(
        status=status, body=json.dumps(value, indent=2).encode() + b"\n", content_type="application/json"
    )


def _error(status: int, message: str) -> web.Response:
    body = json.dumps({"error": {"message": message}}).encode() + b"\n"
    return web.Response(status=status, body=body, content_type="application/json")
