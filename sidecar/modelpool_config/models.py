"""What stands in `config.json`: everything decided, nothing to look up, no default left open.

The operator's compiler fills in every default (behaviour.md, Defaults), so that the reader never has to know one.
Durations are whole milliseconds; the names on the wire are camelCase; keys never stand here, only the names of the
mounted files that hold them (`mount`).

Evolution (B52): a field added later gets a default, so that an older config stays readable. What an older reader must
not ignore is named in `requires` of the pool or provider that needs it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 6
SCHEMA_VERSION = f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}"

# What this reader can do beyond schema 1.0. A pool whose `requires` names anything else is closed, not misread.
FEATURES: frozenset[str] = frozenset(
    {"callers", "chains", "concurrency", "fallbackPools", "limits", "lowest-cost", "match", "parameters", "strategies"}
)

OutcomeName = Literal[
    "Unreachable",
    "Failed",
    "RateLimited",
    "QuotaExhausted",
    "Denied",
    "Unsupported",
    "TimedOut",
    "Stalled",
    "Broken",
    "Empty",
    "ContentPolicy",
    "LocalLimit",
]
"""The outcomes that `fallback.outcomes` may name (B17, B18)."""

Milliseconds = Annotated[int, Field(ge=0, le=366 * 24 * 3_600_000)]
Name = Annotated[str, Field(min_length=1, max_length=253)]


class Frozen(BaseModel):
    """Immutable, camelCase on the wire; unknown fields are judged by `codec`, not here."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


class Header(Frozen):
    """One header: `value` as it stands, or `credential`, the file that holds it. Exactly one is set."""

    name: Name
    value: str | None = None
    credential: str | None = None
    source: str = ""


class APIKey(Frozen):
    """Sends `prefix` + the content of the file `credential` in the header `header`.

    `source` is how people know it (`Secret openai, key api-key`), for messages; it is no value.
    """

    header: Name
    prefix: str
    credential: Name
    source: str


class ProviderTimeouts(Frozen):
    """Separate deadlines of one attempt (B16), in milliseconds; None = none."""

    connect: Milliseconds
    head: Milliseconds | None
    first_token: Milliseconds
    idle: Milliseconds
    attempt: Milliseconds | None


class ActiveCheck(Frozen):
    """GET `path` at the root of the base URL's host each `period`; one of `statuses` (`204`, `2xx`) is well (B38)."""

    path: Annotated[str, Field(min_length=1, max_length=256, pattern="^/")]
    period: Annotated[Milliseconds, Field(ge=1)]
    timeout: Annotated[Milliseconds, Field(ge=1)]
    statuses: Annotated[tuple[str, ...], Field(min_length=1)]


class Health(Frozen):
    """When a target is taken out of rotation and how it comes back (B35, B36)."""

    failures: Annotated[int, Field(ge=1)]
    min_requests: Annotated[int, Field(ge=1)]
    window: Milliseconds
    cooldown: Milliseconds
    max_cooldown: Milliseconds
    successes: Annotated[int, Field(ge=1)]
    ramp_up: Milliseconds
    active: ActiveCheck | None = None


class Connections(Frozen):
    """`max_open`: attempts at once to this provider from one sidecar; `idle_timeout`: how long an idle one is kept."""

    max_open: Annotated[int, Field(ge=1)]
    idle_timeout: Milliseconds


Fault = Literal["Refuse", "Reset", "Hang", "Cut", "Stall"]
"""Refuse: the connection is closed at once; Reset: after the request was read, before the head; Hang: no answer;
Cut: the body ends too early; Stall: the body stops and the connection stays."""


class FakeStep(Frozen):
    """One step of a Fake provider's script: for `requests` requests or for `duration`; neither = for ever."""

    requests: Annotated[int, Field(ge=1)] | None = None
    duration: Milliseconds | None = None
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    error: str | None = None
    first_token: Milliseconds | None = None
    tokens_per_second: Annotated[int, Field(ge=1)] | None = None
    tokens: Annotated[int, Field(ge=0)] | None = None
    fault: Fault | None = None


