"""Who may use a pool, and what each of them may send."""

from typing import Annotated, ClassVar

from pydantic import Field

from modelpool_operator.api.limits import Mode, Rate, Scope, TokenBurst, TokenCount, TokenMax
from modelpool_operator.api.types import AnyList, AtMost, Between, SecretName, Spec, Text


class KeysRef(Spec):
    """A Secret in the pool's namespace."""

    example: ClassVar[str] = "{name: team-keys}"

    name: SecretName = Field(description="The Secret's name, in the namespace of the pool.")


class CallerKeys(Spec):
    """Where the callers' keys are."""

    example: ClassVar[str] = "{secretRef: {name: team-keys}}"

    secret_ref: KeysRef = Field(
        alias="secretRef",
        description="The Secret whose entries are the keys: the name of each is the caller's name. A key has 16 to "
        "1024 visible ASCII characters; one trailing newline is stripped.",
    )


class CallerRequestLimit(Rate):
    """So many requests of one caller in so much time."""

    example: ClassVar[str] = "{name: minute, max: 60, per: 1m}"

    scope: Scope = None
    mode: Mode = None


class CallerTokenLimit(CallerRequestLimit):
    """So many tokens of one caller in so much time: estimated when a request comes, counted when its answer is over."""

    example: ClassVar[str] = "{name: minute, max: 20000, per: 1m}"

    max: TokenMax
    burst: TokenBurst = None
    count: TokenCount = None


class CallerConcurrency(Spec):
    """So many requests of one caller at once."""

    example: ClassVar[str] = "{max: 5}"

    max: Annotated[int, Between(1, 1_000_000)] = Field(
        description="Requests of the caller at once, each counted from its admission, a wait in the pool's queue "
        "included, to the end of its answer. Each sidecar takes max / number of sidecars in the namespace, at least 1. "
        "Above it: 429."
    )


class CallerLimits(Spec):
    """What one caller may send to the pool."""

    example: ClassVar[str] = "{requests: [{name: minute, max: 60, per: 1m}]}"

    requests: Annotated[tuple[CallerRequestLimit, ...], AnyList(), AtMost(16)] | None = Field(
        default=None, description="Limits on the caller's requests to this pool; all of them hold. Default: none."
    )
    tokens: Annotated[tuple[CallerTokenLimit, ...], AnyList(), AtMost(16)] | None = Field(
        default=None, description="Limits on the tokens of these; all of them hold. Default: none."
    )
    concurrency: CallerConcurrency | None = Field(
        default=None, description="Requests of the caller to this pool at once. Default: no limit."
    )


class Caller(Spec):
    """One caller, by the name of its entry in the Secret."""

    example: ClassVar[str] = "{name: search, limits: {requests: [{name: minute, max: 60, per: 1m}]}}"

    name: Annotated[str, Text(most=253)] = Field(description="The name of the caller: an entry of the Secret.")
    limits: CallerLimits | None = Field(
        default=None, description="What this caller may send, taken before the pool's own limits. Default: no limit."
    )


class Callers(Spec):
    """Who may use the pool."""

    example: ClassVar[str] = "{keys: {secretRef: {name: team-keys}}}"

    keys: CallerKeys = Field(
        description="The keys that clients show as Authorization: Bearer KEY, as the OpenAI SDKs do with api_key."
    )
    entries: Annotated[tuple[Caller, ...], AnyList(), AtMost(256)] | None = Field(
        default=None,
        description="Callers with limits of their own; one that is not here may use the pool as far as its own limits "
        "go. Default: none.",
    )
