"""Accepted objects as the sidecar reads them: every default filled in, every duration in milliseconds."""

from typing import TypeVar

from modelpool_config import models as contract
from modelpool_operator import defaults, durations
from modelpool_operator.api.answers import Cache, Streaming
from modelpool_operator.api.callers import CallerConcurrency, CallerLimits, CallerRequestLimit
from modelpool_operator.api.credentials import APIKey, SecretRef
from modelpool_operator.api.fake import Fake
from modelpool_operator.api.fallback import Fallback, Hedging, SameTarget
from modelpool_operator.api.health import ActiveCheck, Health
from modelpool_operator.api.limits import AttemptConcurrency, AttemptLimits, Concurrency, Limits, Queue, RequestLimit
from modelpool_operator.api.model import Prices
from modelpool_operator.api.modelpool import ModelPool, ModelPoolSpec
from modelpool_operator.api.provider import Connections, Provider, ProviderTimeouts
from modelpool_operator.api.target import Parameter, PoolRef, Target
from modelpool_operator.checks import callers as caller_keys
from modelpool_operator.checks import urls
from modelpool_operator.checks.credentials import file_name

T = TypeVar("T")


def provider(resource: Provider) -> contract.Provider:
    """A Provider, with the files of its credentials."""
    spec, namespace = resource.spec, resource.metadata.namespace
    base_url = spec.base_url or defaults.BASE_URLS[spec.dialect]
    public = base_url is not None and urls.is_public(urls.host_of(base_url))
    api_key = spec.auth.api_key if spec.auth else None
    return contract.Provider(
        name=resource.metadata.name,
        dialect=spec.dialect,
        base_url=base_url.rstrip("/") if base_url is not None else None,
        auth=_api_key(api_key, namespace) if api_key else None,
        headers=tuple(
            contract.Header(
                name=header.name,
                value=header.value,
                credential=file_name(namespace, header.secret_ref) if header.secret_ref else None,
                source=_source(header.secret_ref) if header.secret_ref else "",
            )
            for header in spec.headers or ()
        ),
        forward_headers=spec.forward_headers or (),
        response_headers=tuple(
            contract.Header(name=header.name, value=header.value) for header in spec.response_headers or ()
        ),
        traffic=spec.traffic or defaults.TRAFFIC,
        timeouts=_timeouts(spec.timeouts or ProviderTimeouts()),
        health=_health(spec.health or Health()),
        quota_domain=spec.quota_domain,
        connections=_connections(spec.connections or Connections()),
        trace_propagation=spec.trace_propagation or defaults.trace_propagation(public),
        fake=_fake(spec.fake) if spec.dialect == "Fake" else None,
        models=tuple(
            contract.Model(
                name=model.name,
                prices=_prices(model.prices) if model.prices else None,
                context_tokens=model.context_tokens,
                max_output_tokens=model.max_output_tokens,
                capabilities=model.capabilities,
                prefill=model.prefill or defaults.PREFILL,
            )
            for model in spec.models or ()
        ),
        operations=spec.operations,
        limits=_limits(spec.limits),
        requires=tuple(
            name
            for name, needed in {"concurrency": _at_once(spec.limits), "limits": _any_limit(spec.limits)}.items()
            if needed
        ),
    )


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
                weight=_either(target.weight, defaults.WEIGHT),
                priority=_either(target.priority, defaults.PRIORITY),
                parameters=_parameters(target.parameters),
                match_headers=_match(target),
                limits=_limits(target.limits),
            )
            for target in targets
            if target.provider_ref is not None
        ),
        pool_targets=tuple(_pool_target(target, target.pool_ref) for target in targets if target.pool_ref is not None),
        unresolved=unresolved,
        fallback=_fallback(spec.fallback or Fallback(), reached or len(targets), others),
        limits=_limits(spec.limits),
        total=_time(total, defaults.TOTAL),
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
        keep_alive=_time(spec.keep_alive, defaults.KEEP_ALIVE),
        head_hold=_time(spec.head_hold, defaults.HEAD_HOLD),
    )


def _pool_target(target: Target, inner: PoolRef) -> contract.PoolTarget:
    return contract.PoolTarget(
        name=target.name,
        pool=inner.name,
        weight=_either(target.weight, defaults.WEIGHT),
        priority=_either(target.priority, defaults.PRIORITY),
        parameters=_parameters(target.parameters),
        match_headers=_match(target),
        limits=_limits(target.limits),
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
        contract.CallerEntry(name=entry.name, limits=_limits(entry.limits))
        for entry in resource.spec.callers.entries or ()
    )
    return contract.Callers(keys=file, source=caller_keys.source(secret), entries=entries)


