"""What is counted: one registry, one method per event, the text that Prometheus scrapes.

Labels are configured names and words of ours only (B45). The label children are cached here: the library's own lookup
costs more than the counting.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from modelpool_sidecar.core.record import Record, Usage
from modelpool_sidecar.core.refusal import CODES
from modelpool_sidecar.telemetry import names, series

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4

_Child = TypeVar("_Child", Counter, Histogram)


@dataclass(frozen=True, slots=True)
class TargetState:
    """What a scrape shows of a target; all words are configured names or one of `series.STANCES`."""

    pool: str
    target: str
    provider: str
    stance: str
    share: float = 1.0


class Metrics:
    """The metrics of one sidecar. Written from the event loop, read from it as well."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own lack
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = _counter(series.REQUESTS, self.registry)
        self._duration = _histogram(series.REQUEST_DURATION, self.registry, series.BUCKETS)
        self._first_token = _histogram(series.FIRST_TOKEN, self.registry, series.FIRST_TOKEN_BUCKETS)
        self._queue_wait = _histogram(series.QUEUE_WAIT, self.registry, series.BUCKETS)
        self._attempts = _counter(series.ATTEMPT_COUNT, self.registry)
        self._fallbacks = _counter(series.FALLBACKS, self.registry)
        self._retries = _counter(series.RETRIES, self.registry)
        self._cache = _counter(series.CACHE_REQUESTS, self.registry)
        self._recoveries = _counter(series.RECOVERED, self.registry)
        self._dropped = _counter(series.DROPPED_EVENTS, self.registry)
        self._hedges = _counter(series.HEDGES, self.registry)
        self._tokens = _counter(series.TOKENS, self.registry)
        self._cost = _counter(series.COST_TOTAL, self.registry)
        self._over = _counter(series.LIMIT_OBSERVED, self.registry)
        self._caller_requests = _counter(series.CALLER_REQUESTS, self.registry)
        self._caller_tokens = _counter(series.CALLER_TOKENS, self.registry)
        self._caller_cost = _counter(series.CALLER_COST, self.registry)
        self._callers: set[str] = set()
        self._reloads = _counter(series.RELOADS, self.registry)
        self._checks = _counter(series.CHECKS, self.registry)
        self._observed = _Observed()
        self.registry.register(self._observed)
        ProcessCollector(registry=self.registry)
        for result in ("ok", "invalid"):
            self._reloads.of((result,))

    def count(self, record: Record) -> None:
        """A request is over."""
        pool, target = record.pool_label, record.target or ""
        operation = record.operation if record.operation in names.OPERATIONS else names.OTHER_OPERATION
        outcome = "" if record.outcome is None else record.outcome.value
        refusal = record.refusal if record.refusal in CODES else ""
        self._requests.of((pool, target, operation, _status_class(record.status), outcome, refusal or "")).inc()
        self._duration.of((pool, operation, "true" if record.stream else "false")).observe(record.duration)
        if record.first_token is not None:
            self._first_token.of((pool, target)).observe(record.first_token)
        if record.queued is not None:
            self._queue_wait.of((pool,)).observe(record.queued)
        for kind, tokens in zip(series.TOKEN_TYPES, _tokens(record.usage), strict=True):
            if tokens is not None and tokens > 0:
                self._tokens.of((pool, target, kind)).inc(tokens)
        if record.cost is not None and record.attempts:
            self._cost.of((pool, target, record.provider or "")).inc(float(record.cost))  # what a sample can hold
        if record.cache is not None:
            self._cache.of((pool, record.cache)).inc()
        for recovery in record.recoveries:
            self._recoveries.of((pool, recovery.mode or "None", recovery.result)).inc()
        if record.dropped:
            self._dropped.of((pool, record.target or "")).inc(record.dropped)
        for limit in record.observed:
            self._over.of((pool, limit)).inc()
        if record.caller is not None:
            self._count_caller(record, record.caller)
        self._count_attempts(record)

    def _count_attempts(self, record: Record) -> None:
        pool = record.pool_label
        before = None
        for attempt in record.attempts:
            self._attempts.of((pool, attempt.target, attempt.provider, attempt.outcome.value)).inc()
            if before is not None and not attempt.hedge and attempt.number > before.number:
                again = self._retries if attempt.same_target else self._fallbacks
                again.of((pool, before.target, before.outcome.value)).inc()
            if not attempt.outrun:
                before = attempt
        for attempt, result in record.hedges:
            self._hedges.of((pool, attempt.target, result)).inc()

    def _count_caller(self, record: Record, caller: str) -> None:
        if caller not in self._callers:
            if len(self._callers) < series.MAX_CALLERS:
                self._callers.add(caller)
            else:
                caller = series.OTHER_CALLER
        pool = record.pool_label
        self._caller_requests.of((pool, caller, _status_class(record.status))).inc()
        for kind, tokens in zip(series.TOKEN_TYPES, _tokens(record.usage), strict=True):
            if tokens:
                self._caller_tokens.of((pool, caller, kind)).inc(tokens)
        if record.cost is not None:
            self._caller_cost.of((pool, caller)).inc(float(record.cost))  # what a sample can hold

    def check(self, provider: str, outcome: str) -> None:
        """An active check of a provider is over."""
        self._checks.of((provider, outcome)).inc()

    def config_reload(self, ok: bool, digest: str | None = None) -> None:
        """A changed config was read. `digest`: of the config that is in force from now on, where it is a new one."""
        self._reloads.of(("ok" if ok else "invalid",)).inc()
        if ok and digest is not None:
            self._observed.digest = digest

    def observe(
        self,
        states: Callable[[], Iterable[TargetState]],
        in_flight: Callable[[], int],
        queues: Callable[[], Iterable[tuple[str, int]]] = tuple,
        caches: Callable[[], Iterable[tuple[str, int, int]]] = tuple,
    ) -> None:
        """Where a scrape finds the stances of targets, how many requests are in flight, how many wait where, and how
        many answers of how many bytes are kept."""
        self._observed.states, self._observed.in_flight, self._observed.queues = states, in_flight, queues
        self._observed.caches = caches

    def text(self) -> bytes:
        """Everything, in the format of CONTENT_TYPE."""
        return prometheus_client.generate_latest(self.registry)


