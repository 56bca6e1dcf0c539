"""What goes on after an attempt, to which target or pool, and what is asked beside a slow one."""

from typing import Annotated, ClassVar

from pydantic import Field

from modelpool_config.models import OutcomeName, Reason
from modelpool_operator.api.target import PoolRef
from modelpool_operator.api.types import AnyList, AtMost, Between, Spec, Status, Within


class Backoff(Spec):
    """Waits between attempts at the same target."""

    example: ClassVar[str] = "{initial: 250ms, max: 2s}"

    initial: Annotated[str, Within("0s", "1h")] | None = Field(
        default=None,
        description="The first wait at most; it doubles, with full jitter. "
        "Default: 250ms, or max where that is shorter.",
    )
    max: Annotated[str, Within("0s", "1h")] | None = Field(
        default=None, description="The longest wait by doubling. Default: 2s, or initial where that is longer."
    )


class SameTarget(Spec):
    """Asking the same target again."""

    example: ClassVar[str] = "{retries: 1, backoff: {initial: 250ms, max: 2s}}"

    retries: Annotated[int, Between(0, 100)] | None = Field(
        default=None,
        description="How often the same target is asked again before another one, as far as maxAttempts goes; 0 is "
        "never. Default: 0 while another target is available and not yet tried, else 1.",
    )
    backoff: Backoff | None = Field(
        default=None, description="The waits in between. Default: 250ms doubling to 2s, full jitter."
    )
    max_retry_after: Annotated[str, Within("0s", "1h")] | None = Field(
        default=None,
        alias="maxRetryAfter",
        description="A rate limited target is asked again after its Retry-After, where that is no longer than this "
        "and the deadline allows it. Default: 0s.",
    )


class RetryBudget(Spec):
    """A ceiling on repeats over all requests of the pool; the first fallback of a request is never refused."""

    example: ClassVar[str] = "{percent: 20, minPerSecond: 3}"

    percent: Annotated[int, Between(0, 100)] | None = Field(
        default=None, description="Repeats may be this share of the requests. Default: 20."
    )
    min_per_second: Annotated[int, Between(0, 10_000)] | None = Field(
        default=None, alias="minPerSecond", description="So many repeats per second are always allowed. Default: 3."
    )


class FallbackPools(Spec):
    """The pools that a request goes on to for one reason."""

    example: ClassVar[str] = "{when: ContextLength, poolRefs: [{name: large}]}"

    when: Reason = Field(
        description="RateLimited: every target is limited, by its provider or by a limit here. ContextLength: the "
        "request is too long for a target's model. ContentPolicy: a provider's filter refused it. General: all that "
        "goes on to another target, and RateLimited too, after the pools for it."
    )
    pool_refs: Annotated[tuple[PoolRef, ...], AnyList(), AtMost(5, least=1)] = Field(
        alias="poolRefs", description="In this order. Their limits, targets and attempts are their own."
    )


class Fallback(Spec):
    """What goes on to another attempt, and how often."""

    example: ClassVar[str] = "{maxAttempts: 3}"

    outcomes: Annotated[tuple[OutcomeName, ...], AnyList(), AtMost(16)] | None = Field(
        default=None,
        description="The outcomes that go on to another target; an empty list is none. Default: all but "
        "ContentPolicy: Unreachable, Failed, LocalLimit, RateLimited, QuotaExhausted, Denied, Unsupported, TimedOut, "
        "Stalled, Broken, Empty.",
    )
    statuses: Annotated[tuple[Annotated[str, Status()], ...], AnyList(), AtMost(64)] | None = Field(
        default=None,
        description='Statuses of an answer that go on too: 429, "50x", "5xx". Default: none beyond outcomes.',
    )
    max_attempts: Annotated[int, Between(1, 100)] | None = Field(
        default=None,
        alias="maxAttempts",
        description="Attempts of one request at most, the first one counted; with more attempts than targets it "
        "starts again. Default: 2 with one target, else the number of targets, at most 4.",
    )
    same_target: SameTarget | None = Field(
        default=None, alias="sameTarget", description="Asking the same target again. Default: as its fields say."
    )
    retry_budget: RetryBudget | None = Field(
        default=None,
        alias="retryBudget",
        description="A ceiling on repeats over all requests. Default: 20 percent and 3 per second.",
    )
    pools: Annotated[tuple[FallbackPools, ...], AnyList(), AtMost(4)] | None = Field(
        default=None,
        description="Other pools for what the pool's own targets do not answer, by reason; a request sees at most 5 of "
        "them. Default: none.",
    )


class Hedging(Spec):
    """A second target is asked while the first one still thinks; the first of the two that answers wins."""

    example: ClassVar[str] = "{percentile: 95}"

    percentile: Annotated[int, Between(50, 99)] | None = Field(
        default=None,
        description="After as long as so many in a hundred of the pool's last answers took: to the first token of a "
        "stream, to the whole of any other. Not before 20 answers of the kind, and more above 95. "
        "Default: none; exactly one of percentile and delay.",
    )
    delay: Annotated[str, Within("1ms", "1h")] | None = Field(
        default=None,
        description="After this long; shorter than timeouts.total. Default: none; exactly one of percentile and delay.",
    )
    max_percent: Annotated[int, Between(1, 100)] | None = Field(
        default=None,
        alias="maxPercent",
        description="At most so many second requests for a hundred requests of the pool. Default: 5.",
    )
