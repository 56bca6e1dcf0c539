"""Every name that telemetry uses, in one place: span attributes, metrics and their labels, operations, providers.

OpenTelemetry's GenAI conventions in the form of v1.41 (the last release of the core repository that holds them) and the
stable HTTP conventions; our own words begin with `modelpool.`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from modelpool_sidecar.core.catalogue import OPERATIONS as CATALOGUE

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
SCOPE = "modelpool.sidecar"
SERVICE_NAME = "modelpool-sidecar"

# Stable HTTP conventions
HTTP_METHOD = "http.request.method"
HTTP_RESEND_COUNT = "http.request.resend_count"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
URL_FULL = "url.full"
URL_PATH = "url.path"
URL_SCHEME = "url.scheme"
USER_AGENT = "user_agent.original"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"

# GenAI conventions, v1.41
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
OPENAI_API_TYPE = "openai.api.type"

# Ours
POOL = "modelpool.pool"
CALLER = "modelpool.caller"
TARGET = "modelpool.target"
PROVIDER = "modelpool.provider"
OUTCOME = "modelpool.outcome"
REFUSAL = "modelpool.refusal"
QUEUED = "modelpool.queued_ms"
ATTEMPTS = "modelpool.attempts"
CONFIG = "modelpool.config"
COST = "modelpool.cost"
PROBE = "modelpool.probe"
SAME_TARGET = "modelpool.same_target"
CACHE = "modelpool.cache"
RECOVERY = "modelpool.recovery"
RECOVERIES = "modelpool.recoveries"
HEDGE = "modelpool.hedge"
HEDGE_RESULT = "modelpool.hedge_result"
OUTRUN = "modelpool.outrun"

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"})
"""What the HTTP conventions know; anything else is `_OTHER` in an attribute and `HTTP` in a span's name."""


@dataclass(frozen=True, slots=True)
class GenAi:
    """How an operation of ours is called in GenAI terms. `api_type`: of the two OpenAI ways to chat."""

    name: str
    api_type: str | None = None


OPERATIONS: dict[str, GenAi | None] = {
    "chat": GenAi("chat", "chat_completions"),
    "text_completion": GenAi("text_completion"),
    "embeddings": GenAi("embeddings"),
    "responses": GenAi("chat", "responses"),
    "moderations": GenAi("moderations"),
    "image_generation": GenAi("image_generation"),
    "image_edit": GenAi("image_edit"),
    "image_variation": GenAi("image_variation"),
    "speech": GenAi("speech"),
    "transcription": GenAi("transcription"),
    "translation": GenAi("translation"),
    "models": None,
    "model": None,
    **dict.fromkeys(operation.name for operation in CATALOGUE if operation.state),
}
"""Every operation; None where no model is asked, so that there is no GenAI span."""

OTHER_OPERATION = "other"
"""The label of a request whose path is no operation of ours."""

FLAVOUR = "openai"
"""`gen_ai.provider.name` says whose API is spoken, which may differ from who answers: vLLM and the like speak this."""

_FLAVOURS: tuple[tuple[str, str], ...] = (
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    (".anthropic.com", "anthropic"),
    (".amazonaws.com", "aws.bedrock"),
    (".generativelanguage.googleapis.com", "gcp.gemini"),
    (".aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("-aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".mistral.ai", "mistral_ai"),
    (".cohere.ai", "cohere"),
    (".cohere.com", "cohere"),
    (".groq.com", "groq"),
    (".deepseek.com", "deepseek"),
    (".perplexity.ai", "perplexity"),
    (".x.ai", "x_ai"),
    (".moonshot.ai", "moonshot_ai"),
    (".moonshot.cn", "moonshot_ai"),
    (".ml.cloud.ibm.com", "ibm.watsonx.ai"),
)


@lru_cache(maxsize=256)
def flavour(host: str) -> str:
    """`gen_ai.provider.name` of a host: the well-known ones by name, everything else by the API that it speaks."""
    dotted = "." + host.lower().rstrip(".")
    return next((name for suffix, name in _FLAVOURS if dotted.endswith(suffix)), FLAVOUR)


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
