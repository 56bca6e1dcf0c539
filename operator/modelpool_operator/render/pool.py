"""A ModelPool as the sidecar reads it, and what a sidecar must be able to do for it (B52)."""

from modelpool_config import models as contract
from modelpool_operator import defaults
from modelpool_operator.api.answers import Cache, Streaming
from modelpool_operator.api.fallback import Fallback, Hedging, SameTarget
from modelpool_operator.api.modelpool import ModelPool, ModelPoolSpec
from modelpool_operator.api.target import Parameter, PoolRef, Target
from modelpool_operator.checks import callers as caller_keys
from modelpool_operator.render import filled, limits


def pool(
    resource: ModelPool,
    models: tuple[str, ...],
    targets: tuple[Target, ...],
    unresolved: tuple[contract.Unresolved, ...],
    others: tuple[contract.FallbackPools, ...] = (),
    reached: int | None = None,
) -> contract.Pool:
    """A pool with the model names that are left to it and the targets that can be asked, of which there is one.

    `others`: the pools that it may fall back to. `reached`: how many targets there are with those behind pools, where
    some are pools.
    """
    spec = resource.spec
    total = spec.timeouts.total if spec.timeouts else None
    strategy = (spec.strategy.type if spec.strategy else None) or defaults.STRATEGY
    hashed = spec.strategy.consistent_hash if spec.strategy else None
    return contract.Pool(
        name=resource.metadata.name,
        requires=_requires(spec, strategy, targets, others),
        models=models,
        strategy=strategy,
        cache=_cache(spec.cache),
        stateful=contract.Stateful(target=spec.stateful.target) if spec.stateful else None,
        hedging=_hedging(spec.hedging) if spec.hedging else None,
        consistent_hash=contract.ConsistentHash(by=hashed.by, header=hashed.header) if hashed else None,
        targets=tuple(
            contract.Target(
                name=target.name,
                provider=target.provider_ref.name,
                model=target.model,
                weight=filled.either(target.weight, defaults.WEIGHT),
                priority=filled.either(target.priority, defaults.PRIORITY),
                parameters=_parameters(target.parameters),
                match_headers=_match(target),
                limits=limits.render(target.limits),
            )
            for target in targets
            if target.provider_ref is not None
        ),
        pool_targets=tuple(_pool_target(target, target.pool_ref) for target in targets if target.pool_ref is not None),
        unresolved=unresolved,
        fallback=_fallback(spec.fallback or Fallback(), reached or len(targets), others),
        limits=limits.render(spec.limits),
        total=filled.time(total, defaults.TOTAL),
        last_resort=spec.last_resort or defaults.LAST_RESORT,
        pinning=spec.pinning or defaults.PINNING,
        response_model=(spec.response.model if spec.response else None) or defaults.RESPONSE_MODEL,
        parameters=_parameters(spec.parameters),
        callers=callers(resource),
        streaming=_streaming(spec.streaming or Streaming()),
        recovery=(spec.streaming.recovery if spec.streaming else None) or (),
    )


def _streaming(spec: Streaming) -> contract.Streaming:
    return contract.Streaming(
        commit=spec.commit or defaults.COMMIT,
        keep_alive=filled.time(spec.keep_alive, defaults.KEEP_ALIVE),
        head_hold=filled.time(spec.head_hold, defaults.HEAD_HOLD),
    )


def _pool_target(target: Target, inner: PoolRef) -> contract.PoolTarget:
    return contract.PoolTarget(
        name=target.name,
        pool=inner.name,
        weight=filled.either(target.weight, defaults.WEIGHT),
        priority=filled.either(target.priority, defaults.PRIORITY),
        parameters=_parameters(target.parameters),
        match_headers=_match(target),
        limits=limits.render(target.limits),
    )


def _match(target: Target) -> tuple[contract.MatchHeader, ...]:
    headers = target.match.headers if target.match else ()
    return tuple(contract.MatchHeader(name=header.name, value=header.value) for header in headers)


