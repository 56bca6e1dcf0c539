"""Limits, as they stand on a pool, a target or a Provider."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.types import AnyList, AtMost, Between, EntryName, HeaderName, Spec, Within

Scope = Annotated[
    Literal["Sidecar", "Divided"] | None,
    Field(
        description="Sidecar: each sidecar allows this much. Divided: each takes max divided by the number of sidecars "
        "in the namespace, at least 1. Default: Divided."
    ),
]
Mode = Annotated[
    Literal["Enforce", "Observe"] | None,
    Field(
        description="Enforce refuses what is above it. Observe lets it pass and counts it, in the state, the log and "
        "modelpool_limit_observed_total. Default: Enforce."
    ),
]
TokenMax = Annotated[int, Between(1, 1_000_000_000_000), Field(description="Tokens allowed in the time of per.")]
TokenBurst = Annotated[
    Annotated[int, Between(1, 1_000_000_000_000)] | None,
    Field(
        description="How many may come at once; a request whose input alone is longer is answered with 400. "
        "Default: the same as max."
    ),
]
TokenCount = Annotated[
    Literal["Total", "Input", "Output"] | None,
    Field(description="Which tokens: what is sent, what is answered, or both. Default: Total."),
]


class Rate(Spec):
    """So much in so much time."""

    name: EntryName = Field(description="The limit's name in errors and metrics; unique in its list.")
    max: Annotated[int, Between(1, 1_000_000_000)] = Field(description="Requests allowed in the time of per.")
    per: Annotated[str, Within("1s", "24h")] = Field(description="The time, from 1s to 24h.")
    burst: Annotated[int, Between(1, 1_000_000_000)] | None = Field(
        default=None, description="How many may come at once. Default: the same as max."
    )


class RequestLimit(Rate):
    """So many requests in so much time."""

    example: ClassVar[str] = "{name: minute, max: 600, per: 1m}"

    by: Literal["Pool", "Caller", "Header", "Namespace"] | None = Field(
        default=None,
        description="Who shares it. Pool: all requests together, on a Provider those of all pools. Caller: each "
        "caller of the pool has this much of its own; on a Provider callers of one name in several pools are one, and "
        "so are all requests without a caller. Header: each value of a header has this much of its own, and so have "
        "all requests without it together. Namespace: each "
        "namespace whose sidecars ask. Default: Pool.",
    )
    header: HeaderName | None = Field(
        default=None,
        description="The header's name, for by Header; compared without case. None that carries a credential. "
        "Default: none; required for Header.",
    )
    scope: Scope = None
    mode: Mode = None


class TokenLimit(RequestLimit):
    """So many tokens in so much time: estimated when a request comes, counted when its answer is over."""

    example: ClassVar[str] = "{name: minute, max: 200000, per: 1m}"

    max: TokenMax
    burst: TokenBurst = None
    count: TokenCount = None


class Queue(Spec):
    """Who may wait for a place."""

    example: ClassVar[str] = "{max: 20, timeout: 10s}"

    max: Annotated[int, Between(0, 100_000)] = Field(
        description="How many may wait in each sidecar. 0: nobody, what comes when it is full is refused."
    )
    timeout: Annotated[str, Within("1ms", "1h")] | None = Field(
        default=None,
        description="How long one may wait, then it is refused. The wait counts against timeouts.total and never lasts "
        "longer. Default: 10s.",
    )


class Concurrency(Spec):
    """So many requests at once."""

    example: ClassVar[str] = "{max: 50}"

    max: Annotated[int, Between(1, 1_000_000)] = Field(
        description="Requests at once, each counted to the end of its answer. Each sidecar takes max / number of "
        "sidecars in the namespace, at least 1. Above it: the queue, or 429."
    )
    mode: Literal["Fixed", "Adaptive"] | None = Field(
        default=None,
        description="Fixed. Adaptive is for targets and Providers: it finds out what they bear. Default: Fixed.",
    )
    queue: Queue | None = Field(
        default=None,
        description="Let requests wait for a place instead of refusing them at once. Callers, or the values of the "
        "first limit by Header, take turns. Default: nobody waits.",
    )


class AttemptConcurrency(Spec):
    """So many attempts at once."""

    example: ClassVar[str] = "{max: 20}"

    max: Annotated[int, Between(1, 1_000_000)] = Field(
        description="Attempts at once, each counted to its end. Each sidecar takes max / number of sidecars in the "
        "namespace, at least 1. Nobody waits for a place here; a pool's own limit may have a queue."
    )
    mode: Literal["Fixed", "Adaptive"] | None = Field(
        default=None,
        description="Fixed: max counts. Adaptive: max is the ceiling, and how many are borne is found out: less after "
        "429, 503, 504, 529, timeouts and slow first tokens, one more for each round of good answers that used all of "
        "it. Default: Fixed.",
    )


RequestLimits = Annotated[tuple[RequestLimit, ...], AnyList(), AtMost(16)]
TokenLimits = Annotated[tuple[TokenLimit, ...], AnyList(), AtMost(16)]


class Limits(Spec):
    """What the pool admits."""

    example: ClassVar[str] = "{requests: [{name: minute, max: 600, per: 1m}], concurrency: {max: 50}}"

    requests: RequestLimits | None = Field(
        default=None, description="Limits on requests; all of them hold. Default: none."
    )
    tokens: TokenLimits | None = Field(default=None, description="Limits on tokens; all of them hold. Default: none.")
    concurrency: Concurrency | None = Field(default=None, description="Requests at once. Default: no limit.")


class AttemptLimits(Spec):
    """What may be sent to a target or a Provider."""

    example: ClassVar[str] = "{requests: [{name: minute, max: 500, per: 1m}]}"

    requests: RequestLimits | None = Field(
        default=None, description="Limits on requests, each attempt counted; all of them hold. Default: none."
    )
    tokens: TokenLimits | None = Field(
        default=None, description="Limits on tokens of all attempts; all of them hold. Default: none."
    )
    concurrency: AttemptConcurrency | None = Field(default=None, description="Attempts at once. Default: no limit.")
