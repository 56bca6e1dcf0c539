"""What the policy costs without I/O and telemetry: microseconds per walk from route to settle.

    python benchmarks/walk.py [WALKS] [STRATEGY ...]

A walk is one request that is answered at its first attempt: route, match, admit, choose, begin, commit, complete,
release. CPU time, the median of five rounds; the bound that the project sets itself is 40 us.
"""

import random
import statistics
import sys
import time
from collections.abc import Sequence

from modelpool_config import models as contract
from modelpool_sidecar.core import affinity, matching, routing
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.limits import Permit
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.request import Request, parse
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State

STRATEGIES: tuple[contract.StrategyName, ...] = (
    "Weighted",
    "RoundRobin",
    "LeastRequests",
    "LowestLatency",
    "LowestCost",
    "ConsistentHash",
)
ROUNDS = 5
WEIGHTS = (70, 20, 10)


def snapshot(strategy: contract.StrategyName, weights: Sequence[int] = WEIGHTS, *, tiers: bool = False) -> Snapshot:
    """One pool with a limit on requests; its targets are t0, t1, ... by these weights, or each in a tier of its own."""
    health = contract.Health(
        failures=5, min_requests=10, window=30_000, cooldown=5_000, max_cooldown=30_000, successes=2, ramp_up=10_000
    )
    providers = tuple(
        contract.Provider(
            name=f"p{index}",
            dialect="OpenAI",
            base_url=f"http://p{index}.internal/v1",
            auth=None,
            headers=(),
            forward_headers=(),
            response_headers=(),
            traffic="Normal",
            timeouts=contract.ProviderTimeouts(connect=5_000, head=None, first_token=1, idle=1, attempt=None),
            health=health,
            connections=contract.Connections(max_open=512, idle_timeout=60_000),
            trace_propagation="None",
            fake=None,
        )
        for index in range(len(weights))
    )
    limit = contract.RequestLimit(name="all", max=10**9, per=1_000, burst=10**9, scope="Sidecar")
    pool = contract.Pool(
        name="chat",
        models=("chat",),
        strategy=strategy,
        consistent_hash=contract.ConsistentHash(by="Header", header="x-session")
        if strategy == "ConsistentHash"
        else None,
        targets=tuple(
            contract.Target(
                name=f"t{index}", provider=f"p{index}", model="m", weight=weight, priority=index if tiers else 0
            )
            for index, weight in enumerate(weights)
        ),
        unresolved=(),
        fallback=contract.Fallback(
            outcomes=tuple(sorted(BY_DEFAULT)),
            statuses=(),
            max_attempts=3,
            same_target=contract.SameTarget(retries=None, initial=250, max=2_000, max_retry_after=0),
            retry_budget=contract.RetryBudget(percent=20, min_per_second=3),
        ),
        limits=contract.Limits(requests=(limit,), concurrency=None),
        total=600_000,
        last_resort="SoonestToRecover",
        pinning="Allowed",
        response_model="Served",
    )
    config = contract.Config(
        schema_version=contract.SCHEMA_VERSION, namespace="default", providers=providers, pools=(pool,), closed=()
    )
    return compile_config(config)


def walk(known: Snapshot, state: State, request: Request, rng: random.Random, now: float) -> None:
    """One request that is answered at once."""
    pool = routing.find(known, request.model or "")
    assert isinstance(pool, Pool)
    tiers = matching.tiers(pool, request.headers)
    assert isinstance(tiers, tuple)
    permit = state.admit(pool, now)
    assert isinstance(permit, Permit)
    state.budget(pool).request(now)
    dispatch = Dispatch(
        pool=pool,
        state=state,
        operation=request.operation.name,
        deadline=now + pool.total,
        rng=rng.random,
        missing=lambda _target: (),
        tiers=tiers,
        stream=request.stream,
        key=affinity.of(pool.strategy, request) if pool.strategy.by is not None else None,
    )
    assert isinstance(dispatch.next(now), Try)
    dispatch.commit(now + 0.2)
    dispatch.complete(Outcome.OK, now + 0.3)
    dispatch.abandon(now + 0.3)
    permit.release()


def measure(strategy: contract.StrategyName, walks: int) -> float:
    """Microseconds per walk, the median of the rounds."""
    known, rng = snapshot(strategy), random.Random(1)
    headers = (("host", "127.0.0.1:4891"), ("content-type", "application/json"), ("x-session", "s-1234"))
    request = parse("POST", "/v1/chat/completions", headers, b'{"model":"chat","messages":[]}')
    assert isinstance(request, Request)
    state, rounds = State(), []
    for number in range(ROUNDS):
        began = time.process_time()
        for step in range(walks // ROUNDS):
            walk(known, state, request, rng, 1_000.0 + number * walks + step * 0.001)
        rounds.append((time.process_time() - began) / (walks // ROUNDS))
    return statistics.median(rounds) * 1_000_000


def main(arguments: list[str]) -> int:
    """Print the table."""
    walks = int(arguments[0]) if arguments else 100_000
    for strategy in [name for name in STRATEGIES if name in arguments[1:]] or STRATEGIES:
        print(f"{strategy:15} {measure(strategy, walks):6.1f} us per walk")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
