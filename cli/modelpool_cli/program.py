"""A program that is run with its SDK pointed at us: its environment, its signals, its exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

KILL_WITHIN_SECONDS = 1.0
"""Two interrupts so close together mean: end at once."""
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


def title(argv: Sequence[str]) -> str:
    """`python app.py`, `python -m app`, `node`: what it is called, without the words that may hold a key."""
    first = argv[0].split(" ")[0] if argv else ""
    name = PurePath(first.rstrip(":")).name
    if not name.startswith("python"):
        return name
    words = iter(argv[1:])
    for word in words:
        if word == "-m":
            return f"{name} -m {next(words, '')}".rstrip()
        if word in ("-c", "-"):
            break
        if word in ("-W", "-X"):
            next(words, None)
        elif not word.startswith("-"):
            return f"{name} {PurePath(word).name}".rstrip()
    return name


class Interrupts:
    """What the program is sent when we hear a signal.

    A terminal sends Ctrl-C to the program as well as to us: how many of them it takes is its own matter, an
    interpreter's prompt takes any number. Without a terminal they are handed on, and two close together kill.
    """

    def __init__(self) -> None:
        self._last: float | None = None

    def decide(self, number: int, now: float, *, foreground: bool) -> int | None:
        """The signal to send, None for none. `foreground`: whether the terminal has sent it already."""
        if number != signal.SIGINT:
            return number
        if foreground:
            return None
        close = self._last is not None and now - self._last <= KILL_WITHIN_SECONDS
        self._last = now
        return signal.SIGKILL if close else number


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

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(number)


def in_foreground() -> bool:
    """Whether the terminal sends its signals to our whole process group."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
