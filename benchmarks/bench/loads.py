"""One window of load: how it is asked for, what came of it, and the CPU time that others spent meanwhile."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import Cores, killed_after, running, tail


class LoadError(RuntimeError):
    """The load generator did not run to its end."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send. `rate` 0 = closed loop; `chunks` 0 = whole answers; `hold` = streams that outlive the window."""

    connections: int
    window_ms: int
    warmup_ms: int
    rate: int = 0
    chunks: int = 0
    interval_us: int = 0
    hold: bool = False

    def options(self) -> list[str]:
        stream = ["--stream", "1", "--chunks", str(self.chunks), "--interval-us", str(self.interval_us)]
        return [
            *("--connections", str(self.connections), "--rate", str(self.rate), "--hold", str(int(self.hold))),
            *("--window-ms", str(self.window_ms), "--warmup-ms", str(self.warmup_ms)),
            *(stream if self.chunks else ()),
        ]

    def limit_seconds(self) -> float:
        """By when it must have ended: its window, its patience, and the last stream."""
        return 45 + (self.window_ms + self.warmup_ms) / 1e3 + self.chunks * self.interval_us / 1e6


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Microseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured between `begin` and `end`; faults count over the whole run."""

    seconds: float
    requests: int
    chunks: int
    latency: Quantiles
    first_chunk: Quantiles
    chunk: Quantiles
    tool_cpu_seconds: float
    cpu_seconds: tuple[float, ...]
    """Of the watched processes, in the order in which they were given."""
    faults: dict[str, int] = field(default_factory=dict)
    first_fault: str = ""


def parse(line: str, cpu_seconds: tuple[float, ...]) -> Window:
    """The load generator's line of JSON."""
    raw: dict[str, Any] = json.loads(line)
    faults = {name: count for name, count in raw["by_fault"].items() if count}
    if not raw["warm"]:
        faults["never_warm"] = 1
    return Window(
        seconds=raw["seconds"],
        requests=raw["requests"],
        chunks=raw["chunks"],
        latency=Quantiles(**raw["latency_us"]),
        first_chunk=Quantiles(**raw["first_chunk_us"]),
        chunk=Quantiles(**raw["chunk_us"]),
        tool_cpu_seconds=raw["tool_cpu_us"] / 1e6,
        cpu_seconds=cpu_seconds,
        faults=faults,
        first_fault=raw["first_fault"],
    )


@dataclass(frozen=True, slots=True)
class Bench:
    """The two tools, ready to be used: where they are, on which cores, and the folder for what is written."""

    load_program: Path
    upstream_program: Path
    cores: Cores
    folder: Path

    def send(self, load: Load, port: int, *watched: Callable[[], float]) -> Window:
        """Runs one window against the port; each of `watched` tells a CPU time, read at its begin and its end."""
        command = [str(self.load_program), "--port", str(port), *load.options()]
        log = self.folder / "load.log"
        with (
            running(command, core=self.cores.tools, env={}, folder=self.folder, log=log, read_output=True) as process,
            killed_after(load.limit_seconds(), process),
        ):
            _expect(process, "begin", log)
            before = [read() for read in watched]
            _expect(process, "end", log)
            used = tuple(read() - start for read, start in zip(watched, before, strict=True))
            line = _line(process)
        if not line:
            raise LoadError(f"the load generator ended before its result: {tail(log)}")
        return parse(line, used)

    @contextmanager
    def upstream(self) -> Iterator["Upstream"]:
        """The fake provider, listening."""
        log = self.folder / "upstream.log"
        with running(
            [str(self.upstream_program)], core=self.cores.tools, env={}, folder=self.folder, log=log, read_output=True
        ) as process:
            word, _, port = _line(process).partition(" ")
            if word != "port":
                raise LoadError(f"the fake upstream did not start: {tail(log)}")
            yield Upstream(port=int(port), pid=process.pid)


@dataclass(frozen=True, slots=True)
class Upstream:
    port: int
    pid: int


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _expect(process: "subprocess.Popen[str]", word: str, log: Path) -> None:
    if _line(process) != word:
        raise LoadError(f"the load generator ended before {word!r}: {tail(log)}")
