"""A ModelPool: the model names that clients use, the targets behind them, and the rules between."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_config.models import OutcomeName, Reason, RecoveryMode, StrategyName
from modelpool_operator.api.limits import AttemptLimits, CallerLimits, Limits
from modelpool_operator.api.meta import Resource
from modelpool_operator.api.types import (
    AnyList,
    AtMost,
    Between,
    EntryName,
    FieldName,
    HeaderName,
    HeaderValue,
    ModelName,
    ObjectName,
    SecretName,
    Spec,
    Status,
    Text,
    Within,
)


class Model(Spec):
    """A model name that clients send."""

    example: ClassVar[str] = "{name: gpt-4o}"

    name: ModelName = Field(
        description='What clients send as model. A * may stand at the end: "gpt-*" is every name that begins so, "*" '
        "every name; the exact name wins, then the longest beginning. Write it in quotes."
    )


class ProviderRef(Spec):
    """A Provider in the same namespace."""

    example: ClassVar[str] = "{name: openai}"

    name: ObjectName = Field(description="The Provider's name.")


class Parameter(Spec):
    """A field of the request that is changed on the way to a Provider."""

    example: ClassVar[str] = '{name: temperature, action: Default, value: "0.2"}'

    name: FieldName = Field(
        description='A top-level field of the request, as the API spells it; never model or stream. In quotes: "n".'
    )
    action: Literal["Default", "Set", "Max", "Remove"] = Field(
        description="Default adds it where the request has none. Set adds it, or puts it in place of the client's. Max "
        "lowers a number to it and replaces what is no number; a limit on output tokens is added where the request has "
        "none. Remove takes it out."
    )
    value: Annotated[str, Text(most=4096)] | None = Field(
        default=None,
        description='JSON in a string: "0.2", "true", "[1]", or \'"low"\' for a string. Max takes a number, Remove '
        "nothing. Default: none; required but for Remove.",
    )


class MatchHeader(Spec):
    """A header that a request must carry."""

    example: ClassVar[str] = "{name: x-tier, value: premium}"

    name: HeaderName = Field(
        description="The header's name; compared without case. None that carries a credential: "
        "anybody who may read the pool could read its value."
    )
    value: HeaderValue = Field(description="Its value, the whole of it; compared with case.")


class Match(Spec):
    """Which requests a target takes."""

    example: ClassVar[str] = "{headers: [{name: x-tier, value: premium}]}"

    headers: Annotated[tuple[MatchHeader, ...], AnyList(), AtMost(16, least=1)] = Field(
        description="The request must carry all of these."
    )


class PoolRef(Spec):
    """A ModelPool in the same namespace."""

    example: ClassVar[str] = "{name: overflow}"

    name: ObjectName = Field(description="The ModelPool's name.")


class Target(Spec):
    """One entry of the pool: a Provider, the model there, and its share; or another pool."""

    example: ClassVar[str] = "{name: mini, providerRef: {name: openai}, model: gpt-4o-mini}"

    name: EntryName = Field(description="The target's name in headers, metrics, traces and status; unique in the pool.")
    provider_ref: ProviderRef | None = Field(
        default=None,
        alias="providerRef",
        description="The Provider that is asked. Exactly one of providerRef and poolRef is set. Default: none.",
    )
    pool_ref: PoolRef | None = Field(
        default=None,
        alias="poolRef",
        description="The ModelPool whose targets are asked here, by its own strategy and priorities and under its "
        "limits; its fallback does not apply. Exactly one of providerRef and poolRef is set. Default: none.",
    )
    model: ModelName | None = Field(
        default=None,
        description="The model at the Provider; not beside poolRef. Default: the name that the client asked for.",
    )
    weight: Annotated[int, Between(0, 1_000_000)] | None = Field(
        default=None,
        description="Its share is weight / sum of the weights of the same priority; not a percentage. 0 is drained: "
        "not chosen while another target is available. Default: 1.",
    )
    priority: Annotated[int, Between(0, 100)] | None = Field(
        default=None, description="Lower comes first; higher ones serve when no lower one is available. Default: 0."
    )
    parameters: Annotated[tuple[Parameter, ...], AnyList(), AtMost(32)] | None = Field(
        default=None,
        description="Fields of the request that are changed for this target; they win over the pool's of the same "
        "name. With poolRef they come before those of that pool. Default: none of its own.",
    )
    match: Match | None = Field(
        default=None,
        description="A target that has it takes only the requests that it describes, for a tenant or a tier say. "
        "Clients choose their headers: this sorts requests, it protects nothing. Default: every request.",
    )
    limits: AttemptLimits | None = Field(
        default=None,
        description="What may be sent to this target; where it is reached the target is passed over, and that is no "
        "attempt. Default: no limit.",
    )


class ConsistentHash(Spec):
    """What a request's key is made of."""

    example: ClassVar[str] = "{by: Header, header: x-session}"

    by: Literal["Header", "Caller", "Prompt"] = Field(
        description="Header: the value of a header. Caller: the caller's name, in a pool with callers. Prompt: "
        "the beginning of the prompt, up to the user's first message and 1024 characters. A request without any is "
        "sent by weight."
    )
    header: HeaderName | None = Field(
        default=None, description="The header's name, for by Header. Default: none; required for Header."
    )


