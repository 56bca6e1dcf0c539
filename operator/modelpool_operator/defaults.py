"""What holds where a field is not set (behaviour.md, Defaults). Times are milliseconds.

The compiler fills these in; stored objects stay as they were written, and the descriptions of the fields tell them.
A value that depends on something else stands as a function of it.
"""

from typing import Literal

from modelpool_config.models import OutcomeName

SECOND = 1_000
MINUTE = 60 * SECOND

BASE_URLS: dict[str, str | None] = {"OpenAI": "https://api.openai.com/v1", "Fake": None}
API_KEY_HEADER = "Authorization"
TRAFFIC: Literal["Normal"] = "Normal"

CONNECT = 5 * SECOND
HEAD = None
FIRST_TOKEN = 120 * SECOND
IDLE = 120 * SECOND
ATTEMPT = None

FAILURES = 5
MIN_REQUESTS = 10
WINDOW = 30 * SECOND
COOLDOWN = 5 * SECOND
MAX_COOLDOWN = 30 * SECOND
SUCCESSES = 2
RAMP_UP = 10 * SECOND
CHECK_PERIOD = 10 * SECOND
CHECK_TIMEOUT = 2 * SECOND
CHECK_STATUSES = ("2xx",)

MAX_OPEN = 512
IDLE_TIMEOUT = 60 * SECOND

WEIGHT = 1
PRIORITY = 0
STRATEGY: Literal["Weighted"] = "Weighted"
TOTAL = 600 * SECOND
LAST_RESORT: Literal["SoonestToRecover"] = "SoonestToRecover"
PINNING: Literal["Allowed"] = "Allowed"
COMMIT: Literal["FirstToken"] = "FirstToken"
KEEP_ALIVE = 15 * SECOND
HEAD_HOLD = 15 * SECOND
PREFILL: Literal["Message"] = "Message"
RESPONSE_MODEL: Literal["Served"] = "Served"

OUTCOMES: tuple[OutcomeName, ...] = (
    "Unreachable",
    "Failed",
    "LocalLimit",
    "RateLimited",
    "QuotaExhausted",
    "Denied",
    "Unsupported",
    "TimedOut",
    "Stalled",
    "Broken",
    "Empty",
)
"""Every transient fault goes on. The sidecar's table of outcomes says the same; a test compares them."""

STATUSES: tuple[str, ...] = ()
RETRIES = None
BACKOFF_INITIAL = 250
BACKOFF_MAX = 2 * SECOND
MAX_RETRY_AFTER = 0
BUDGET_PERCENT = 20
BUDGET_PER_SECOND = 3
HEDGING_PERCENT = 5

CACHE_TTL = 5 * MINUTE
CACHE_ENTRIES = 1_000
CACHE_BYTES = 64 * 1024 * 1024
CACHE_TEMPERATURE: Literal["Zero"] = "Zero"
QUEUE_TIMEOUT = 10 * SECOND
CONCURRENCY_MODE: Literal["Fixed"] = "Fixed"
LIMIT_SCOPE: Literal["Divided"] = "Divided"
LIMIT_COUNT: Literal["Total"] = "Total"
LIMIT_BY: Literal["Pool"] = "Pool"
LIMIT_MODE: Literal["Enforce"] = "Enforce"


def api_key_prefix(header: str) -> str:
    """What stands in front of a key: a scheme in Authorization, nothing in a header made for keys."""
    return "Bearer " if header.lower() == "authorization" else ""


def max_attempts(targets: int) -> int:
    """Attempts of one request, by the number of targets that can be asked."""
    return 2 if targets == 1 else min(targets, 4)


def trace_propagation(public: bool) -> Literal["None", "TraceContext"]:
    """Trace context stays at home."""
    return "None" if public else "TraceContext"
