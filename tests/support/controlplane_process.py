"""A process that a test starts and that cannot outlive it: stopped on request, and by the kernel where nobody can ask.

The kernel's signal comes when the *thread* that started a process ends, so all are started by one thread that lives as
long as this process. Run as a script, it asks for that signal and becomes the program.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


class Child:
    """A running program in a session of its own, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.name = Path(command[0]).name
        self.log = log
        launcher = [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]
        with log.open("ab") as output:
            self._process = _STARTER.submit(
                subprocess.Popen,
                launcher,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            ).result()

    def __repr__(self) -> str:
        return f"<{self.name} {self.pid}: {'running' if self.running else f'ended with {self._process.returncode}'}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def pause(self) -> None:
        """Its connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a crash does; wait for its end."""
        self._process.kill()
        self._process.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines that it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _become(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the process that started this one is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