class Fake(Frozen):
    """The script of a provider that this sidecar plays itself on a loopback port. Empty = healthy."""

    script: tuple[FakeStep, ...] = ()


class RequestLimit(Frozen):
    """At most `max` requests each `per`, `burst` of them at once (GCRA). Divided: this sidecar's share of it (B13).

    `by`: each value of what it names has a bucket of its own. `header`: set for Header, and only there. Observe counts
    what would be refused and lets it pass. What is not Pool or not Enforce needs the feature `limits`.
    """

    name: Name
    max: Annotated[int, Field(ge=1)]
    per: Annotated[int, Field(ge=1000, le=86_400_000)]
    burst: Annotated[int, Field(ge=1)]
    scope: Literal["Sidecar", "Divided"]
    by: Literal["Pool", "Caller", "Header", "Namespace"] = "Pool"
    header: str | None = None
    mode: Literal["Enforce", "Observe"] = "Enforce"


class TokenLimit(RequestLimit):
    """The same of tokens: reserved by an estimate, settled with what was used (B10). Needs the feature `limits`."""

    count: Literal["Total", "Input", "Output"]


class Queue(Frozen):
    """So many requests may wait in one sidecar for a place, each at most for `timeout`."""

    max: Annotated[int, Field(ge=1)]
    timeout: Annotated[int, Field(ge=1, le=3_600_000)]


class Concurrency(Frozen):
    """At most `max` at once: requests of a pool or caller, held to the end of their answers, or attempts at a target or
    provider, held to their end (B11). All but the pool's need the feature `concurrency`.

    `queue`: of a pool alone. None: what comes when it is full is refused. A reader that does not know it refuses, too:
    nothing is lost.
    """

    max: Annotated[int, Field(ge=1)]
    queue: Queue | None = None
    mode: Literal["Fixed", "Adaptive"] = "Fixed"
    """Adaptive: `max` is the ceiling of what is found out by trying (B39); at a target or provider alone."""


class Limits(Frozen):
    """What a pool or caller may send, or what may be sent to a target or provider (B8); the last two need the feature
    `limits` for requests and tokens."""

    requests: tuple[RequestLimit, ...] = ()
    tokens: tuple[TokenLimit, ...] = ()
    concurrency: Concurrency | None = None


Price = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]


class Prices(Frozen):
    """US dollars per million tokens, in decimal. `output_per_million` None: not declared."""

    input_per_million: Price
    cached_input_per_million: Price
    output_per_million: Price | None


Prefill = Literal["Message", "Prefix", "Partial", "ContinueFinal"]
"""How a model is told to go on from a text: a last message of the assistant as it stands, marked `prefix` or `partial`,
or together with `continue_final_message` (B26)."""


