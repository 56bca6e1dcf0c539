"""Who holds a TCP port on this machine, as far as /proc lets us see, and what is said where one cannot be had."""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelpool_cli import program

_LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def find(port: int, proc: Path = Path("/proc")) -> Holder | None:
    """The process that listens on the port; None where there is none, or where it is not ours to see."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(proc / "net" / table, port)}
    if not inodes:
        return None
    for process in proc.iterdir():
        if process.name.isdigit() and _holds(process / "fd", inodes):
            return Holder(int(process.name), _command(process))
    return None


def refusal(error: OSError, ports: Iterable[int], otherwise: str) -> str:
    """Why nobody can listen on one of these ports, who holds it, and the way out."""
    if error.errno != errno.EADDRINUSE:
        return error.strerror or str(error)
    held = next((f"port {port} is held by {holder}" for port in ports if (holder := find(port))), None)
    return f"{held or error.strerror}; end it, or {otherwise}"


def _listening(table: Path, port: int) -> Iterator[str]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        cells = row.split()
        if len(cells) > 9 and cells[3] == _LISTEN and int(cells[1].rpartition(":")[2], 16) == port:
            yield cells[9]


def _holds(descriptors: Path, inodes: set[str]) -> bool:
    try:
        names = os.listdir(descriptors)  # noqa: PTH208 - thousands of them: no object for each
    except OSError:
        return False
    return any(_link(descriptors / name) in inodes for name in names)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _command(process: Path) -> str:
    """What the program is called; its options may hold what is not ours to print."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "unknown"
    return program.title(words)[:80] or "unknown"