def _cache(spec: Cache | None) -> contract.Cache | None:
    if spec is None or spec.mode == "None":
        return None
    return contract.Cache(
        ttl=_time(spec.ttl, defaults.CACHE_TTL),
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
        "concurrency": any(_at_once(target.limits) for target in targets)
        or any(_at_once(entry.limits) for entry in (spec.callers.entries if spec.callers else None) or ()),
        "limits": strategy == "LowestUsage" or _limits_need_a_newer_sidecar(spec, targets),
        "lowest-cost": strategy == "LowestCost",
        "match": any(target.match for target in targets),
        "parameters": spec.parameters or any(target.parameters for target in targets),
        "strategies": strategy != defaults.STRATEGY,
    }
    return tuple(name for name, needed in needs.items() if needed)


def _parameters(spec: tuple[Parameter, ...] | None) -> tuple[contract.Parameter, ...]:
    return tuple(contract.Parameter(name=one.name, action=one.action, value=one.value) for one in spec or ())


def _api_key(spec: APIKey, namespace: str) -> contract.APIKey:
    header = spec.header or defaults.API_KEY_HEADER
    prefix = defaults.api_key_prefix(header) if spec.prefix is None else spec.prefix
    return contract.APIKey(
        header=header,
        prefix=prefix,
        credential=file_name(namespace, spec.secret_ref),
        source=_source(spec.secret_ref),
    )


def _source(ref: SecretRef) -> str:
    """How people know a credential."""
    return f"Secret {ref.name}, key {ref.key}"


def _prices(spec: Prices) -> contract.Prices:
    return contract.Prices(
        input_per_million=spec.input_per_million,
        cached_input_per_million=spec.cached_input_per_million or spec.input_per_million,
        output_per_million=spec.output_per_million,
    )


def _timeouts(spec: ProviderTimeouts) -> contract.ProviderTimeouts:
    return contract.ProviderTimeouts(
        connect=_time(spec.connect, defaults.CONNECT),
        head=_time_or_none(spec.head),
        first_token=_time(spec.first_token, defaults.FIRST_TOKEN),
        idle=_time(spec.idle, defaults.IDLE),
        attempt=_time_or_none(spec.attempt),
    )


def _health(spec: Health) -> contract.Health:
    cooldown, max_cooldown = _rising(spec.cooldown, defaults.COOLDOWN, spec.max_cooldown, defaults.MAX_COOLDOWN)
    return contract.Health(
        failures=spec.failures or defaults.FAILURES,
        min_requests=spec.min_requests or defaults.MIN_REQUESTS,
        window=_time(spec.window, defaults.WINDOW),
        cooldown=cooldown,
        max_cooldown=max_cooldown,
        successes=spec.successes or defaults.SUCCESSES,
        ramp_up=_time(spec.ramp_up, defaults.RAMP_UP),
        active=_active(spec.active) if spec.active else None,
    )


def _active(spec: ActiveCheck) -> contract.ActiveCheck:
    timeout, period = _rising(spec.timeout, defaults.CHECK_TIMEOUT, spec.period, defaults.CHECK_PERIOD)
    return contract.ActiveCheck(
        path=spec.path,
        period=period,
        timeout=min(timeout, period),
        statuses=spec.statuses or defaults.CHECK_STATUSES,
    )


def _connections(spec: Connections) -> contract.Connections:
    return contract.Connections(
        max_open=spec.max_open or defaults.MAX_OPEN, idle_timeout=_time(spec.idle_timeout, defaults.IDLE_TIMEOUT)
    )


def _fake(spec: Fake | None) -> contract.Fake:
    script = (spec.script if spec else None) or ()
    return contract.Fake(
        script=tuple(
            contract.FakeStep(
                requests=step.requests,
                duration=_time_or_none(step.for_),
                status=step.status,
                error=step.error,
                first_token=_time_or_none(step.first_token),
                tokens_per_second=step.tokens_per_second,
                tokens=step.tokens,
                fault=step.fault,
            )
            for step in script
        )
    )


def _hedging(spec: Hedging) -> contract.Hedging:
    return contract.Hedging(
        percentile=spec.percentile,
        delay=_time_or_none(spec.delay),
        max_percent=spec.max_percent or defaults.HEDGING_PERCENT,
    )