def callers(resource: ModelPool) -> contract.Callers | None:
    """Who may use the pool, None where everybody may."""
    if resource.spec.callers is None:
        return None
    secret = resource.spec.callers.keys.secret_ref.name
    file = caller_keys.file_name(resource.metadata.namespace, secret)
    entries = tuple(
        contract.CallerEntry(name=entry.name, limits=limits.render(entry.limits))
        for entry in resource.spec.callers.entries or ()
    )
    return contract.Callers(keys=file, source=caller_keys.source(secret), entries=entries)


def _cache(spec: Cache | None) -> contract.Cache | None:
    if spec is None or spec.mode == "None":
        return None
    return contract.Cache(
        ttl=filled.time(spec.ttl, defaults.CACHE_TTL),
        max_entries=spec.max_entries or defaults.CACHE_ENTRIES,
        max_bytes=spec.max_bytes or defaults.CACHE_BYTES,
        temperature=spec.temperature or defaults.CACHE_TEMPERATURE,
    )


def _requires(
    spec: ModelPoolSpec,
    strategy: contract.StrategyName,
    targets: tuple[Target, ...],
    others: tuple[contract.FallbackPools, ...],
) -> tuple[str, ...]:
    """What a sidecar must be able to do, so that it does not serve the pool by half (B52)."""
    needs = {
        "fallbackPools": bool(others),
        "callers": spec.callers,
        "chains": any(target.pool_ref for target in targets),
        "concurrency": any(limits.at_once(target.limits) for target in targets)
        or any(limits.at_once(entry.limits) for entry in (spec.callers.entries if spec.callers else None) or ()),
        "limits": strategy == "LowestUsage" or _limits_need_a_newer_sidecar(spec, targets),
        "lowest-cost": strategy == "LowestCost",
        "match": any(target.match for target in targets),
        "parameters": spec.parameters or any(target.parameters for target in targets),
        "strategies": strategy != defaults.STRATEGY,
    }
    return tuple(name for name, needed in needs.items() if needed)


def _parameters(spec: tuple[Parameter, ...] | None) -> tuple[contract.Parameter, ...]:
    return tuple(contract.Parameter(name=one.name, action=one.action, value=one.value) for one in spec or ())


def _hedging(spec: Hedging) -> contract.Hedging:
    return contract.Hedging(
        percentile=spec.percentile,
        delay=filled.time_or_none(spec.delay),
        max_percent=spec.max_percent or defaults.HEDGING_PERCENT,
    )


def _fallback(spec: Fallback, targets: int, others: tuple[contract.FallbackPools, ...]) -> contract.Fallback:
    budget = spec.retry_budget
    return contract.Fallback(
        outcomes=filled.either(spec.outcomes, defaults.OUTCOMES),
        statuses=filled.either(spec.statuses, defaults.STATUSES),
        max_attempts=spec.max_attempts or defaults.max_attempts(targets),
        same_target=_same_target(spec.same_target or SameTarget()),
        retry_budget=contract.RetryBudget(
            percent=filled.either(budget.percent if budget else None, defaults.BUDGET_PERCENT),
            min_per_second=filled.either(budget.min_per_second if budget else None, defaults.BUDGET_PER_SECOND),
        ),
        pools=others,
    )


def _same_target(spec: SameTarget) -> contract.SameTarget:
    first, most = (spec.backoff.initial, spec.backoff.max) if spec.backoff else (None, None)
    initial, maximum = filled.rising(first, defaults.BACKOFF_INITIAL, most, defaults.BACKOFF_MAX)
    return contract.SameTarget(
        retries=spec.retries,
        initial=initial,
        max=maximum,
        max_retry_after=filled.time(spec.max_retry_after, defaults.MAX_RETRY_AFTER),
    )


def _limits_need_a_newer_sidecar(spec: ModelPoolSpec, targets: tuple[Target, ...]) -> bool:
    """What every sidecar knows is limits on requests that are the pool's own and undivided."""
    own = (spec.limits.requests if spec.limits else None) or ()
    divided = any(limit.by not in (None, defaults.LIMIT_BY) or limit.mode == "Observe" for limit in own)
    tokens = spec.limits is not None and bool(spec.limits.tokens)
    return divided or tokens or any(limits.any_limit(target.limits) for target in targets)