class Strategy(Spec):
    """How a target is chosen among those of one priority."""

    example: ClassVar[str] = "{type: Weighted}"

    type: StrategyName | None = Field(
        default=None,
        description="Weighted: at random, in proportion to the weights. RoundRobin: in turn, in proportion to the "
        "weights, evenly spread. LeastRequests: of two drawn by weight the one with fewer requests in flight, streams "
        "counted to their end. LowestLatency: the shortest expected wait for the first token, or for the whole answer "
        "where it is no stream. LowestCost: the lowest declared price, three tokens of input for one of output; what "
        "has no price is the dearest, and equals are drawn by weight. LowestUsage: the one of whose limits, its own "
        "and its Provider's, the smallest part is used. ConsistentHash: equal keys to the same target, for warm "
        "caches. Default: Weighted.",
    )
    consistent_hash: ConsistentHash | None = Field(
        default=None,
        alias="consistentHash",
        description="The key, for type ConsistentHash. Default: none; required for ConsistentHash.",
    )


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


class PoolTimeouts(Spec):
    """Deadlines of one request."""

    example: ClassVar[str] = "{total: 10m}"

    total: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        description="Over all attempts and waits; a stream has to have its first token by then, not its end. "
        "Default: 10m.",
    )


class Response(Spec):
    """What clients see in the answer."""

    example: ClassVar[str] = "{model: Served}"

    model: Literal["Served", "Requested"] | None = Field(
        default=None,
        description="The model in the answer. Served: as the provider says. Requested: as the client asked "
        "(an answer above 8 MiB that is no stream keeps the served name). "
        "Default: Served.",
    )


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


class Stateful(Spec):
    """Where things are kept."""

    example: ClassVar[str] = "{target: mini}"

    target: ObjectName = Field(description="The target whose Provider keeps them.")


class Cache(Spec):
    """Answers that are kept and given again."""

    example: ClassVar[str] = "{mode: Exact}"

    mode: Literal["None", "Exact"] = Field(
        description="Exact: the answer to a request is given again to the same request of the same caller, without "
        "asking a provider. None: nothing is kept."
    )
    ttl: Annotated[str, Within("1s", "168h")] | None = Field(
        default=None, description="How long an answer is kept. Default: 5m."
    )
    max_entries: Annotated[int, Between(1, 1_000_000)] | None = Field(
        default=None,
        alias="maxEntries",
        description="How many answers one sidecar keeps for this pool; the one that was longest not used goes first. "
        "Default: 1000.",
    )
    max_bytes: Annotated[int, Between(65_536, 134_217_728)] | None = Field(
        default=None,
        alias="maxBytes",
        description="How many bytes of memory they take in one sidecar; all pools together have at most 128 MiB, one "
        "answer at most 8 MiB. Default: 67108864, which is 64 MiB.",
    )
    temperature: Literal["Zero", "Any"] | None = Field(
        default=None,
        description="Zero: only requests that ask for temperature 0 are kept; one that names none has the API's own, "
        "which is 1. Any: a request that leaves its answer to chance gets the same one again, too. Default: Zero.",
    )


