"""What the policy costs without I/O and telemetry: microseconds per walk from route to settle.

    python benchmarks/walk.py [WALKS] [CASE ...]

A walk is one request that is answered at its first attempt: route, match, admit, choose, begin, commit, complete,
settle, release. The cases are the strategies, each with one limit on requests, and then what a pool may use beside
that, alone and all together. CPU time, the median of five rounds in which the cases take turns; the bound that the
project sets itself is 40 us.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from modelpool_config import callerkeys
from modelpool_config import models as contract
from modelpool_sidecar.core import access, affinity, estimate, matching
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.allowance import Asker, Tokens
from modelpool_sidecar.core.callers import Register, shown
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.limits import Permit, tightest
from modelpool_sidecar.core.outcome import BY_DEFAULT, Outcome
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.core.request import Request, parse
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State

STRATEGIES: tuple[contract.StrategyName, ...] = (
    "Weighted",
    "RoundRobin",
    "LeastRequests",
    "LowestLatency",
    "LowestCost",
    "LowestUsage",
    "ConsistentHash",
)
ROUNDS = 5
WEIGHTS = (70, 20, 10)
NEVER = 10**9
"""No walk reaches a limit of so many: every one that is looked at is taken from, too."""
KEYS = "keys.json"
CALLER, KEY = "search", "a-key-that-only-this-measurement-has"
HEADERS = (
    ("host", "127.0.0.1:4891"),
    ("content-type", "application/json"),
    ("authorization", f"Bearer {KEY}"),
    ("x-session", "s-1234"),
    ("x-tenant", "tenant-17"),
)
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x" * 400}], "max_tokens": 200}).encode()
USED = Usage(input_tokens=110, output_tokens=90)


def requests(name: str, **changes: object) -> contract.RequestLimit:
    """A limit on requests that is never reached."""
    plain = {"name": name, "max": NEVER, "per": 1_000, "burst": NEVER, "scope": "Sidecar"}
    return contract.RequestLimit.model_validate({**plain, **changes})


def tokens(name: str, **changes: object) -> contract.TokenLimit:
    """The same of tokens."""
    plain = {"name": name, "max": NEVER, "per": 1_000, "burst": NEVER, "scope": "Sidecar", "count": "Total"}
    return contract.TokenLimit.model_validate({**plain, **changes})


def _both(name: str) -> contract.Limits:
    return contract.Limits(requests=(requests(name),), tokens=(tokens(name),))


@dataclass(frozen=True, slots=True)
class Uses:
    """What a pool uses beside targets and weights."""

    strategy: contract.StrategyName = "Weighted"
    pool: contract.Limits = field(default_factory=contract.Limits)
    target: contract.Limits = field(default_factory=contract.Limits)
    provider: contract.Limits = field(default_factory=contract.Limits)
    caller: contract.Limits | None = None


def _at_once(mode: Literal["Fixed", "Adaptive"] = "Fixed") -> contract.Limits:
    return contract.Limits(concurrency=contract.Concurrency(max=100, mode=mode))


ONE = contract.Limits(requests=(requests("all"),))
TENANT, USER = requests("tenant", by="Header", header="x-tenant"), requests("user", by="Header", header="x-session")
CASES: Mapping[str, Uses] = MappingProxyType(
    {
        **{strategy: Uses(strategy, ONE) for strategy in STRATEGIES},
        "no limits": Uses(),
        "two limits by Header": Uses(pool=contract.Limits(requests=(TENANT, USER))),
        "targets and Providers": Uses(
            target=contract.Limits(requests=(requests("t"),)), provider=contract.Limits(requests=(requests("p"),))
        ),
        "at once at targets": Uses(target=_at_once(), provider=_at_once()),
        "at once, found out": Uses(target=_at_once("Adaptive"), provider=_at_once("Adaptive")),
        "tokens": Uses(pool=contract.Limits(tokens=(tokens("minute"),))),
        "tokens everywhere": Uses(
            pool=contract.Limits(tokens=(tokens("minute"),)),
            target=contract.Limits(tokens=(tokens("t"),)),
            provider=contract.Limits(tokens=(tokens("p"),)),
        ),
        "callers' keys": Uses(pool=ONE, caller=contract.Limits()),
        "a limit of each caller": Uses(pool=contract.Limits(requests=(requests("own", by="Caller"),)), caller=ONE),
        "everything": Uses(
            "LowestUsage",
            pool=contract.Limits(
                requests=(requests("own", by="Caller"), TENANT), tokens=(tokens("minute"), tokens("in", count="Input"))
            ),
            target=_both("t"),
            provider=_both("p"),
            caller=_both("c"),
        ),
    }
)


def snapshot(strategy: contract.StrategyName, weights: Sequence[int] = WEIGHTS, *, tiers: bool = False) -> Snapshot:
    """One pool with a limit on requests; its targets are t0, t1, ... by these weights, or each in a tier of its own."""
    return built(Uses(strategy, ONE), weights, tiers=tiers)


def built(uses: Uses, weights: Sequence[int] = WEIGHTS, *, tiers: bool = False) -> Snapshot:
    """One pool that uses this."""
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
            limits=uses.provider,
        )
        for index in range(len(weights))
    )
    entries = () if uses.caller is None else (contract.CallerEntry(name=CALLER, limits=uses.caller),)
    pool = contract.Pool(
        name="chat",
        models=("chat",),
        strategy=uses.strategy,
        consistent_hash=contract.ConsistentHash(by="Header", header="x-session")
        if uses.strategy == "ConsistentHash"
        else None,
        targets=tuple(
            contract.Target(
                name=f"t{index}",
                provider=f"p{index}",
                model="m",
                weight=weight,
                priority=index if tiers else 0,
                limits=uses.target,
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
        limits=uses.pool,
        callers=contract.Callers(keys=KEYS, source="Secret keys", entries=entries) if entries else None,
        total=600_000,
        last_resort="SoonestToRecover",
        pinning="Allowed",
        response_model="Served",
    )
    config = contract.Config(
        schema_version=contract.SCHEMA_VERSION, namespace="default", providers=providers, pools=(pool,), closed=()
    )
    return compile_config(config)


def register() -> Register:
    """One caller with a key."""
    known = Register()
    known.replace({KEYS: callerkeys.encode({CALLER: callerkeys.digest(KEY)})}, 0.0)
    return known


def walk(known: Snapshot, state: State, request: Request, rng: random.Random, now: float, keys: Register) -> None:
    """One request that is answered at once."""
    visitor = Visitor(keys, shown(request.headers) if known.caller_files else None, now)
    pool = access.find(known, request.model, visitor)
    assert isinstance(pool, Pool)
    tiers = matching.tiers(pool, request.headers)
    assert isinstance(tiers, tuple)
    asker = Asker(request.headers, known.namespace, visitor.caller(pool))
    if pool.counts_tokens:
        size = estimate.size(request)
        asker = Asker(request.headers, known.namespace, asker.caller, size, state.estimates.of_pool(pool, size))
    permit = state.admit(pool, now, asker)
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
        asker=asker,
    )
    step = dispatch.next(now)
    assert isinstance(step, Try)
    dispatch.commit(now + 0.2)
    tightest((*permit.told, *dispatch.told))
    if asker.size is not None:
        state.estimates.learn(pool, step.target, asker.size, USED)
        dispatch.settle(Tokens(110, 90), now + 0.3)
    dispatch.complete(Outcome.OK, now + 0.3)
    dispatch.abandon(now + 0.3)
    if asker.size is not None:
        permit.settle(dispatch.used, now + 0.3)
    permit.release()


def measure(cases: Iterable[str], walks: int) -> dict[str, float]:
    """Microseconds per walk of each case, the median of the rounds."""
    request = parse("POST", "/v1/chat/completions", HEADERS, BODY)
    assert isinstance(request, Request)
    keys, rng = register(), random.Random(1)
    known = {case: (built(CASES[case]), State()) for case in cases}
    rounds: dict[str, list[float]] = {case: [] for case in known}
    for number in range(ROUNDS):
        for case, (snapshot, state) in known.items():
            began = time.process_time()
            for step in range(walks // ROUNDS):
                walk(snapshot, state, request, rng, 1_000.0 + number * walks + step * 0.001, keys)
            rounds[case].append((time.process_time() - began) / (walks // ROUNDS))
    return {case: statistics.median(each) * 1_000_000 for case, each in rounds.items()}


def main(arguments: list[str]) -> int:
    """Print the table."""
    walks = int(arguments[0]) if arguments else 100_000
    for case, cost in measure([name for name in CASES if name in arguments[1:]] or CASES, walks).items():
        print(f"{case:24} {cost:6.1f} us per walk")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
