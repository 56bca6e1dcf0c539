"""Configs and snapshots for tests: everything has the product's defaults, a test names what it is about."""

from collections.abc import Sequence
from typing import Any

from modelpool_config import models as contract
from modelpool_sidecar.core.compiled import compile_config
from modelpool_sidecar.core.outcome import BY_DEFAULT
from modelpool_sidecar.core.snapshot import Pool, Snapshot


def a_provider(name: str = "primary", **changes: Any) -> contract.Provider:
    """A provider without a credential, patient as the defaults are. `health` and `timeouts` take single fields."""
    timeouts = {"connect": 5_000, "head": None, "first_token": 120_000, "idle": 120_000, "attempt": None}
    health = {
        "failures": 5,
        "min_requests": 10,
        "window": 30_000,
        "cooldown": 5_000,
        "max_cooldown": 30_000,
        "successes": 2,
        "ramp_up": 10_000,
    }
    fields: dict[str, Any] = {
        "name": name,
        "dialect": "OpenAI",
        "base_url": f"http://{name}.internal/v1",
        "auth": None,
        "headers": (),
        "forward_headers": (),
        "response_headers": (),
        "traffic": "Normal",
        "connections": {"max_open": 512, "idle_timeout": 60_000},
        "trace_propagation": "None",
        "fake": None,
        **changes,
        "timeouts": {**timeouts, **changes.get("timeouts", {})},
        "health": {**health, **changes.get("health", {})},
    }
    return contract.Provider.model_validate(fields)


def an_api_key(credential: str = "openai.api-key") -> dict[str, str]:
    """The usual Authorization: Bearer."""
    return {
        "header": "Authorization",
        "prefix": "Bearer ",
        "credential": credential,
        "source": "Secret openai, key api-key",
    }


def a_target(name: str = "primary", **changes: Any) -> dict[str, Any]:
    """A target at the provider of the same name."""
    return {"name": name, "provider": name, "model": f"{name}-model", "weight": 1, "priority": 0, **changes}


def a_pool(name: str = "chat", targets: Sequence[dict[str, Any]] | None = None, **changes: Any) -> contract.Pool:
    """A pool with one target. `fallback` takes single fields."""
    targets = [a_target()] if targets is None else targets
    fallback: dict[str, Any] = {
        "outcomes": tuple(BY_DEFAULT),
        "statuses": (),
        "max_attempts": 2 if len(targets) == 1 else min(len(targets), 4),
        "same_target": {"retries": None, "initial": 250, "max": 2_000, "max_retry_after": 0},
        "retry_budget": {"percent": 20, "min_per_second": 3},
    }
    fields: dict[str, Any] = {
        "name": name,
        "models": (name,),
        "strategy": "Weighted",
        "unresolved": (),
        "limits": {"requests": (), "concurrency": None},
        "total": 600_000,
        "last_resort": "SoonestToRecover",
        "pinning": "Allowed",
        "response_model": "Served",
        **changes,
        "targets": tuple(targets),
        "fallback": {**fallback, **changes.get("fallback", {})},
    }
    return contract.Pool.model_validate(fields)


def a_pool_target(pool: str, name: str | None = None, **changes: Any) -> dict[str, Any]:
    """A target that is another pool, with its name unless another one is given."""
    return {"name": name or pool, "pool": pool, "weight": 1, "priority": 0, **changes}


def a_chain(name: str, *entries: dict[str, Any], **changes: Any) -> contract.Pool:
    """A pool of targets and of targets that are pools, which may be asked four times."""
    own = [entry for entry in entries if "pool" not in entry]
    inner = tuple(entry for entry in entries if "pool" in entry)
    return a_pool(name, own, **{"fallback": {"max_attempts": 4}, "pool_targets": inner, **changes})


def a_config(
    pools: Sequence[contract.Pool] | None = None,
    providers: Sequence[contract.Provider] | None = None,
    closed: Sequence[contract.ClosedPool] = (),
) -> contract.Config:
    """A config; providers that are not given are made for every target that names one."""
    pools = [a_pool()] if pools is None else pools
    if providers is None:
        names = sorted({target.provider for pool in pools for target in pool.targets})
        providers = [a_provider(name) for name in names]
    return contract.Config(
        schema_version=contract.SCHEMA_VERSION,
        namespace="default",
        providers=tuple(providers),
        pools=tuple(pools),
        closed=tuple(closed),
    )


def a_snapshot(*args: Any, **kwargs: Any) -> Snapshot:
    """The compiled form of `a_config`."""
    return compile_config(a_config(*args, **kwargs), credential_digest=lambda _name: "0123456789ab")


def the_pool(snapshot: Snapshot, name: str = "chat") -> Pool:
    """An open pool of a snapshot."""
    pool = snapshot.pools[name]
    assert isinstance(pool, Pool)
    return pool