class Model(Frozen):
    """What is known of a model at this provider. None: not declared, so that it is taken to be able to do everything
    (B6), and nobody knows what it costs."""

    name: Name
    prices: Prices | None = None
    context_tokens: Annotated[int, Field(ge=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    capabilities: tuple[str, ...] | None = None
    prefill: Prefill = "Message"
    """Where its capabilities name Prefill."""


class Provider(Frozen):
    """An LLM API: where it is, how it is authenticated, and how patient we are."""

    name: Name
    dialect: Literal["OpenAI", "Fake"]
    requires: tuple[str, ...] = ()
    base_url: str | None
    """Without a trailing slash; None only for Fake, whose address the sidecar knows."""
    auth: APIKey | None
    headers: tuple[Header, ...]
    forward_headers: tuple[str, ...]
    response_headers: tuple[Header, ...]
    traffic: Literal["Normal", "Drained"]
    timeouts: ProviderTimeouts
    health: Health
    connections: Connections
    trace_propagation: Literal["None", "TraceContext"]
    fake: Fake | None
    models: tuple[Model, ...] = ()
    operations: tuple[str, ...] | None = None
    """None: every operation is sent there. A word that this reader does not know is an operation it does not serve."""
    quota_domain: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Providers of one domain share cooldowns for its limits, and shaping (B22). None: for itself."""
    limits: Limits = Limits()
    """What the account allows, whichever pool asks."""


class Parameter(Frozen):
    """A top-level field of the request that is changed on the way (B40). `value`: JSON; None for Remove only."""

    name: Name
    action: Literal["Default", "Set", "Max", "Remove"]
    value: Annotated[str, Field(min_length=1, max_length=4096)] | None


class MatchHeader(Frozen):
    """A header that a request must carry: the name without case, the value exactly."""

    name: Name
    value: str


class Target(Frozen):
    """One entry of a pool. `model` None = the name that the client asked for. `weight` 0 = drained (B2).

    `match_headers`: only requests that carry all of them are sent here; a pool with some requires `match`.
    """

    name: Name
    provider: Name
    model: str | None
    weight: Annotated[int, Field(ge=0, le=1_000_000)]
    priority: Annotated[int, Field(ge=0, le=100)]
    parameters: tuple[Parameter, ...] = ()
    """They win over the pool's of the same name. Needs the feature `parameters`, as the pool's do."""
    match_headers: tuple[MatchHeader, ...] = ()
    limits: Limits = Limits()


class PoolTarget(Frozen):
    """One entry of a pool that is another pool of this config: that pool's own targets are asked (B7).

    Its limits and its strategy apply there, its fallback does not. What a pool with some requires is `chains`.
    """

    name: Name
    pool: Name
    weight: Annotated[int, Field(ge=0, le=1_000_000)]
    priority: Annotated[int, Field(ge=0, le=100)]
    parameters: tuple[Parameter, ...] = ()
    match_headers: tuple[MatchHeader, ...] = ()
    limits: Limits = Limits()


class Unresolved(Frozen):
    """A target that was left out, and why (B47a). `reason` is the condition's, CamelCase."""

    target: Name
    reason: str
    message: str


class SameTarget(Frozen):
    """Repeating at the same target. `retries` None = the default of B17's table: 0 while another is there, else 1."""

    retries: Annotated[int, Field(ge=0)] | None
    initial: Milliseconds
    max: Milliseconds
    max_retry_after: Milliseconds


class RetryBudget(Frozen):
    """Retries may be at most `percent` of the requests plus `min_per_second` (B18)."""

    percent: Annotated[int, Field(ge=0, le=100)]
    min_per_second: Annotated[int, Field(ge=0)]


Reason = Literal["RateLimited", "ContextLength", "ContentPolicy", "General"]
"""Why a request leaves its pool for another one (B20)."""


class FallbackPools(Frozen):
    """Where a request goes on for one reason: names of pools of this config, in the order to try."""

    when: Reason
    pools: Annotated[tuple[Name, ...], Field(min_length=1)]


class Fallback(Frozen):
    """What may go on to another attempt. `statuses`: three characters each, a digit or `x` (`429`, `50x`, `5xx`)."""

    outcomes: tuple[OutcomeName, ...]
    statuses: tuple[str, ...]
    max_attempts: Annotated[int, Field(ge=1)]
    same_target: SameTarget
    retry_budget: RetryBudget
    pools: tuple[FallbackPools, ...] = ()
    """After the pool's own targets. Needs the feature `fallbackPools`."""


StrategyName = Literal[
    "Weighted", "RoundRobin", "LeastRequests", "LowestLatency", "LowestCost", "LowestUsage", "ConsistentHash"
]
"""All but Weighted require `strategies`, LowestCost `lowest-cost` and LowestUsage `limits` too (B1)."""


class ConsistentHash(Frozen):
    """What the key of a request is: a header's value, its caller, or the beginning of its prompt."""

    by: Literal["Header", "Caller", "Prompt"]
    header: str | None


class CallerEntry(Frozen):
    """What one caller may do: limits of its own, taken before the pool's (B8)."""

    name: Name
    limits: Limits


class Callers(Frozen):
    """Only who shows a key may use the pool. `keys`: the mounted file with the digests (`callerkeys`); where it is not
    there nobody may. `source` is how people know it (`Secret team-keys`). A pool that has it requires `callers`."""

    keys: Name
    source: str
    entries: tuple[CallerEntry, ...] = ()


RecoveryMode = Literal["Continue", "Replay"]
"""How another target goes on with a stream that broke after its commit (B26)."""


class Cache(Frozen):
    """Answers are kept for `ttl` and given again to equal requests of one caller (B53). `temperature` Zero: only of
    requests that ask for temperature 0. A reader that does not know it asks the providers each time: nothing is lost.
    """

    ttl: Annotated[Milliseconds, Field(ge=1)]
    max_entries: Annotated[int, Field(ge=1)]
    max_bytes: Annotated[int, Field(ge=1)]
    temperature: Literal["Zero", "Any"] = "Zero"


class Stateful(Frozen):
    """The target at which a pool's files, batches and ids live; it may be one that was left out."""

    target: Name


class Hedging(Frozen):
    """A second target is asked while the first one thinks: after `delay`, or a percentile of what answers take (B23).

    Exactly one of the two is set. A reader that does not know it asks one after the other, which does no harm.
    """

    percentile: Annotated[int, Field(ge=50, le=99)] | None
    delay: Annotated[Milliseconds, Field(ge=1)] | None
    max_percent: Annotated[int, Field(ge=1, le=100)]


class Streaming(Frozen):
    """When a stream's bytes go out (B24). A reader that does not know it commits at the first token, after a head that
    it holds as long: no harm."""

    commit: Literal["FirstToken", "Complete"] = "FirstToken"
    keep_alive: Milliseconds = 15_000
    head_hold: Milliseconds = 15_000


class Pool(Frozen):
    """The model names that clients use, the targets behind them and the rules between."""

    name: Name
    requires: tuple[str, ...] = ()
    models: tuple[str, ...]
    """Exact names, or a prefix with `*` at its end (B7)."""
    strategy: StrategyName
    targets: tuple[Target, ...]
    """Empty only where `pool_targets` are there."""
    unresolved: tuple[Unresolved, ...]
    fallback: Fallback
    limits: Limits
    total: Milliseconds
    """One deadline over all attempts (B15)."""
    last_resort: Literal["SoonestToRecover", "Refuse"]
    pinning: Literal["Allowed", "Denied"]
    response_model: Literal["Served", "Requested"]
    parameters: tuple[Parameter, ...] = ()
    consistent_hash: ConsistentHash | None = None
    """Set for the strategy ConsistentHash, and only there."""
    callers: Callers | None = None
    """None: everybody who reaches the sidecar."""
    stateful: Stateful | None = None
    streaming: Streaming = Streaming()
    cache: Cache | None = None
    """None: no answer is kept."""
    recovery: tuple[RecoveryMode, ...] = ()
    """In the order to try. A reader that does not know it lets such a stream end with its fault, which is no harm."""
    hedging: Hedging | None = None
    pool_targets: tuple[PoolTarget, ...] = ()


class ClosedPool(Frozen):
    """A pool that is known and cannot serve: its names answer 503 with `code` and `message`, not 404 (B47, B47a)."""

    name: Name
    models: tuple[str, ...]
    code: Literal["invalid_pool", "no_target", "sidecar_too_old"]
    message: str
    callers: Callers | None = None
    """As of an open pool: its name and its reason are for those alone who may use it."""


class Config(Frozen):
    """All that the sidecars of one namespace need. `pools`, `closed` and `providers` are sorted by name."""

    schema_version: str
    namespace: Name
    providers: tuple[Provider, ...]
    pools: tuple[Pool, ...]
    closed: tuple[ClosedPool, ...]
