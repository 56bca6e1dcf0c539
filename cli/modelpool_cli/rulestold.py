"""Which rules of its pool a request meets, in plain values: limits, fallback, the cache, deadlines."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from modelpool_cli.rehearsal import Take
from modelpool_sidecar.core import cacheable, recovery
from modelpool_sidecar.core.hedging import Hedging
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Timeouts

_KNOWN_FALLBACK = (
    *("outcomes", "statuses", "max_attempts", "retries", "backoff_initial", "backoff_max"),
    *("max_retry_after", "budget_percent", "budget_per_second", "pools"),
    "spills",  # LocalLimit among the outcomes says so
)


def limits(pool: Pool, take: Take) -> list[dict[str, Any]]:
    """What the state tells of the pool's limits once the request holds its share."""
    pools = take.told["pools"]
    assert isinstance(pools, list), "the state lists its pools"
    told = next(each for each in pools if each["name"] == pool.name)
    found = [_of_caller(limit) for limit in told["callerLimits"] if limit["caller"] == take.record.caller]
    found += [dict(limit) for limit in told["limits"]]
    if told["concurrency"] is not None:
        queue = {"queue": told["queue"]} if told["queue"] is not None else {}
        found.append({"name": "concurrency", "max": told["concurrency"], "inFlight": told["inFlight"], **queue})
    for each in pools:
        if each["name"] in pool.behind and each["concurrency"] is not None:
            name = f"pool {each['name']}, concurrency"
            found.append({"name": name, "max": each["concurrency"], "inFlight": each["inFlight"]})
    for target in told["targets"]:
        found += [_named(target, limit) for limit in target["limits"]]
    return list({(limit["name"], limit.get("count")): limit for limit in found}.values())


def _of_caller(limit: Mapping[str, Any]) -> dict[str, Any]:
    return {**limit, "name": f"caller {limit['caller']}, {limit['name']}", "caller": None}


def _named(target: Mapping[str, Any], limit: Mapping[str, Any]) -> dict[str, Any]:
    """A target's limit, its provider's or that of a pool on the way to it, which several targets may share."""
    owner = target["name"] if limit["level"] == "target" else target["provider"]
    owner = limit.get("owner", owner)
    return {**limit, "name": f"{limit['level']} {owner}, {limit['name']}", "owner": None}


def fallback(pool: Pool) -> dict[str, Any]:
    rules = pool.fallback
    more = {
        field.name: getattr(rules, field.name)
        for field in dataclasses.fields(rules)
        if field.name not in _KNOWN_FALLBACK
    }
    return {
        "outcomes": sorted(outcome.value for outcome in rules.outcomes),
        "statuses": list(rules.statuses),
        "maxAttempts": rules.max_attempts,
        "sameTarget": {
            "retries": rules.retries,
            "backoff": [rules.backoff_initial, rules.backoff_max],
            "maxRetryAfter": rules.max_retry_after,
        },
        "retryBudget": {"percent": rules.budget_percent, "minPerSecond": rules.budget_per_second},
        "lastResort": "SoonestToRecover" if pool.last_resort else "Refuse",
        "pools": {when: list(names) for when, names in rules.pools.items()},
        "streaming": {
            "commit": "Complete" if pool.streaming.complete else "FirstToken",
            "headHold": pool.streaming.head_hold,
            "keepAlive": pool.streaming.keep_alive,
        },
        "recovery": {way: _recover(pool, way) for way in pool.recovery},
        "hedging": None if pool.hedging is None else _hedging(pool.hedging),
        **{name: str(value) for name, value in more.items()},
    }


def cache(pool: Pool, request: Request | None) -> dict[str, Any] | None:
    """What is kept of the answers, and why this one would not be; None where the pool keeps none (B53)."""
    settings = pool.cache
    if settings is None:
        return None
    asked = "" if request is None else cacheable.asked(pool, request, pool.targets.values())
    return {
        "ttl": settings.ttl,
        "maxEntries": settings.max_entries,
        "maxBytes": settings.max_bytes,
        "temperature": "Any" if settings.any_temperature else "Zero",
        "bypass": (asked or None) if isinstance(asked, str) else None,
    }


def _recover(pool: Pool, way: str) -> list[str]:
    """The targets that may go on with a stream in this way (B26)."""
    names = [name for name in pool.models if not name.endswith("*")] or [""]
    able = {
        target.name: any(recovery.continues(target, target.model or name) is not None for name in names)
        for target in pool.targets.values()
    }
    return [name for name, declares in able.items() if declares or way == "Replay"]


def _hedging(hedging: Hedging) -> dict[str, Any]:
    return {"percentile": hedging.percentile, "delay": hedging.delay, "maxPercent": hedging.max_percent}


def deadlines(pool: Pool, take: Take, *, stream: bool) -> dict[str, Any]:
    providers = {target.provider.name: target.provider.timeouts for target in pool.targets.values()}
    return {
        "total": pool.total,
        "client": take.total if take.total is not None and take.total < pool.total else None,
        "providers": {name: _timeouts(each, stream) for name, each in providers.items()},
    }


def _timeouts(timeouts: Timeouts, stream: bool) -> dict[str, float]:
    """Those that count for this request: seconds (B16)."""
    told = {"connect": timeouts.connect, "head": timeouts.head, "attempt": timeouts.attempt}
    if stream:
        told |= {"firstToken": timeouts.first_token, "idle": timeouts.idle}
    return {name: seconds for name, seconds in told.items() if seconds is not None}