def _fallback(spec: Fallback, targets: int, others: tuple[contract.FallbackPools, ...]) -> contract.Fallback:
    budget = spec.retry_budget
    return contract.Fallback(
        outcomes=_either(spec.outcomes, defaults.OUTCOMES),
        statuses=_either(spec.statuses, defaults.STATUSES),
        max_attempts=spec.max_attempts or defaults.max_attempts(targets),
        same_target=_same_target(spec.same_target or SameTarget()),
        retry_budget=contract.RetryBudget(
            percent=_either(budget.percent if budget else None, defaults.BUDGET_PERCENT),
            min_per_second=_either(budget.min_per_second if budget else None, defaults.BUDGET_PER_SECOND),
        ),
        pools=others,
    )


def _same_target(spec: SameTarget) -> contract.SameTarget:
    first, most = (spec.backoff.initial, spec.backoff.max) if spec.backoff else (None, None)
    initial, maximum = _rising(first, defaults.BACKOFF_INITIAL, most, defaults.BACKOFF_MAX)
    return contract.SameTarget(
        retries=spec.retries,
        initial=initial,
        max=maximum,
        max_retry_after=_time(spec.max_retry_after, defaults.MAX_RETRY_AFTER),
    )


def _limits(spec: Limits | AttemptLimits | CallerLimits | None) -> contract.Limits:
    tokens = (spec.tokens if spec else None) or ()
    return contract.Limits(
        requests=tuple(_request_limit(limit) for limit in (spec.requests if spec else None) or ()),
        tokens=tuple(
            contract.TokenLimit(**dict(_request_limit(limit)), count=limit.count or defaults.LIMIT_COUNT)
            for limit in tokens
        ),
        concurrency=_concurrency(spec.concurrency) if spec and spec.concurrency else None,
    )


def _concurrency(spec: Concurrency | AttemptConcurrency | CallerConcurrency) -> contract.Concurrency:
    return contract.Concurrency(
        max=spec.max,
        queue=_queue(spec.queue) if isinstance(spec, Concurrency) else None,
        mode=(spec.mode if isinstance(spec, AttemptConcurrency) else None) or defaults.CONCURRENCY_MODE,
    )


def _limits_need_a_newer_sidecar(spec: ModelPoolSpec, targets: tuple[Target, ...]) -> bool:
    """What every sidecar knows is limits on requests that are the pool's own and undivided."""
    own = (spec.limits.requests if spec.limits else None) or ()
    divided = any(limit.by not in (None, defaults.LIMIT_BY) or limit.mode == "Observe" for limit in own)
    tokens = spec.limits is not None and bool(spec.limits.tokens)
    return divided or tokens or any(_any_limit(target.limits) for target in targets)


def _any_limit(spec: AttemptLimits | None) -> bool:
    return spec is not None and bool(spec.requests or spec.tokens)


def _at_once(spec: AttemptLimits | CallerLimits | None) -> bool:
    """Whether it limits what is in flight elsewhere than in a pool."""
    return spec is not None and spec.concurrency is not None


def _queue(spec: Queue | None) -> contract.Queue | None:
    if spec is None or spec.max == 0:
        return None
    return contract.Queue(max=spec.max, timeout=_time(spec.timeout, defaults.QUEUE_TIMEOUT))


def _request_limit(spec: RequestLimit | CallerRequestLimit) -> contract.RequestLimit:
    return contract.RequestLimit(
        name=spec.name,
        max=spec.max,
        per=durations.parse(spec.per),
        burst=spec.burst or spec.max,
        scope=spec.scope or defaults.LIMIT_SCOPE,
        by=(spec.by if isinstance(spec, RequestLimit) else None) or defaults.LIMIT_BY,
        header=spec.header if isinstance(spec, RequestLimit) else None,
        mode=spec.mode or defaults.LIMIT_MODE,
    )


def _either(value: T | None, default: T) -> T:
    return default if value is None else value


def _time(text: str | None, default: int) -> int:
    return default if text is None else durations.parse(text)


def _time_or_none(text: str | None) -> int | None:
    return None if text is None else durations.parse(text)


def _rising(first: str | None, first_default: int, most: str | None, most_default: int) -> tuple[int, int]:
    """A start and its cap; the default of the one that is not set gives way to the one that is."""
    start, cap = _time(first, first_default), _time(most, most_default)
    if most is None:
        return start, max(start, cap)
    return min(start, cap), cap
