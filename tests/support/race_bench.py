"""Two targets at once, with every port in memory: how a race begins and what came of it."""

from typing import Any

from builders import a_pool, a_snapshot, a_target
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Snapshot
from virtual import DONE, ROLE, SSE, Bench, HeldDownstream, ScriptedAttempt, a_chunk

ALWAYS = {"percentile": None, "delay": 100, "max_percent": 100}
FINISH = a_chunk(finish="stop") + DONE


def two(
    *, hedging: Any = ALWAYS, providers: Any = None, names: tuple[str, ...] = ("first", "second"), **changes: Any
) -> Snapshot:
    """Targets in this order."""
    targets = [a_target(name, priority=index) for index, name in enumerate(names)]
    return a_snapshot([a_pool(targets=targets, hedging=hedging, **changes)], providers)


def raced(bench: Bench, *, stream: bool = True, **more: Any) -> tuple[HeldDownstream, ScriptedAttempt, ScriptedAttempt]:
    """A request that two targets work at."""
    client = bench.ask(stream=stream, **more)
    bench.clock.advance(0.1)
    first, second = bench.upstream.attempts[-2:]
    assert (first.provider, second.provider) == ("first", "second")
    return client, first, second


def speak(run: ScriptedAttempt, word: str = "hello") -> None:
    run.head(headers=SSE)
    run.data(ROLE + a_chunk(word))


def finish(run: ScriptedAttempt) -> None:
    run.data(FINISH)
    run.end()


def outcomes(bench: Bench) -> list[tuple[str, Outcome, bool, bool]]:
    return [(each.target, each.outcome, each.hedge, each.outrun) for each in bench.records[-1].attempts]
