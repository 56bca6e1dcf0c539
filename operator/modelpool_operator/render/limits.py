"""Limits as the sidecar reads them, wherever they stand; and which of them an older one does not know."""

from modelpool_config import models as contract
from modelpool_operator import defaults, durations
from modelpool_operator.api.callers import CallerConcurrency, CallerLimits, CallerRequestLimit
from modelpool_operator.api.limits import AttemptConcurrency, AttemptLimits, Concurrency, Limits, Queue, RequestLimit
from modelpool_operator.render import filled


def render(spec: Limits | AttemptLimits | CallerLimits | None) -> contract.Limits:
    """Of one object."""
    tokens = (spec.tokens if spec else None) or ()
    return contract.Limits(
        requests=tuple(_request_limit(limit) for limit in (spec.requests if spec else None) or ()),
        tokens=tuple(
            contract.TokenLimit(**dict(_request_limit(limit)), count=limit.count or defaults.LIMIT_COUNT)
            for limit in tokens
        ),
        concurrency=_concurrency(spec.concurrency) if spec and spec.concurrency else None,
    )


def any_limit(spec: AttemptLimits | None) -> bool:
    """Whether it limits requests or tokens."""
    return spec is not None and bool(spec.requests or spec.tokens)


def at_once(spec: AttemptLimits | CallerLimits | None) -> bool:
    """Whether it limits what is in flight elsewhere than in a pool."""
    return spec is not None and spec.concurrency is not None


def _concurrency(spec: Concurrency | AttemptConcurrency | CallerConcurrency) -> contract.Concurrency:
    return contract.Concurrency(
        max=spec.max,
        queue=_queue(spec.queue) if isinstance(spec, Concurrency) else None,
        mode=(spec.mode if isinstance(spec, AttemptConcurrency) else None) or defaults.CONCURRENCY_MODE,
    )


def _queue(spec: Queue | None) -> contract.Queue | None:
    if spec is None or spec.max == 0:
        return None
    return contract.Queue(max=spec.max, timeout=filled.time(spec.timeout, defaults.QUEUE_TIMEOUT))


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
