"""What kopf tells us: that a Provider or a pool came, changed or went. Stateless; every handler marks and is done.

kopf watches and reconnects; it writes nothing: no finalizer, no annotation, no event of its own. Its index of objects
is not used, because it keeps what vanished without a word; see `leading`. It runs in a thread and a loop of its own:
when it ends it cancels whatever else runs in its loop, and in the main thread it takes the process's signals over.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from modelpool_operator import paths
from modelpool_operator.api.meta import GROUP, VERSION

Seen = Callable[[str, str | None, Mapping[str, Any]], None]
"""Kind, type of the event (None: from a list), and the object."""

IDENTITY = "modelpool"
"""kopf asks for a user's name otherwise, which a numeric user has not."""
_STOP_SECONDS = 10.0


def registry(seen: Seen, login: Callable[[], Awaitable[kopf.ConnectionInfo]], *, scans: bool) -> kopf.OperatorRegistry:
    """Everything that kopf calls. `scans`: whether CRDs and namespaces of the whole cluster may be looked at."""
    made = kopf.OperatorRegistry()

    @kopf.on.startup(registry=made)
    async def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.watching.chunk_size = 500
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 5
        settings.networking.error_backoffs = (1,) * 60
        settings.scanning.disabled = not scans

    @kopf.on.login(registry=made)
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        return await login()

    for kind, plural in paths.PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=made, id=f"see-{plural}")(_handler(kind, seen))
    return made


def _handler(kind: str, seen: Seen) -> Callable[..., Awaitable[None]]:
    async def see(event: Mapping[str, Any], **_: Any) -> None:
        seen(kind, event["type"], event["object"])

    return see


async def run(made: kopf.OperatorRegistry, namespaces: tuple[str, ...]) -> None:
    """kopf, until cancelled; it is asked to stop then, and awaited. Raises what it ends with."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    for name in ("kopf._core.reactor.running", "kopf._cogs.clients.api"):
        logging.getLogger(name).addFilter(_is_news)
    loop = asyncio.get_running_loop()
    stop: concurrent.futures.Future[None] = concurrent.futures.Future()
    ended: asyncio.Future[None] = loop.create_future()
    operator = kopf.operator(
        registry=made,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        identity=Identity(IDENTITY),
        stop_flag=stop,
    )

    def settle(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error or RuntimeError("the watches of Providers and ModelPools ended"))

    def thread() -> None:
        error: BaseException | None = None
        try:
            asyncio.run(operator)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # our own loop may be closed by now
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=thread, name="kopf", daemon=True).start()
    try:
        await asyncio.shield(ended)
    finally:
        if not stop.done():
            stop.set_result(None)
        await asyncio.wait({ended}, timeout=_STOP_SECONDS)
        if ended.done() and not ended.cancelled():
            ended.exception()


_REPEATED = re.compile(r"OS signals are ignored|Request attempt #(?!1/)\d+/\d+ failed; will retry")


def _is_news(record: logging.LogRecord) -> bool:
    """Each watch says once a second that the API server is away; the first time is enough."""
    return _REPEATED.match(record.getMessage()) is None
