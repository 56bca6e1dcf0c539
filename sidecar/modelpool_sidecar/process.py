"""The sidecar as a process: reads its environment, follows the mounted config, drains at a signal.

Live as soon as it listens, ready with the first valid config (B49). SIGTERM and SIGINT drain (B51); a second one ends
at once. Exit code 0 after a drain, 2 where the environment or a port cannot be used.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine

from modelpool_sidecar.app import LoopClock, Sidecar
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.following import Follower
from modelpool_sidecar.reload import Mount
from modelpool_sidecar.requestlog import RequestLog
from modelpool_sidecar.settings import Settings, SettingsError
from modelpool_sidecar.telemetry import service
from modelpool_sidecar.telemetry.service import TelemetryService

FLUSH_SECONDS = 3.0
HURRIED_FLUSH_SECONDS = 0.2
"""What spans get after a second signal."""

logger = logging.getLogger("modelpool_sidecar")


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
    return asyncio.run(serve(settings))


async def serve(settings: Settings) -> int:
    """Listen, follow the mount, drain."""
    telemetry = service.build(os.environ, monotonic=asyncio.get_running_loop().time)
    log = _log(settings)
    try:
        return await _run(settings, telemetry, Sidecar(settings, telemetry, log or _ignore))
    finally:
        if log is not None:
            log.flush()


async def _run(settings: Settings, telemetry: TelemetryService, sidecar: Sidecar) -> int:
    try:
        await sidecar.start()
    except OSError as error:
        logger.error("%s; set MODELPOOL_PORT to another port", error.strerror or error)
        return 2
    logger.info(
        "listening on 127.0.0.1:%d, admin on %d and %d", sidecar.data_port, sidecar.admin_port, sidecar.local_port
    )
    signals = _signals()
    following = asyncio.create_task(Follower(Mount(settings.config_dir), sidecar).follow())
    await signals.acquire()
    following.cancel()
    drained = await _unless_hurried(sidecar.drain(settings.drain_seconds), signals)
    await sidecar.stop()
    seconds = FLUSH_SECONDS if drained else HURRIED_FLUSH_SECONDS
    await _unless_hurried(_aside(lambda: telemetry.shutdown(seconds)), signals)
    return 0


def _signals() -> asyncio.Semaphore:
    """SIGTERM and SIGINT, to be taken one by one."""
    loop, came = asyncio.get_running_loop(), asyncio.Semaphore(0)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.release)
    return came


async def _unless_hurried(work: Coroutine[object, object, None], signals: asyncio.Semaphore) -> bool:
    """Do this, unless a signal comes first; whether it was done."""
    doing, asked = asyncio.create_task(work), asyncio.create_task(signals.acquire())
    await asyncio.wait([doing, asked], return_when=asyncio.FIRST_COMPLETED)
    hurried = asked.done()
    for task in (doing, asked):
        task.cancel()
    return not hurried


async def _aside(work: Callable[[], None]) -> None:
    """Do what blocks in a thread that the end of the process does not wait for."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="modelpool-end", daemon=True).start()
    await done.wait()


def _log(settings: Settings) -> RequestLog | None:
    """None where the log level is above info, or standard output was closed."""
    if settings.log_level not in ("debug", "info") or sys.stdout is None:
        return None
    return RequestLog(sys.stdout.buffer, LoopClock())


def _ignore(_record: Record) -> None:
    """No line per request."""