class Streaming(Spec):
    """How answers are streamed."""

    example: ClassVar[str] = "{commit: FirstToken, recovery: [Continue, Replay]}"

    commit: Literal["FirstToken", "Complete"] | None = Field(
        default=None,
        description="When an answer begins to go out; no other target is asked for it then. FirstToken: with its first "
        "content, reasoning or tool call. Complete: when it is whole; it is held until then, up to 8 MiB. "
        "Default: FirstToken.",
    )
    head_hold: Annotated[str, Within("0s", "10m")] | None = Field(
        default=None,
        alias="headHold",
        description="How long a client waits for status and headers while no content has come. Then it gets 200 and "
        "comments, and if every target fails, an error event in place of a status; so too when 64 KiB without content "
        "have come. At most 10m. Default: 15s.",
    )
    keep_alive: Annotated[str, Within("100ms", "10m")] | None = Field(
        default=None,
        alias="keepAlive",
        description="A comment goes to the client whenever a stream was silent for so long after its head. "
        "From 100ms to 10m. Default: 15s.",
    )
    recovery: Annotated[tuple[RecoveryMode, ...], AnyList(), AtMost(2)] | None = Field(
        default=None,
        description="What is done, in this order, when a stream of text breaks after its first content. Continue: the "
        "next target whose model declares Prefill goes on from the text that was sent. Replay: the next target starts "
        "again, and its answer is held back while it equals what was sent. The client sees one answer. "
        "Default: nothing; the client is told that the stream broke.",
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
        default=None, description="After this long. Default: none; exactly one of percentile and delay."
    )
    max_percent: Annotated[int, Between(1, 100)] | None = Field(
        default=None,
        alias="maxPercent",
        description="At most so many second requests for a hundred requests of the pool. Default: 5.",
    )


class ModelPoolSpec(Spec):
    """What a user says about a pool."""

    example: ClassVar[str] = "{targets: [{name: mini, providerRef: {name: openai}, model: gpt-4o-mini}]}"

    models: Annotated[tuple[Model, ...], AnyList(), AtMost(64, least=1)] | None = Field(
        default=None,
        description="The names that clients send as model. Two pools with one name: the older keeps it. "
        "Default: the pool's name.",
    )
    targets: Annotated[tuple[Target, ...], AnyList(), AtMost(64, least=1)] = Field(
        description="Where requests go, by priority and weight."
    )
    strategy: Strategy | None = Field(
        default=None, description="How a target is chosen inside one priority. Default: Weighted."
    )
    fallback: Fallback | None = Field(
        default=None,
        description="What goes on to another attempt, and how often. Default: every transient fault goes on.",
    )
    limits: Limits | None = Field(default=None, description="What the pool admits. Default: no limit.")
    parameters: Annotated[tuple[Parameter, ...], AnyList(), AtMost(32)] | None = Field(
        default=None,
        description="Fields of the request that are changed on the way to every target. Default: none; what the client "
        "sent is sent on.",
    )
    timeouts: PoolTimeouts | None = Field(default=None, description="Deadlines of one request. Default: total 10m.")
    last_resort: Literal["SoonestToRecover", "Refuse"] | None = Field(
        default=None,
        alias="lastResort",
        description="When all targets cool down. SoonestToRecover: one request at a time is tried at the target that "
        "recovers first. Refuse: 503 at once. Default: SoonestToRecover.",
    )
    pinning: Literal["Allowed", "Denied"] | None = Field(
        default=None,
        description="Whether clients may name a target in the header x-modelpool-target. Default: Allowed.",
    )
    stateful: Stateful | None = Field(
        default=None,
        description="Where the files, batches, kept responses and conversations of this pool are. Default: nowhere, "
        "unless it has one target.",
    )
    hedging: Hedging | None = Field(
        default=None,
        description="A second target is asked where the first one is slow, and the loser's connection is closed. Both "
        "are paid for. Never for what makes something, names what a provider keeps, or is pinned. Default: never.",
    )
    cache: Cache | None = Field(default=None, description="Answers that are kept and given again. Default: none is.")
    response: Response | None = Field(
        default=None, description="What clients see in the answer. Default: the served model."
    )
    streaming: Streaming | None = Field(
        default=None,
        description="How answers are streamed. Default: as its fields say.",
    )
    callers: Callers | None = Field(
        default=None,
        description="Who may use the pool; for all others it is as if it were not there. "
        "Default: everybody who reaches the sidecar's localhost.",
    )


class ModelPool(Resource):
    """Model names, and where requests for them go."""

    kind: Literal["ModelPool"] = Field(description="ModelPool.")
    spec: ModelPoolSpec = Field(description="What is wanted.")
