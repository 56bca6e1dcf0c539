"""What is written is filled with every default, and wins over each."""

from desired_support import a_written_target, config_of, run
from manifest_cases import keyed, pool, provider, secret
from modelpool_config import models as contract


def test_the_smallest_thing_that_works_is_filled_with_every_default() -> None:
    result = run(provider(auth=keyed()), pool(), secret(api_key="sk-1\n"))
    assert result.problems == ()
    file = "openai-api-key-3a17fa7308"
    assert result.namespaces["default"].credentials == {file: "sk-1"}
    assert config_of(result) == contract.Config(
        schema_version=contract.SCHEMA_VERSION,
        namespace="default",
        providers=(
            contract.Provider(
                name="openai",
                dialect="OpenAI",
                base_url="https://api.openai.com/v1",
                auth=contract.APIKey(
                    header="Authorization", prefix="Bearer ", credential=file, source="Secret openai, key api-key"
                ),
                headers=(),
                forward_headers=(),
                response_headers=(),
                traffic="Normal",
                timeouts=contract.ProviderTimeouts(
                    connect=5_000, head=None, first_token=120_000, idle=120_000, attempt=None
                ),
                health=contract.Health(
                    failures=5,
                    min_requests=10,
                    window=30_000,
                    cooldown=5_000,
                    max_cooldown=30_000,
                    successes=2,
                    ramp_up=10_000,
                ),
                connections=contract.Connections(max_open=512, idle_timeout=60_000),
                trace_propagation="None",
                fake=None,
            ),
        ),
        pools=(
            contract.Pool(
                name="chat",
                models=("chat",),
                strategy="Weighted",
                targets=(contract.Target(name="mini", provider="openai", model="gpt-4o-mini", weight=1, priority=0),),
                unresolved=(),
                fallback=contract.Fallback(
                    outcomes=(
                        "Unreachable",
                        "Failed",
                        "LocalLimit",
                        "RateLimited",
                        "QuotaExhausted",
                        "Denied",
                        "Unsupported",
                        "TimedOut",
                        "Stalled",
                        "Broken",
                        "Empty",
                    ),
                    statuses=(),
                    max_attempts=2,
                    same_target=contract.SameTarget(retries=None, initial=250, max=2_000, max_retry_after=0),
                    retry_budget=contract.RetryBudget(percent=20, min_per_second=3),
                ),
                limits=contract.Limits(requests=(), concurrency=None),
                total=600_000,
                last_resort="SoonestToRecover",
                pinning="Allowed",
                response_model="Served",
            ),
        ),
        closed=(),
    )


