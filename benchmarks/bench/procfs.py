"""What a process and its children have used: CPU time and memory, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10^6 bytes) of all processes together: resident, and with shared pages divided among their users."""

    rss_mb: float
    pss_mb: float


def tree(pid: int) -> tuple[int, ...]:
    """The process and all its descendants, now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return tuple(found)


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """User and system time so far, children that have already ended included."""
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks * _TICK_SECONDS


def memory(pids: tuple[int, ...]) -> Memory:
    rss = pss = 0
    for pid in pids:
        for line in _read(pid, "smaps_rollup").splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                rss += int(value.split()[0])
            elif name == "Pss":
                pss += int(value.split()[0])
    return Memory(rss * 1024 / 1e6, pss * 1024 / 1e6)


def _stat(pid: int) -> list[str]:
    """The fields behind the process's name, which may itself hold spaces and brackets; empty when it is gone."""
    _, _, rest = _read(pid, "stat").rpartition(")")
    return rest.split()


def _read(pid: int, name: str) -> str:
    try:
        return (_PROC / str(pid) / name).read_text()
    except OSError:
        return ""