def _tokens(usage: Usage) -> tuple[int | None, ...]:
    """In the order of `series.TOKEN_TYPES`."""
    return usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens


def _status_class(status: int) -> str:
    """`2xx` and so on; `none` where the client left before a status."""
    return f"{status // 100}xx" if 100 <= status < 600 else "none"


class _Family(Generic[_Child]):
    """One metric with its children by label values."""

    def __init__(self, metric: _Child) -> None:
        self._metric: _Child = metric
        self._children: dict[tuple[str, ...], _Child] = {}

    def of(self, values: tuple[str, ...]) -> _Child:
        """The child of these label values, in the order of the table."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._metric.labels(*values)
        return child


def _counter(metric: series.Metric, registry: CollectorRegistry) -> _Family[Counter]:
    return _Family(Counter(metric.name, metric.help, metric.labels, registry=registry))


def _histogram(metric: series.Metric, registry: CollectorRegistry, buckets: tuple[float, ...]) -> _Family[Histogram]:
    return _Family(Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=buckets))


class _Observed(Collector):
    """What is not counted but looked up, when Prometheus asks."""

    def __init__(self) -> None:
        self.digest: str | None = None
        self.states: Callable[[], Iterable[TargetState]] = tuple
        self.in_flight: Callable[[], int] = int
        self.queues: Callable[[], Iterable[tuple[str, int]]] = tuple
        self.caches: Callable[[], Iterable[tuple[str, int, int]]] = tuple

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as they are now."""
        in_flight = _gauge(series.IN_FLIGHT)
        in_flight.add_metric((), self.in_flight())
        queues = _gauge(series.QUEUE_LENGTH)
        for pool, length in self.queues():
            queues.add_metric((pool,), length)
        entries, kept = _gauge(series.CACHE_ENTRIES), _gauge(series.CACHE_BYTES)
        for pool, count, size in self.caches():
            entries.add_metric((pool,), count)
            kept.add_metric((pool,), size)
        stances, shares = _gauge(series.STANCE), _gauge(series.SHARE)
        for state in self.states():
            for stance in series.STANCES:
                labels = (state.pool, state.target, state.provider, stance)
                stances.add_metric(labels, 1.0 if state.stance == stance else 0.0)
            shares.add_metric((state.pool, state.target, state.provider), state.share)
        config = _gauge(series.CONFIG_INFO)
        if self.digest is not None:
            config.add_metric((self.digest,), 1.0)
        yield from (in_flight, queues, entries, kept, stances, shares, config)


def _gauge(metric: series.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