def test_what_is_written_wins_over_every_default() -> None:
    spoken = provider(
        "local",
        baseURL="http://vllm:8000/v1/",
        auth=keyed("s", "k", header="X-Key"),
        headers=[{"name": "x-a", "value": "1"}, {"name": "x-b", "secretRef": {"name": "s", "key": "k"}}],
        forwardHeaders=["x-c"],
        responseHeaders=[{"name": "x-d", "value": "2"}],
        traffic="Drained",
        timeouts={"connect": "1s", "head": "2s", "firstToken": "3s", "idle": "4s", "attempt": "5s"},
        health={
            "failures": 1,
            "minRequests": 2,
            "window": "3s",
            "cooldown": "4s",
            "maxCooldown": "5s",
            "successes": 6,
            "rampUp": "0s",
            "active": {"path": "/health", "period": "1s", "statuses": ["204", "3xx"]},
        },
        connections={"maxOpen": 7, "idleTimeout": "8s"},
        quotaDomain="team",
        tracePropagation="None",
        operations=["Chat", "Embeddings"],
        limits={"requests": [{"name": "account", "max": 9, "per": "1s"}]},
        models=[
            {"name": "a", "contextTokens": 8, "maxOutputTokens": 4, "capabilities": ["Prefill"], "prefill": "Prefix"},
            {"name": "b", "prices": {"inputPerMillion": "1.50"}},
        ],
    )
    day = {
        "name": "day",
        "max": 10**12,
        "per": 86_400_000,
        "burst": 10**12,
        "scope": "Divided",
        "by": "Pool",
        "header": None,
        "mode": "Enforce",
        "count": "Total",
    }
    tenants = {"by": "Header", "header": "X-Tenant", "mode": "Observe"}
    busy = pool(
        "busy",
        models=[{"name": "gpt-*"}, {"name": "x"}],
        targets=[a_written_target("a", "local", weight=0, priority=3), a_written_target("b", "local", weight=9)],
        strategy={"type": "Weighted"},
        fallback={
            "outcomes": ["Broken"],
            "statuses": [429, "5xx"],
            "maxAttempts": 9,
            "sameTarget": {"retries": 0, "backoff": {"initial": "1s", "max": "9s"}, "maxRetryAfter": "3s"},
            "retryBudget": {"percent": 0, "minPerSecond": 0},
        },
        limits={
            "requests": [{"name": "m", "max": 60, "per": "1m", "burst": 5, "scope": "Sidecar", **tenants}],
            "tokens": [{"name": "day", "max": 10**12, "per": "24h"}],
            "concurrency": {"max": 4, "queue": {"max": 7, "timeout": "3s"}},
        },
        timeouts={"total": "30s"},
        lastResort="Refuse",
        pinning="Denied",
        stateful={"target": "a"},
        response={"model": "Requested"},
        streaming={
            "commit": "Complete",
            "headHold": "0s",
            "keepAlive": "5s",
        },
        cache={"mode": "Exact", "ttl": "1h", "maxEntries": 7, "maxBytes": 65_536, "temperature": "Any"},
    )
    result = run(spoken, busy, secret("s", k="v"))
    config = config_of(result)
    assert config.providers[0].model_dump(by_alias=True, exclude={"name", "dialect", "requires", "fake"}) == {
        "baseUrl": "http://vllm:8000/v1",
        "auth": {"header": "X-Key", "prefix": "", "credential": "s-k-3de631bf79", "source": "Secret s, key k"},
        "headers": (
            {"name": "x-a", "value": "1", "credential": None, "source": ""},
            {"name": "x-b", "value": None, "credential": "s-k-3de631bf79", "source": "Secret s, key k"},
        ),
        "forwardHeaders": ("x-c",),
        "responseHeaders": ({"name": "x-d", "value": "2", "credential": None, "source": ""},),
        "traffic": "Drained",
        "timeouts": {"connect": 1000, "head": 2000, "firstToken": 3000, "idle": 4000, "attempt": 5000},
        "health": {
            "failures": 1,
            "minRequests": 2,
            "window": 3000,
            "cooldown": 4000,
            "maxCooldown": 5000,
            "successes": 6,
            "rampUp": 0,
            "active": {"path": "/health", "period": 1000, "timeout": 1000, "statuses": ("204", "3xx")},
        },
        "connections": {"maxOpen": 7, "idleTimeout": 8000},
        "quotaDomain": "team",
        "tracePropagation": "None",
        "models": (
            {
                "name": "a",
                "prices": None,
                "contextTokens": 8,
                "maxOutputTokens": 4,
                "capabilities": ("Prefill",),
                "prefill": "Prefix",
            },
            {
                "name": "b",
                "prices": {"inputPerMillion": "1.50", "cachedInputPerMillion": "1.50", "outputPerMillion": None},
                "contextTokens": None,
                "maxOutputTokens": None,
                "capabilities": None,
                "prefill": "Message",
            },
        ),
        "operations": ("Chat", "Embeddings"),
        "limits": {
            "requests": (
                {
                    "name": "account",
                    "max": 9,
                    "per": 1000,
                    "burst": 9,
                    "scope": "Divided",
                    "by": "Pool",
                    "header": None,
                    "mode": "Enforce",
                },
            ),
            "tokens": (),
            "concurrency": None,
        },
    }
    assert config.pools[0].model_dump(by_alias=True, exclude={"requires", "unresolved"}) == {
        "name": "busy",
        "models": ("gpt-*", "x"),
        "callers": None,
        "strategy": "Weighted",
        "consistentHash": None,
        "targets": (
            {
                "name": "a",
                "provider": "local",
                "model": None,
                "weight": 0,
                "priority": 3,
                "parameters": (),
                "matchHeaders": (),
                "limits": {"requests": (), "tokens": (), "concurrency": None},
            },
            {
                "name": "b",
                "provider": "local",
                "model": None,
                "weight": 9,
                "priority": 0,
                "parameters": (),
                "matchHeaders": (),
                "limits": {"requests": (), "tokens": (), "concurrency": None},
            },
        ),
        "fallback": {
            "outcomes": ("Broken",),
            "statuses": ("429", "5xx"),
            "maxAttempts": 9,
            "sameTarget": {"retries": 0, "initial": 1000, "max": 9000, "maxRetryAfter": 3000},
            "retryBudget": {"percent": 0, "minPerSecond": 0},
            "pools": (),
        },
        "limits": {
            "requests": ({"name": "m", "max": 60, "per": 60000, "burst": 5, "scope": "Sidecar", **tenants},),
            "tokens": (day,),
            "concurrency": {"max": 4, "queue": {"max": 7, "timeout": 3000}, "mode": "Fixed"},
        },
        "total": 30000,
        "lastResort": "Refuse",
        "stateful": {"target": "a"},
        "pinning": "Denied",
        "responseModel": "Requested",
        "streaming": {"commit": "Complete", "keepAlive": 5000, "headHold": 0},
        "recovery": (),
        "hedging": None,
        "cache": {"ttl": 3_600_000, "maxEntries": 7, "maxBytes": 65_536, "temperature": "Any"},
        "parameters": (),
        "poolTargets": (),
    }
    assert result.namespaces["default"].credentials == {"s-k-3de631bf79": "v"}


def test_the_ways_of_a_recovery_keep_their_order() -> None:
    """B26."""
    made = config_of(run(provider(), pool(streaming={"recovery": ["Replay", "Continue"]})))
    assert made.pools[0].recovery == ("Replay", "Continue")
