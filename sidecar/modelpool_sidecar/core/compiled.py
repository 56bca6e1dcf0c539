"""How a config becomes a snapshot: everything is normalized here, once.

Seconds instead of milliseconds, tiers sorted, names lower-cased, the identity of every target worked out. Nothing that
a request does may need the config again.
"""

import functools
from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from urllib.parse import urlsplit

from modelpool_config import codec
from modelpool_config import models as contract
from modelpool_sidecar.core import allowance, chaining, checking, hashing, parameters
from modelpool_sidecar.core.allowance import RequestLimit
from modelpool_sidecar.core.catalogue import BY_WORD
from modelpool_sidecar.core.chaining import Chain
from modelpool_sidecar.core.cost import Prices
from modelpool_sidecar.core.hedging import Hedging
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.parameters import Parameters
from modelpool_sidecar.core.queue import Queue
from modelpool_sidecar.core.snapshot import (
    Ability,
    CacheSettings,
    ClosedPool,
    Fallback,
    HealthSettings,
    Pool,
    Provider,
    Secret,
    Snapshot,
    Strategy,
    Streaming,
    Target,
    Timeouts,
)


class CannotCompileError(ValueError):
    """A config that is well-formed and still cannot run here; the message names the object."""


def compile_config(
    config: contract.Config,
    *,
    credential_digest: Callable[[str], str | None] = lambda _name: None,
    fake_base_url: Callable[[str], str] | None = None,
) -> Snapshot:
    """The snapshot of a decoded config.

    `credential_digest`: of the mounted file of that name, None where it is not there yet. `fake_base_url`: where the
    Fake provider of that name listens. Raises CannotCompileError where two pools claim one model name or a Fake has no
    address: the compiler does neither, so the last good snapshot must stay.
    """
    digests: dict[str, str] = {}

    def known(name: str) -> str:
        found = credential_digest(name)
        if found is None:
            return "pending"
        digests[name] = found
        return found

    providers = {provider.name: _provider(provider, fake_base_url) for provider in config.providers}
    pools: dict[str, Pool | ClosedPool] = {}
    order = [pool.name for pool in config.pools] + [pool.name for pool in config.closed]
    for closed in config.closed:
        pools[closed.name] = ClosedPool(
            closed.name, closed.models, closed.code, closed.message, codec.pool_digest(config, closed), closed.callers
        )
    for pool in chaining.innermost_first(config.pools):
        digest = codec.pool_digest(config, pool)
        chain = chaining.of(pool, pools, functools.partial(_parameters, pool.name))
        pools[pool.name] = _closed(pool, chain, digest) or _pool(pool, providers, chain, digest, known)
    exact: dict[str, Pool | ClosedPool] = {}
    prefixes: dict[str, Pool | ClosedPool] = {}
    for name in sorted(pools):
        for model in pools[name].models:
            names, key = (prefixes, model[:-1]) if model.endswith("*") else (exact, model)
            if key in names:
                raise CannotCompileError(f"pools {names[key].name} and {name} both claim the model name {model!r}")
            names[key] = pools[name]
    return Snapshot(
        digest=codec.config_digest(config),
        namespace=config.namespace,
        pools=MappingProxyType({name: pools[name] for name in order}),
        providers=MappingProxyType(providers),
        exact=MappingProxyType(exact),
        prefixes=tuple(sorted(prefixes.items(), key=lambda item: (-len(item[0]), item[0]))),
        credential_digests=MappingProxyType(digests),
        caller_files=frozenset(pool.callers.keys for pool in pools.values() if pool.callers is not None),
    )


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1000


