"""Processes that are started on one core and always stopped again."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

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


@contextmanager
def running(
    command: Sequence[str], *, core: int, env: Mapping[str, str], folder: Path, log: Path, read_output: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """The process, in a group of its own so that Ctrl-C reaches us alone; ended with the block, however it is left."""
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
    try:
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
