"""What one attempt came to, and what follows from it (B17).

`RULES` is the table of behaviour.md as data: whether the same target may be asked again, whether another one may, and
whether the target is to blame. `classify` turns an answer's status and error body into an outcome; faults of the
transport and of streams are named by those who see them.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """One word for what an attempt came to; the same word in configs, logs, metrics and traces."""

    OK = "Ok"
    UNREACHABLE = "Unreachable"
    FAILED = "Failed"
    LOCAL_LIMIT = "LocalLimit"
    RATE_LIMITED = "RateLimited"
    QUOTA_EXHAUSTED = "QuotaExhausted"
    DENIED = "Denied"
    UNSUPPORTED = "Unsupported"
    TIMED_OUT = "TimedOut"
    STALLED = "Stalled"
    BROKEN = "Broken"
    EMPTY = "Empty"
    CONTEXT_LENGTH = "ContextLength"
    CONTENT_POLICY = "ContentPolicy"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"


class Blame(StrEnum):
    """What an outcome means for the health of the target that it came from (B35)."""

    CLEARS = "clears"
    COUNTS = "counts"
    """A failure among others: cools at the threshold."""
    COOLS = "cools"
    """Rate limited: cools at once, comes back without a probe."""
    COOLS_LONG = "cools long"
    """Quota or credentials: cools at once for minutes."""
    NONE = "none"


class Again(StrEnum):
    """Whether the same target may be asked again for the same request."""

    NO = "no"
    AS_CONFIGURED = "as sameTarget"
    AFTER_WAIT = "if Retry-After fits"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of B17. `elsewhere`: another target may be tried, unless the pool says otherwise (`by_default`)."""

    again: Again
    elsewhere: bool
    blame: Blame
    by_default: bool = True


RULES: dict[Outcome, Rule] = {
    Outcome.OK: Rule(Again.NO, elsewhere=False, blame=Blame.CLEARS),
    Outcome.UNREACHABLE: Rule(Again.AS_CONFIGURED, elsewhere=True, blame=Blame.COUNTS),
    Outcome.FAILED: Rule(Again.AS_CONFIGURED, elsewhere=True, blame=Blame.COUNTS),
    Outcome.LOCAL_LIMIT: Rule(Again.NO, elsewhere=True, blame=Blame.NONE),
    Outcome.RATE_LIMITED: Rule(Again.AFTER_WAIT, elsewhere=True, blame=Blame.COOLS),
    Outcome.QUOTA_EXHAUSTED: Rule(Again.NO, elsewhere=True, blame=Blame.COOLS_LONG),
    Outcome.DENIED: Rule(Again.NO, elsewhere=True, blame=Blame.COOLS_LONG),
    Outcome.UNSUPPORTED: Rule(Again.NO, elsewhere=True, blame=Blame.NONE),
    Outcome.TIMED_OUT: Rule(Again.NO, elsewhere=True, blame=Blame.COUNTS),
    Outcome.STALLED: Rule(Again.NO, elsewhere=True, blame=Blame.COUNTS),
    Outcome.BROKEN: Rule(Again.NO, elsewhere=True, blame=Blame.COUNTS),
    Outcome.EMPTY: Rule(Again.NO, elsewhere=True, blame=Blame.COUNTS),
    Outcome.CONTEXT_LENGTH: Rule(Again.NO, elsewhere=False, blame=Blame.NONE),
    Outcome.CONTENT_POLICY: Rule(Again.NO, elsewhere=True, blame=Blame.NONE, by_default=False),
    Outcome.REJECTED: Rule(Again.NO, elsewhere=False, blame=Blame.NONE),
    Outcome.CANCELLED: Rule(Again.NO, elsewhere=False, blame=Blame.NONE),
}

CONFIGURABLE: tuple[Outcome, ...] = tuple(outcome for outcome, rule in RULES.items() if rule.elsewhere)
"""What `fallback.outcomes` may name."""

BY_DEFAULT: tuple[Outcome, ...] = tuple(outcome for outcome in CONFIGURABLE if RULES[outcome].by_default)
"""What goes on to another target where `fallback.outcomes` is absent: every transient fault."""

BLAMELESS_STATUSES = frozenset({409, 425})
"""Failed, but the request's or the moment's doing, not the target's."""

