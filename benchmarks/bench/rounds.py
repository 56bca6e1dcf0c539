"""One round with one contender: start it, load it in four ways, read what it used, stop it.

Every contender starts afresh in every round, and the rounds of all of them take turns, so that a noisy neighbour
spoils a round of each and not all rounds of one.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import procfs
from bench.contenders import Contender, Place
from bench.loads import Bench, Load, Upstream, Window
from bench.processes import running
from bench.starting import first_answer, free_port

SATURATED = 0.95
"""Of one core. Above it the tools are what requests/s tells about; above it a proxy lets chunks queue up."""
SETTLE_SECONDS = 0.3
CONNECTIONS, PACED_RATE, HELD_STREAMS = 64, 20, 500


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. The four loads follow from it."""

    rounds: int = 7
    seconds: float = 2.0

    def single(self) -> Load:
        return Load(connections=1, window_ms=self._ms(0.5), warmup_ms=200)

    def many(self) -> Load:
        return Load(connections=CONNECTIONS, window_ms=self._ms(1), warmup_ms=self._ms(0.25))

    def paced(self) -> Load:
        """20 streams a second, each of 50 chunks, one every 5 ms: what a reader sees."""
        return Load(
            connections=1000, window_ms=self._ms(1), warmup_ms=300, rate=PACED_RATE, chunks=50, interval_us=5_000
        )

    def held(self) -> Load:
        """500 streams that stay open, each with a chunk every 100 ms: what a chunk costs."""
        chunks = 1_000 + int(self.seconds * 10)
        return Load(
            connections=HELD_STREAMS,
            window_ms=self._ms(1),
            warmup_ms=1_000,
            chunks=chunks,
            interval_us=100_000,
            hold=True,
        )

    def _ms(self, share: float) -> int:
        return max(1, round(self.seconds * share * 1000))


@dataclass(frozen=True, slots=True)
class Result:
    """One contender's figures in one round, and what went wrong in it."""

    figures: dict[str, float]
    faults: Counter[str] = field(default_factory=Counter)
    first_fault: str = ""


def measure_direct(bench: Bench, plan: Plan, upstream: Upstream) -> Result:
    """Without any proxy: what the tools themselves can do, and the floor under every latency."""
    tools = _cpu_of((upstream.pid,))
    single = bench.send(plan.single(), upstream.port)
    many = bench.send(plan.many(), upstream.port, tools)
    paced = bench.send(plan.paced(), upstream.port)
    figures = {
        "p50_us": single.latency.p50,
        "requests_per_second": many.requests / many.seconds,
        "tools_cpu_us_per_request": _tools_seconds(many) / max(many.requests, 1) * 1e6,
        "first_chunk_p50_us": paced.first_chunk.p50,
        "chunk_p50_us": paced.chunk.p50,
    }
    return _result(figures, single, many, paced)


def measure(bench: Bench, plan: Plan, contender: Contender, direct: Result, folder: Path) -> Result:
    """A proxy, with a fake upstream of its own; `direct` is the same round's figure without one."""
    with bench.upstream() as upstream:
        port = free_port()
        launch = contender.prepare(Place(folder, upstream.port, port))
        log = folder / "contender.log"
        since = time.perf_counter()
        with running(launch.command, core=bench.cores.proxy, env=launch.env, folder=folder, log=log) as process:
            start_seconds = first_answer(contender.name, process, port, since, log)
            time.sleep(SETTLE_SECONDS)
            pids = procfs.tree(process.pid)
            idle = procfs.memory(pids)
            proxy, tools = _cpu_of(pids), _cpu_of((upstream.pid,))
            single = bench.send(plan.single(), port)
            many = bench.send(plan.many(), port, tools, proxy)
            paced = bench.send(plan.paced(), port)
            held = bench.send(plan.held(), port, tools, proxy)
            time.sleep(SETTLE_SECONDS)
            after = procfs.memory(procfs.tree(process.pid))
    figures = {
        "start_ms": start_seconds * 1e3,
        "p50_us": single.latency.p50,
        "added_p50_us": single.latency.p50 - direct.figures["p50_us"],
        "p99_us_c64": many.latency.p99,
        "requests_per_second": many.requests / many.seconds,
        "cpu_us_per_request": _each(many.cpu_seconds[1], many.requests),
        "tools_busy": _tools_seconds(many) / many.seconds,
        "first_chunk_p50_us": paced.first_chunk.p50,
        "first_chunk_p99_us": paced.first_chunk.p99,
        "chunk_p50_us": paced.chunk.p50,
        "chunk_p99_us": paced.chunk.p99,
        "cpu_us_per_chunk": _each(held.cpu_seconds[1], held.chunks),
        "held_busy": held.cpu_seconds[1] / held.seconds,
        "rss_idle_mb": idle.rss_mb,
        "rss_after_mb": after.rss_mb,
        "pss_idle_mb": idle.pss_mb,
        "pss_after_mb": after.pss_mb,
    }
    return _result(figures, single, many, paced, held)


def run(
    bench: Bench, plan: Plan, contenders: list[Contender], say: Callable[[str], None]
) -> Iterator[tuple[str, Result]]:
    """All rounds, each contender's result as soon as it is there; `direct` comes first in every round."""
    for number in range(1, plan.rounds + 1):
        say(f"round {number}/{plan.rounds}: direct")
        with bench.upstream() as upstream:
            direct = measure_direct(bench, plan, upstream)
        yield "direct", direct
        for contender in contenders:
            say(f"round {number}/{plan.rounds}: {contender.name}")
            folder = bench.folder / f"{contender.name}-{number}"
            folder.mkdir()
            yield contender.name, measure(bench, plan, contender, direct, folder)


def _cpu_of(pids: tuple[int, ...]) -> Callable[[], float]:
    return lambda: procfs.cpu_seconds(pids)


def _tools_seconds(window: Window) -> float:
    """CPU time of the load generator and of the fake upstream, which is watched first."""
    return window.tool_cpu_seconds + window.cpu_seconds[0]


def _each(seconds: float, count: int) -> float:
    return seconds / max(count, 1) * 1e6


def _result(figures: dict[str, float], *windows: Window) -> Result:
    faults: Counter[str] = Counter()
    for window in windows:
        faults.update(window.faults)
    return Result(figures, faults, next((window.first_fault for window in windows if window.first_fault), ""))
