"""Processes that are started on one core and always stopped again."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Cores:
    """`proxy` for what is measured, `tools` for everything else; the same one where there is only one."""

    proxy: int
    tools: int

    @classmethod
    def pick(cls) -> "Cores":
        usable = sorted(os.sched_getaffinity(0))
        return cls(proxy=usable[0], tools=usable[1] if len(usable) > 1 else usable[0])


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What is started inside runs on this core; a child inherits the affinity of the thread that starts it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class HeldSignals:
    """Keeps Ctrl-C and SIGTERM back while a process is being started, until somebody is there to stop it.

    A handler that raises in the middle of starting would leave a process behind that nobody knows. They are held by
    handlers of ours, not by the signal mask: a child would inherit that and could not be ended any more.
    """

    def __init__(self) -> None:
        self._caught: list[int] = []
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, lambda caught, _frame: self._caught.append(caught))

    def release(self) -> None:
        """The former handlers are back, and what came in the meantime comes now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for number in self._caught:
            signal.raise_signal(number)


@contextmanager
def running(
    command: Sequence[str], *, core: int, env: Mapping[str, str], folder: Path, log: Path, read_output: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """The process, in a group of its own so that Ctrl-C reaches us alone; ended with the block, however it is left."""
    held = HeldSignals()
    try:
        with log.open("a") as sink, pinned(core):
            process = subprocess.Popen(
                command,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if read_output else sink,
                stderr=sink,
                text=True,
                start_new_session=True,
            )
    except BaseException:
        held.release()
        raise
    try:
        held.release()
        yield process
    finally:
        stop(process)


@contextmanager
def killed_after(seconds: float, process: "subprocess.Popen[str]") -> Iterator[None]:
    """A block that reads what the process says ends in time, even if the process hangs: then its output just ends."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def stop(process: "subprocess.Popen[str]") -> None:
    """SIGTERM, a moment, SIGKILL to what is left of the group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout:
        process.stdout.close()


def tail(log: Path, lines: int = 5) -> str:
    """The end of what a process has said, for the message about its failure."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
