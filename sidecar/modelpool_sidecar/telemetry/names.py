"""Every name that spans use, in one place: attributes, operations, providers; the metrics stand in `series`.

OpenTelemetry's GenAI conventions in the form of v1.41 (the last release of the core repository that holds them) and the
stable HTTP conventions; our own words begin with `modelpool.`.
"""

from dataclasses import dataclass
from functools import lru_cache

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
