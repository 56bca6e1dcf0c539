"""A program that is run with its SDK pointed at us: its environment, its signals, its exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

NOT_FOUND = 127
NOT_EXECUTABLE = 126


class ProgramError(Exception):
    """It could not be started; `code` is what a shell would end with."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def environment(env: Mapping[str, str], base_url: str) -> dict[str, str]:
    """Its variables: the base URL is ours, and a key stands there because the SDK insists on one."""
    return {**env, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": env.get("OPENAI_API_KEY") or "unused"}


class Program:
    """One running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, argv: Sequence[str], env: Mapping[str, str]) -> "Program":
        """Start it with our own input and output. Raises ProgramError."""
        try:
            return cls(await asyncio.create_subprocess_exec(*argv, env=dict(env)))
        except FileNotFoundError as error:
            raise ProgramError(f"there is no program {argv[0]}", NOT_FOUND) from error
        except OSError as error:
            raise ProgramError(f"cannot start {argv[0]}: {error.strerror}", NOT_EXECUTABLE) from error

    async def wait(self) -> int:
        """Its exit code as a shell tells it: 128 + the signal that ended it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def pass_on(self, number: int) -> None:
        """Hand a signal on. A Ctrl-C in our terminal has reached it already."""
        if number == signal.SIGINT and _in_foreground():
            return
        self.send(number)

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(number)


def _in_foreground() -> bool:
    """Whether the terminal sends its signals to our whole process group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
