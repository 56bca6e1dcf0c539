"""What the operator counts, and a span for each look at a namespace where an OTLP endpoint is configured.

Labels and attributes are names of namespaces and words of ours; no value of an object passes here.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from modelpool_operator.worklist import RetryError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
SERVICE = "modelpool-operator"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

logger = logging.getLogger(__name__)


class Look:
    """One look at a namespace, while it lasts."""

    def __init__(self, span: "Span | None") -> None:
        self._span = span

    def pools(self, number: int) -> None:
        """How many pools were compiled."""
        if self._span is not None:
            self._span.set_attribute("modelpool.pools", number)


class Telemetry:
    """Metrics in a registry of their own, spans where somebody listens."""

    def __init__(self, env: Mapping[str, str]) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own lack
        registry = self._registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=registry)
        self._looks = Counter(
            "modelpool_operator_reconciles", "Looks at a namespace, by how they ended.", ["result"], registry=registry
        )
        self._seconds = Histogram(
            "modelpool_operator_reconcile_duration_seconds",
            "How long a look at a namespace took.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._writes = Counter(
            "modelpool_operator_writes", "What was written to the API server.", ["what"], registry=registry
        )
        self._conflicts = Gauge(
            "modelpool_operator_name_conflict",
            "1 where an object of somebody else, or another instance, is in the way.",
            ["namespace"],
            registry=registry,
        )
        self._bytes = Gauge(
            "modelpool_operator_config_bytes",
            "How much of the 1 MiB that a ConfigMap holds is taken.",
            ["namespace"],
            registry=registry,
        )
        self._leader = Gauge("modelpool_operator_leader", "1 where this replica leads.", registry=registry)
        self._resync = Gauge(
            "modelpool_operator_resync_timestamp_seconds", "When everything was listed last.", registry=registry
        )
        self._objects = Gauge("modelpool_operator_objects", "How many objects are known.", ["kind"], registry=registry)
        self._waiting = Gauge("modelpool_operator_worklist", "Keys that wait.", ["name"], registry=registry)
        self._lag = Gauge(
            "modelpool_operator_loop_lag_seconds", "By how much the event loop was late last.", registry=registry
        )
        for result in ("ok", "error"):
            self._looks.labels(result)
        self._provider = _traces(env)

    @contextmanager
    def reconciling(self, namespace: str) -> Iterator[Look]:
        """Count and trace one look; an exception passes through."""
        began = time.monotonic()
        with self._span(namespace) as span:
            try:
                yield Look(span)
            except Exception as error:
                expected = isinstance(error, RetryError)
                self._looks.labels("ok" if expected else "error").inc()
                if span is not None and not expected:
                    _fail(span, type(error).__name__)
                raise
            else:
                self._looks.labels("ok").inc()
            finally:
                self._seconds.observe(time.monotonic() - began)

    def wrote(self, what: str) -> None:
        """Something was written."""
        self._writes.labels(what).inc()

    def conflict(self, namespace: str, there: bool) -> None:
        """Whether somebody else's object is in the way."""
        if there:
            self._conflicts.labels(namespace).set(1)
        else:
            _remove(self._conflicts, namespace)

    def config_bytes(self, namespace: str, size: int | None) -> None:
        """How large a namespace's ConfigMap is; None where it is gone."""
        if size is None:
            _remove(self._bytes, namespace)
        else:
            self._bytes.labels(namespace).set(size)

    def leading(self, leads: bool) -> None:
        """Whether this replica leads. One that ceased to says nothing about what it saw, and holds none of it."""
        self._leader.set(1 if leads else 0)
        if not leads:
            for gauge in (self._conflicts, self._bytes, self._objects, self._waiting):
                gauge.clear()
            self._resync.set(0)

    def resynced(self, at: float) -> None:
        """Everything was listed, at that epoch second."""
        self._resync.set(at)

    def observe(self, objects: Mapping[str, Callable[[], float]], waiting: Mapping[str, Callable[[], float]]) -> None:
        """What a scrape asks for."""
        for kind, count in objects.items():
            self._objects.labels(kind).set_function(count)
        for name, count in waiting.items():
            self._waiting.labels(name).set_function(count)

    def late(self, seconds: float) -> None:
        """The event loop was late by that much."""
        self._lag.set(seconds)

    def scrape(self) -> bytes:
        """Everything in the text format."""
        return prometheus_client.generate_latest(self._registry)

    def shutdown(self) -> None:
        """Send the spans that wait; blocks for some seconds at most."""
        if self._provider is not None:
            self._provider.shutdown()

    @contextmanager
    def _span(self, namespace: str) -> Iterator["Span | None"]:
        if self._provider is None:
            yield None
            return
        tracer = self._provider.get_tracer(SERVICE, version("modelpool"))
        attributes = {"k8s.namespace.name": namespace}
        # The SDK would put the exception's message into the span.
        with tracer.start_as_current_span(
            "reconcile", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span


def _fail(span: "Span", kind: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - as in `_traces`

    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


def _remove(gauge: Gauge, namespace: str) -> None:
    try:
        gauge.remove(namespace)
    except KeyError:
        return


def _traces(env: Mapping[str, str]) -> "TracerProvider | None":
    """The SDK, configured by the OTEL_* variables alone, where there is somewhere to send spans."""
    off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER", "") == "none"
    if off or not any(env.get(name) for name in _ENDPOINTS):
        return None
    # 20 MB that only traces cost.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = env.get("OTEL_SERVICE_NAME") or SERVICE
    provider = TracerProvider(
        resource=Resource.create({"service.name": name, "service.version": version("modelpool")}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=5)))
    return provider
