"""A provider that refuses connections for a minute, with the defaults, on virtual time (B35 to B37)."""

import random

import pytest

from builders import a_config, a_pool, a_provider, a_target
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Stop, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

RATE, DOWN, OVER = 20.0, 60.0, 150.0


def play(seed: int, *, priority: int = 1) -> tuple[list[float], list[float], int]:
    """When the primary was asked while it refused, when after it, and how many requests nobody answered."""
    pools = [a_pool(targets=[a_target("primary"), a_target("backup", priority=priority)])]
    pool = compile_config(a_config(pools, [a_provider("primary"), a_provider("backup")])).pools["chat"]
    assert isinstance(pool, Pool)
    state, rng, now = State(), random.Random(seed), 0.0
    down: list[float] = []
    after: list[float] = []
    unanswered = 0
    while (now := now + rng.expovariate(RATE)) < OVER:
        state.budget(pool).request(now)
        walk = Dispatch(pool, state, "chat", now + 600, rng.random, lambda _target: ())
        while isinstance(step := walk.next(now), Try):
            if step.target.name == "primary":
                (down if now < DOWN else after).append(now)
                if now < DOWN:
                    walk.observe(Failure("primary", "primary", Outcome.UNREACHABLE, "refused"), now)
                    continue
            walk.commit(now)
            walk.complete(Outcome.OK, now)
            break
        unanswered += isinstance(step, Stop)
    return down, after, unanswered


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_of_refused_connections_costs_probes_only_and_is_over_half_a_minute_later(seed: int) -> None:
    down, after, unanswered = play(seed)
    assert unanswered == 0
    assert 3 <= len(down) <= 3 + 4, "three in a row, then probes after 5, 10, 20 and 30 s"
    assert after[0] - DOWN < 30.0


def test_what_comes_back_takes_its_share_step_by_step() -> None:
    """B36: of the requests in the seconds after the second probe few go there, a while later all."""
    _, after, _ = play(1, priority=0)
    begun = after[1]
    early = sum(begun < each <= begun + 2 for each in after)
    late = sum(begun + 15 <= each < begun + 17 for each in after)
    assert 0 < 2 * early < late