def _maybe_seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _provider(raw: contract.Provider, fake_base_url: Callable[[str], str] | None) -> Provider:
    base_url = raw.base_url
    if raw.dialect == "Fake" and base_url is None and fake_base_url is not None:
        base_url = fake_base_url(raw.name)
    if base_url is None:
        raise CannotCompileError(f"provider {raw.name} has no base URL")
    parts = urlsplit(base_url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise CannotCompileError(f"provider {raw.name}: {base_url!r} is not an http or https URL")
    timeouts, health = raw.timeouts, raw.health
    return Provider(
        name=raw.name,
        dialect=raw.dialect,
        base_url=base_url.rstrip("/"),
        host=parts.hostname,
        port=parts.port or (443 if parts.scheme == "https" else 80),
        auth=Secret(raw.auth.header.lower(), raw.auth.prefix, raw.auth.credential, raw.auth.source)
        if raw.auth
        else None,
        headers=tuple((header.name.lower(), header.value) for header in raw.headers if header.value is not None),
        secret_headers=tuple(
            Secret(header.name.lower(), "", header.credential, header.source)
            for header in raw.headers
            if header.credential is not None
        ),
        forward_headers=frozenset(name.lower() for name in raw.forward_headers),
        response_headers=tuple((header.name.lower(), header.value or "") for header in raw.response_headers),
        drained=raw.traffic == "Drained",
        timeouts=Timeouts(
            connect=_seconds(timeouts.connect),
            head=_maybe_seconds(timeouts.head),
            first_token=_seconds(timeouts.first_token),
            idle=_seconds(timeouts.idle),
            attempt=_maybe_seconds(timeouts.attempt),
        ),
        health=HealthSettings(
            failures=health.failures,
            min_requests=health.min_requests,
            window=_seconds(health.window),
            cooldown=_seconds(health.cooldown),
            max_cooldown=_seconds(health.max_cooldown),
            successes=health.successes,
            ramp_up=_seconds(health.ramp_up),
        ),
        max_open=raw.connections.max_open,
        idle_timeout=_seconds(raw.connections.idle_timeout),
        trace_context=raw.trace_propagation == "TraceContext",
        models=MappingProxyType({model.name: found for model in raw.models if (found := _ability(model)) is not None}),
        operations=None
        if raw.operations is None
        else frozenset(operation.name for word in raw.operations for operation in BY_WORD.get(word, ())),
        quota_domain=raw.quota_domain,
        check=None if health.active is None else checking.compiled(health.active, f"{parts.scheme}://{parts.netloc}"),
        prices=MappingProxyType({model.name: _prices(model.prices) for model in raw.models if model.prices}),
        limits=allowance.compiled("provider", raw.name, raw.limits),
        caps=allowance.caps("provider", raw.name, raw.limits, ("provider", raw.name, base_url)),
    )


def _ability(raw: contract.Model) -> Ability | None:
    capabilities = None if raw.capabilities is None else frozenset(raw.capabilities)
    found = Ability(raw.context_tokens, raw.max_output_tokens, capabilities, raw.prefill)
    return None if found == Ability(None, None, None, raw.prefill) else found


def _prices(raw: contract.Prices) -> Prices:
    output = raw.output_per_million
    return Prices(
        input=Decimal(raw.input_per_million),
        cached_input=Decimal(raw.cached_input_per_million),
        output=None if output is None else Decimal(output),
    )


def _closed(raw: contract.Pool, chain: Chain, digest: str) -> ClosedPool | None:
    """The pool where all its targets lead to pools that are closed; None where it can serve."""
    if raw.targets or chain.targets:
        return None
    (_, first), *_ = chain.closed
    message = "; ".join(each.message for each in chain.unresolved)
    return ClosedPool(raw.name, raw.models, first.code, message, digest, raw.callers)


def _pool(
    raw: contract.Pool,
    providers: Mapping[str, Provider],
    chain: Chain,
    digest: str,
    credential_digest: Callable[[str], str],
) -> Pool:
    shared = _parameters(raw.name, raw.parameters)
    targets = {
        target.name: _target(
            raw.name,
            target,
            providers[target.provider],
            credential_digest,
            parameters.merged(shared, _parameters(raw.name, target.parameters)),
        )
        for target in raw.targets
    } | chain.targets
    limits = allowance.compiled("pool", raw.name, raw.limits)
    callers = _caller_limits(raw)
    priorities = sorted({target.priority for target in targets.values()})
    fallback, same = raw.fallback, raw.fallback.same_target
    return Pool(
        name=raw.name,
        models=raw.models,
        strategy=Strategy(
            type=raw.strategy,
            by=raw.consistent_hash.by if raw.consistent_hash else None,
            header=((raw.consistent_hash.header if raw.consistent_hash else None) or "").lower(),
        ),
        tiers=tuple(
            tuple(target for target in targets.values() if target.priority == priority) for priority in priorities
        ),
        targets=MappingProxyType(targets),
        conditional=any(target.match for target in targets.values()),
        unresolved=(*raw.unresolved, *chain.unresolved),
        fallback=Fallback(
            outcomes=frozenset(Outcome(name) for name in fallback.outcomes),
            statuses=fallback.statuses,
            max_attempts=fallback.max_attempts,
            retries=same.retries,
            backoff_initial=_seconds(same.initial),
            backoff_max=_seconds(same.max),
            max_retry_after=_seconds(same.max_retry_after),
            budget_percent=fallback.retry_budget.percent,
            budget_per_second=fallback.retry_budget.min_per_second,
            pools=MappingProxyType({each.when: each.pools for each in fallback.pools}),
        ),
        request_limits=limits,
        counts_tokens=any(
            limit.counts_tokens
            for own in (limits, *callers.values(), *(target.limits for target in targets.values()))
            for limit in own
        )
        or any(pool.counts_tokens for pool in chain.behind.values()),
        concurrency=raw.limits.concurrency.max if raw.limits.concurrency else None,
        queue=_queue(raw.limits.concurrency),
        total=_seconds(raw.total),
        last_resort=raw.last_resort == "SoonestToRecover",
        pinning=raw.pinning == "Allowed",
        rewrite_model=raw.response_model == "Requested",
        digest=digest,
        callers=raw.callers,
        caller_limits=callers,
        caller_caps=MappingProxyType(
            {
                entry.name: cap
                for entry in (raw.callers.entries if raw.callers else ())
                for cap in allowance.caps("caller", f"{raw.name}/{entry.name}", entry.limits)
            }
        ),
        admissions=MappingProxyType({name: (*own, *limits) for name, own in callers.items()}),
        stateful=raw.stateful.target if raw.stateful else None,
        streaming=Streaming(
            complete=raw.streaming.commit == "Complete",
            keep_alive=_seconds(raw.streaming.keep_alive),
            head_hold=_seconds(raw.streaming.head_hold),
        ),
        cache=_cache(raw.cache),
        recovery=raw.recovery,
        hedging=_hedging(raw.hedging),
        selective=any(target.provider.models or target.provider.operations is not None for target in targets.values()),
        pool_targets=tuple(chain.pool_targets),
        behind=MappingProxyType(chain.behind),
    )


def _caller_limits(pool: contract.Pool) -> Mapping[str, tuple[RequestLimit, ...]]:
    entries = pool.callers.entries if pool.callers else ()
    return MappingProxyType(
        {
            entry.name: allowance.compiled("caller", f"{pool.name}/{entry.name}", entry.limits)
            for entry in entries
            if entry.limits.requests or entry.limits.tokens
        }
    )


def _hedging(raw: contract.Hedging | None) -> Hedging | None:
    return None if raw is None else Hedging(raw.percentile, _maybe_seconds(raw.delay), raw.max_percent)


def _cache(raw: contract.Cache | None) -> CacheSettings | None:
    if raw is None:
        return None
    return CacheSettings(_seconds(raw.ttl), raw.max_entries, raw.max_bytes, raw.temperature == "Any")


def _queue(raw: contract.Concurrency | None) -> Queue | None:
    found = raw.queue if raw is not None else None
    return None if found is None else Queue(found.max, _seconds(found.timeout))


def _parameters(pool: str, raw: tuple[contract.Parameter, ...]) -> Parameters:
    try:
        return tuple(parameters.compiled(one.name, one.action, one.value) for one in raw)
    except parameters.UnusableValueError as exc:
        raise CannotCompileError(f"pool {pool}: {exc}") from exc


def _target(
    pool: str, raw: contract.Target, provider: Provider, credential_digest: Callable[[str], str], changes: Parameters
) -> Target:
    credentials = "+".join(credential_digest(secret.credential) for secret in provider.secrets)
    key = (provider.name, provider.base_url, raw.model or "", credentials)
    return Target(
        name=raw.name,
        provider=provider,
        model=raw.model,
        weight=raw.weight,
        priority=raw.priority,
        key=key,
        parameters=changes,
        changes_choices=parameters.change_choices(changes),
        match=tuple((header.name.lower(), header.value) for header in raw.match_headers),
        seed=hashing.number(raw.name),
        limits=(*allowance.compiled("target", f"{pool}/{raw.name}", raw.limits), *provider.limits),
        caps=(*allowance.caps("target", f"{pool}/{raw.name}", raw.limits, key), *provider.caps),
        places=(allowance.place("target", f"{pool}/{raw.name}"), allowance.place("provider", provider.name)),
    )
