"""A sidecar follows its mount: what is new is taken over, what cannot be used is told once and holds up nothing else.

Where the config is refused, by its reader or by the compiler, the last good one stays, and keys and the number of
sidecars are followed under it (B46, B47, B52). What failed for a passing reason is tried again with the next look.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from modelpool_config.models import Config
from modelpool_sidecar import faults
from modelpool_sidecar.core.compiled import CannotCompileError
from modelpool_sidecar.reload import Mount, Problem, Reading

POLL_SECONDS = 1.0
_FAULT = "the config is not used, by a fault of ours; the log of the sidecar says which"

logger = logging.getLogger(__name__)


class Followed(Protocol):
    """What takes configs over: the sidecar."""

    @property
    def has_config(self) -> bool:
        """Whether one is in force."""
        ...

    async def apply(self, config: Config, credentials: Mapping[str, str], sidecars: int) -> bool:
        """Take them over. CannotCompileError, or OSError for what may pass; then everything is as it was."""
        ...

    async def apply_keys(self, credentials: Mapping[str, str], sidecars: int) -> bool:
        """Take these over under the config in force, if there is one; whether something was new."""
        ...

    def invalid(self) -> None:
        """Count a config that could not be used."""

    def tell(self, problems: Sequence[str]) -> None:
        """What of the newest reading is not in use, for who asks the sidecar later."""


class Follower:
    """Looks at one mount for one sidecar."""

    def __init__(self, mount: Mount, sidecar: Followed) -> None:
        self._mount, self._sidecar = mount, sidecar
        self._again: Reading | None = None  # set by `_apply`: to be tried once more
        self._told: frozenset[Problem] = frozenset()
        self._fault_told: list[str] = []  # set by `_fault`, until the next reading

    async def follow(self) -> None:
        """Look every second, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self.poll(loop.time())
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self, now: float) -> None:
        """Look once; nothing ends the looking."""
        try:
            reading = self._mount.poll(now) or self._again
            if reading is not None:
                await self._take(reading)
        except Exception as error:
            self._fault(error)

    async def _take(self, reading: Reading) -> None:
        self._again, self._fault_told = None, []
        problems = list(reading.problems)
        in_force = reading.config is not None and await self._apply(reading, reading.config, problems)
        self._tell(problems)
        if in_force and reading.config is not None:
            logger.info("config %s is in force: %d pools", reading.digest[7:19], len(reading.config.pools))
        elif await self._sidecar.apply_keys(reading.credentials, reading.sidecars):
            logger.info("the mounted keys and number of sidecars are taken over under the last good config")

    async def _apply(self, reading: Reading, config: Config, problems: list[Problem]) -> bool:
        """Let the config be in force; whether it is, else the problem is added."""
        try:
            await self._sidecar.apply(config, reading.credentials, reading.sidecars)
        except CannotCompileError as error:
            problems.append(Problem("config", str(error), reading.digest))
        except OSError as error:
            self._again = reading
            reason = f"{error.strerror or type(error).__name__}; it is tried again every second"
            problems.append(Problem("config", reason, reading.digest))
        except Exception as error:
            self._fault(error)
        else:
            return True
        return False

    def _fault(self, error: Exception) -> None:
        self._sidecar.invalid()
        self._fault_told = [_FAULT]
        self._sidecar.tell(self._fault_told)
        faults.log(logger, "the config is not used, by a fault of ours", error)

    def _tell(self, problems: Sequence[Problem]) -> None:
        """A line for each that was not there at the look before, and a count for each config among them."""
        told, self._told = self._told, frozenset(problems)
        self._sidecar.tell([*(problem.reason for problem in problems), *self._fault_told])
        for problem in problems:
            if problem not in told:
                self._tell_one(problem)

    def _tell_one(self, problem: Problem) -> None:
        if problem.what == "credentials":
            logger.warning("%s", problem.reason)
        elif problem.what == "sidecars":
            logger.error("the number of sidecars stays as it is: %s", problem.reason)
        else:
            self._sidecar.invalid()
            good = self._sidecar.has_config
            stance = (
                "the config is not used, the last good one stays"
                if good
                else "not ready, there is no config to use yet"
            )
            content = f" (digest {problem.content.removeprefix('sha256:')[:12]})" if problem.content else ""
            logger.error("%s: %s%s", stance, problem.reason, content)
