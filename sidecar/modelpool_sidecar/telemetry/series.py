"""Every metric that /metrics shows: its name, its labels, what it counts, and the values that are known beforehand.

Labels come from configured names alone (B45).
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table of metrics. `name` as it stands on /metrics, without a histogram's suffixes."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


REQUESTS = Metric(
    "modelpool_requests_total",
    "counter",
    ("pool", "target", "operation", "status", "outcome", "refusal"),
    "Requests that ended, by the class of the status that the client got.",
)
REQUEST_DURATION = Metric(
    "modelpool_request_duration_seconds",
    "histogram",
    ("pool", "operation", "stream"),
    "From the request to the last byte of its answer.",
)
FIRST_TOKEN = Metric(
    "modelpool_time_to_first_token_seconds",
    "histogram",
    ("pool", "target"),
    "From the request to the first content of a stream.",
)
ATTEMPT_COUNT = Metric(
    "modelpool_attempts_total",
    "counter",
    ("pool", "target", "provider", "outcome"),
    "Attempts that ended, by outcome.",
)
FALLBACKS = Metric(
    "modelpool_fallbacks_total",
    "counter",
    ("pool", "target", "outcome"),
    "Attempts that another target had to make, by the target and the outcome that caused it; hedges are none.",
)
RETRIES = Metric(
    "modelpool_retries_total",
    "counter",
    ("pool", "target", "outcome"),
    "Attempts repeated on the same target, by the outcome that caused it.",
)
RECOVERED = Metric(
    "modelpool_stream_recoveries_total",
    "counter",
    ("pool", "mode", "result"),
    "Streams that broke where the pool sets recovery: each attempt to go on by its way, and None where none was made.",
)
DROPPED_EVENTS = Metric(
    "modelpool_stream_events_dropped_total",
    "counter",
    ("pool", "target"),
    "Malformed events that were left out of streams of text that went on well.",
)
HEDGES = Metric(
    "modelpool_hedges_total",
    "counter",
    ("pool", "target", "result"),
    "Second attempts beside a slow first one, by their target: won, lost to the first, failed, or left by the client.",
)
CACHE_REQUESTS = Metric(
    "modelpool_cache_requests_total",
    "counter",
    ("pool", "result"),
    "Requests to pools with a cache, by what it had for them: hit, miss, bypass, shared.",
)
CACHE_ENTRIES = Metric("modelpool_cache_entries", "gauge", ("pool",), "Answers that are kept for the pool now.")
CACHE_BYTES = Metric("modelpool_cache_bytes", "gauge", ("pool",), "Bytes of memory that they take.")
TOKENS = Metric(
    "modelpool_tokens_total",
    "counter",
    ("pool", "target", "type"),
    "Tokens as providers counted them; cached ones are part of input, reasoning ones part of output.",
)
COST_TOTAL = Metric(
    "modelpool_cost_usd_total",
    "counter",
    ("pool", "target", "provider"),
    "Cost of answers in US dollars, by the prices that are declared; what has no price is not in it.",
)
LIMIT_OBSERVED = Metric(
    "modelpool_limit_observed_total",
    "counter",
    ("pool", "limit"),
    "Requests and attempts that a limit in mode Observe would have refused; the limit as level/name.",
)
CALLER_REQUESTS = Metric(
    "modelpool_caller_requests_total",
    "counter",
    ("pool", "caller", "status"),
    "Requests of callers with a key, by the class of the status; callers beyond the first 100 are other.",
)
CALLER_TOKENS = Metric(
    "modelpool_caller_tokens_total",
    "counter",
    ("pool", "caller", "type"),
    "Tokens of callers with a key, as providers counted them.",
)
CALLER_COST = Metric(
    "modelpool_caller_cost_usd_total",
    "counter",
    ("pool", "caller"),
    "Cost of the answers to callers with a key, in US dollars; what has no price is not in it.",
)
IN_FLIGHT = Metric("modelpool_in_flight", "gauge", (), "Requests that are being treated now.")
QUEUE_LENGTH = Metric("modelpool_queue_length", "gauge", ("pool",), "Requests that wait for a place in the pool now.")
QUEUE_WAIT = Metric(
    "modelpool_queue_wait_seconds",
    "histogram",
    ("pool",),
    "How long requests that had to wait for a place waited, with and without success.",
)
STANCE = Metric(
    "modelpool_target_stance",
    "gauge",
    ("pool", "target", "provider", "stance"),
    "1 for the stance that a target has: serving, cooling or probing; 0 for the other two.",
)
SHARE = Metric(
    "modelpool_target_share",
    "gauge",
    ("pool", "target", "provider"),
    "The part of its weight that a target takes: 1, or less while it ramps up or its account runs short.",
)
CHECKS = Metric(
    "modelpool_active_checks_total",
    "counter",
    ("provider", "outcome"),
    "Active checks of providers that are over, by what each came to: Ok, or a failure's outcome.",
)
RELOADS = Metric(
    "modelpool_config_reloads_total", "counter", ("result",), "Changed configs that were read: ok or invalid."
)
CONFIG_INFO = Metric("modelpool_config_info", "gauge", ("digest",), "1 for the config in force.")

METRICS: tuple[Metric, ...] = (
    REQUESTS,
    REQUEST_DURATION,
    FIRST_TOKEN,
    ATTEMPT_COUNT,
    FALLBACKS,
    RETRIES,
    RECOVERED,
    DROPPED_EVENTS,
    HEDGES,
    CACHE_REQUESTS,
    CACHE_ENTRIES,
    CACHE_BYTES,
    TOKENS,
    COST_TOTAL,
    LIMIT_OBSERVED,
    CALLER_REQUESTS,
    CALLER_TOKENS,
    CALLER_COST,
    IN_FLIGHT,
    QUEUE_LENGTH,
    QUEUE_WAIT,
    STANCE,
    SHARE,
    CHECKS,
    RELOADS,
    CONFIG_INFO,
)
MAX_CALLERS = 100
"""So many callers have a label of their own in a process, the first that came; the rest is `OTHER_CALLER` (B45)."""
OTHER_CALLER = "other"
TOKEN_TYPES = ("input", "output", "cached", "reasoning")
STANCES = ("serving", "cooling", "probing")

BUCKETS = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
    163.84,
    327.68,
    655.36,
)
"""Seconds: those of the GenAI conventions, doubled on to past the default `total` of ten minutes."""
FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0)
"""Seconds: up to the default deadline of a first token."""
