"""`python -m modelpool_sidecar`: the entry point of the image. Reads its environment, follows the mounted config.

Live as soon as it listens, ready with the first valid config (B49). SIGTERM and SIGINT drain (B51); a second one ends
at once. Exit code 0 after a drain, 2 where the environment or a port cannot be used.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time

from modelpool_config.codec import InvalidConfigError
from modelpool_sidecar import faults
from modelpool_sidecar.app import Sidecar
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.snapshot import CannotCompileError
from modelpool_sidecar.reload import Mount
from modelpool_sidecar.settings import Settings, SettingsError
from modelpool_sidecar.telemetry import service
from modelpool_sidecar.telemetry.logline import log_line

POLL_SECONDS = 1.0
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
    sidecar = Sidecar(settings, telemetry, _logs(settings))
    try:
        await sidecar.start()
    except OSError as error:
        logger.error("%s; set MODELPOOL_PORT to another port", error.strerror or error)
        return 2
    logger.info(
        "listening on 127.0.0.1:%d, admin on %d and %d", sidecar.data_port, sidecar.admin_port, sidecar.local_port
    )
    following = asyncio.create_task(follow(Mount(settings.config_dir), sidecar))
    await _until_signal()
    following.cancel()
    draining = asyncio.create_task(sidecar.drain(settings.drain_seconds))
    again = asyncio.create_task(_until_signal())
    await asyncio.wait([draining, again], return_when=asyncio.FIRST_COMPLETED)
    hurried = again.done()
    for task in (draining, again):
        task.cancel()
    await sidecar.stop()
    await asyncio.to_thread(telemetry.shutdown, HURRIED_FLUSH_SECONDS if hurried else FLUSH_SECONDS)
    return 0


async def follow(mount: Mount, sidecar: Sidecar) -> None:
    """Apply what the mount holds, whenever it changes, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        await poll(mount, sidecar, loop.time())
        await asyncio.sleep(POLL_SECONDS)


async def poll(mount: Mount, sidecar: Sidecar, now: float) -> None:
    """Look once. What cannot be used is told once and replaces nothing (B47); nothing ends the looking."""
    try:
        loaded = mount.poll(now)
        if loaded is None:
            return
        await sidecar.apply(loaded.config, loaded.credentials, loaded.sidecars)
    except (InvalidConfigError, CannotCompileError) as error:
        sidecar.invalid()
        if sidecar.has_config:
            logger.error("the config is not used, the last good one stays: %s", error)
        else:
            logger.error("not ready, there is no config to use yet: %s", error)
    except Exception as error:
        sidecar.invalid()
        faults.log(logger, "the config is not used, by a fault of ours", error)
    else:
        logger.info("config %s is in force: %d pools", loaded.digest[7:19], len(loaded.config.pools))


def _logs(settings: Settings) -> "_Log":
    return _Log() if settings.log_level in ("debug", "info") else _Silent()


class _Log:
    """One line of JSON per request on standard output; where nobody reads it any more, requests go on all the same."""

    def __call__(self, record: Record) -> None:
        line = log_line(record, trace_id=record.trace_id, ended=time.time())
        with contextlib.suppress(OSError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


class _Silent(_Log):
    """No line per request: the log level is above info."""

    def __call__(self, record: Record) -> None:
        """Nothing."""


async def _until_signal() -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


if __name__ == "__main__":
    sys.exit(main())