_BY_STATUS: dict[int, Outcome] = {
    401: Outcome.DENIED,
    402: Outcome.QUOTA_EXHAUSTED,
    403: Outcome.DENIED,
    404: Outcome.UNSUPPORTED,
    405: Outcome.UNSUPPORTED,
    408: Outcome.TIMED_OUT,
    409: Outcome.FAILED,
    415: Outcome.UNSUPPORTED,
    424: Outcome.FAILED,
    425: Outcome.FAILED,
    429: Outcome.RATE_LIMITED,
    498: Outcome.FAILED,
    499: Outcome.FAILED,
    501: Outcome.UNSUPPORTED,
    524: Outcome.TIMED_OUT,
}

MODEL_WORDS = frozenset(
    {
        "model_not_found",
        "DeploymentNotFound",
        "model_decommissioned",
        "model_not_available",
        "unknown_model",
        "invalid_model",
    }
)
QUOTA_WORDS = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "exceeded_current_quota_error",
        "billing_error",
        "budget_exceeded",
        "Arrearage",
        "openrouter_guardrail_budget",
        "openrouter_workspace_budget",
        "openrouter_key_limit",
    }
)
RATE_WORDS = frozenset({"rate_limit_exceeded", "rate_limit_error", "slow_down", "tokens_exceeded", "RateLimitReached"})
PASSING_BUDGET_WORDS = frozenset({"openrouter_in_flight_budget"})
CONTEXT_WORDS = frozenset({"context_length_exceeded", "exceed_context_size_error", "context_exceeded"})
POLICY_WORDS = frozenset(
    {
        "content_policy_violation",
        "content_filter",
        "ResponsibleAIPolicyViolation",
        "moderation_blocked",
        "moderation",
        "data_inspection_failed",
        "DataInspectionFailed",
    }
)
KEY_WORDS = frozenset({"invalid_api_key"})
OPERATION_WORDS = frozenset({"OperationNotSupported"})

BY_WORDS: tuple[tuple[frozenset[int], frozenset[str], Outcome], ...] = (
    (frozenset({400, 403, 404}), MODEL_WORDS, Outcome.DENIED),
    (frozenset({402}), PASSING_BUDGET_WORDS, Outcome.RATE_LIMITED),
    (frozenset({400, 403, 412, 429}), QUOTA_WORDS, Outcome.QUOTA_EXHAUSTED),
    (frozenset({400, 403, 413, 422, 500}), CONTEXT_WORDS, Outcome.CONTEXT_LENGTH),
    (frozenset({400, 403, 422}), POLICY_WORDS, Outcome.CONTENT_POLICY),
    (frozenset({413}), RATE_WORDS, Outcome.RATE_LIMITED),
    (frozenset({400}), KEY_WORDS, Outcome.DENIED),
    (frozenset({400}), OPERATION_WORDS, Outcome.UNSUPPORTED),
)
"""What an error body's words make of a status; the first row that fits counts, and before the status alone."""

WORDS: frozenset[str] = frozenset[str]().union(*(words for _, words, _ in BY_WORDS))
"""Every word that decides anything."""


@dataclass(frozen=True, slots=True)
class ProviderError:
    """What an error body says, as far as it can be read: the words of the API, never its message in a log.

    `cause`: the inner word, where a body has one beside code and type.
    """

    code: str | None = None
    type: str | None = None
    message: str | None = None
    cause: str | None = None

    def says(self, words: frozenset[str]) -> bool:
        """Whether its code, its type or its cause is one of these words."""
        return self.code in words or self.type in words or self.cause in words


NO_ERROR = ProviderError()


def classify(status: int, error: ProviderError = NO_ERROR, *, model_is_ours: bool = True) -> Outcome:
    """The outcome of an answer by its status and error body.

    `model_is_ours`: the pool names the upstream model. Where the client's own name was passed on, a provider that does
    not know it, or cannot do this with it, has refused the client, not us: Rejected, and no target is blamed for
    somebody's typing error.
    A redirect is Unsupported: a base URL that points beside the API, never followed with a credential.
    """
    if 200 <= status < 300:
        return Outcome.OK
    for statuses, words, outcome in BY_WORDS:
        if status in statuses and error.says(words):
            if not model_is_ours and (words is MODEL_WORDS or words is OPERATION_WORDS):
                return Outcome.REJECTED
            return outcome
    by_status = _BY_STATUS.get(status)
    if by_status is not None:
        return by_status
    if status >= 500:
        return Outcome.FAILED
    return Outcome.UNSUPPORTED if status < 400 else Outcome.REJECTED
