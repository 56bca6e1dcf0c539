"""A config, compiled: what a request looks things up in. Immutable; a reload makes a new one and swaps it (B46).

`core/compiled` makes it, with everything normalized; nothing that a request does may need the config again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelpool_config import models as contract
from modelpool_sidecar.core.allowance import Cap, LimitKey, RequestLimit
from modelpool_sidecar.core.checking import Check
from modelpool_sidecar.core.cost import Prices
from modelpool_sidecar.core.hedging import Hedging
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.parameters import Parameters
from modelpool_sidecar.core.queue import Queue

TargetKey = tuple[str, str, str, str]
"""Identity of a target's health (B48): provider, base URL, model, credential digest: a new key is a new identity."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A header whose value is `prefix` + a mounted credential, read anew for each attempt (B46)."""

    header: str
    prefix: str
    credential: str
    source: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; None = none (B16)."""

    connect: float
    head: float | None
    first_token: float
    idle: float
    attempt: float | None


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Seconds and counts (B35, B36)."""

    failures: int
    min_requests: int
    window: float
    cooldown: float
    max_cooldown: float
    successes: int
    ramp_up: float


@dataclass(frozen=True, slots=True)
class Ability:
    """What a model can do, as far as it is declared; None = anything (B6). Tokens of context and of an answer."""

    context: int | None
    output: int | None
    capabilities: frozenset[str] | None
    prefill: contract.Prefill = "Message"


@dataclass(frozen=True, slots=True)
class Provider:
    """An LLM API, ready to be asked. `forward_headers` and header names are lower case."""

    name: str
    dialect: str
    base_url: str
    host: str
    port: int
    auth: Secret | None
    headers: tuple[tuple[str, str], ...]
    secret_headers: tuple[Secret, ...]
    forward_headers: frozenset[str]
    response_headers: tuple[tuple[str, str], ...]
    drained: bool
    timeouts: Timeouts
    health: HealthSettings
    max_open: int
    idle_timeout: float
    trace_context: bool
    prices: Mapping[str, Prices] = field(default_factory=dict)
    """By model, of those that have some (B14)."""
    models: Mapping[str, Ability] = field(default_factory=dict)
    operations: frozenset[str] | None = None
    """By model what it can do, and which operations are sent here; absent = everything (B6)."""
    quota_domain: str | None = None
    check: Check | None = None
    limits: tuple[RequestLimit, ...] = ()
    """What the account allows: of all attempts here, whichever pool they come from (B8)."""
    caps: tuple[Cap, ...] = ()
    """How many of them at once; at most one."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Every credential that an attempt needs; without one of them it must not start (CredentialPending)."""
        return (*((self.auth,) if self.auth else ()), *self.secret_headers)


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of a pool. `model` None = the name the client asked for.

    `parameters`: the pool's and its own, merged and in order. `changes_choices`: they may change how many answers are
    asked for.
    `match`: the headers that a request must carry to be sent here, names in lower case; empty = every request.
    `seed`: what it brings to consistent hashing: its name in the pool, so that a new credential moves no key.
    """

    name: str
    provider: Provider
    model: str | None
    weight: int
    priority: int
    key: TargetKey
    match: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    parameters: Parameters = ()
    changes_choices: bool = False
    limits: tuple[RequestLimit, ...] = ()
    """What each attempt takes from: its own and then its provider's; before them those of what it is reached through
    (B8)."""
    caps: tuple[Cap, ...] = ()
    """How many attempts at once: its own cap and its provider's, where there are any; before them as above."""
    places: tuple[LimitKey, ...] = ()
    """Where an attempt is counted: here and, last, at its provider; before them as above."""
    through: "PoolTarget | None" = None
    """The target of its pool that leads to it, where that is another pool; its name begins with that one's."""
    inner: "Target | None" = None
    """The same target as the pool behind `through` knows it."""
    passed: tuple["Pool", ...] = ()
    """The pools on the way to it, the outermost first, its own left out."""
    gated: bool = False
    """Whether one of them counts what runs there, or has limits of single callers."""


@dataclass(frozen=True, slots=True)
class PoolTarget:
    """One entry of a pool that is another pool. The targets of that one stand among the pool's own, as `name/theirs`,
    with the priority of this entry (B7)."""

    name: str
    pool: "Pool"
    weight: int
    priority: int
    seed: int
    limits: tuple[RequestLimit, ...]
    """Its own, and those of the pool."""
    caps: tuple[Cap, ...]
    """Its own; the pool's places are those of its requests."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a target of a tier is chosen (B1). `by`, `header` (lower case): what ConsistentHash makes its key of."""

    type: contract.StrategyName
    by: Literal["Header", "Caller", "Prompt"] | None
    header: str


@dataclass(frozen=True, slots=True)
class Fallback:
    """Which outcomes and statuses go on, how often, and how the same target is repeated (B18, B19)."""

    outcomes: frozenset[Outcome]
    statuses: tuple[str, ...]
    max_attempts: int
    retries: int | None
    backoff_initial: float
    backoff_max: float
    max_retry_after: float
    budget_percent: int
    budget_per_second: int
    pools: Mapping[contract.Reason, tuple[str, ...]] = field(default_factory=dict)
    """By reason the pools that a request goes on to (B20)."""
    spills: bool = field(init=False, compare=False)
    """Whether a target at its cap is passed over; else the request that was meant for it is refused (B17)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "spills", Outcome.LOCAL_LIMIT in self.outcomes)

    def names_status(self, status: int | None) -> bool:
        """Whether `statuses` names it: `5xx` names 503."""
        digits = str(status)
        return status is not None and any(
            all(want in ("x", have) for want, have in zip(pattern, digits, strict=True)) for pattern in self.statuses
        )


@dataclass(frozen=True, slots=True)
class Streaming:
    """When a stream's bytes go out (B24): seconds. `complete`: not before the answer is whole."""

    complete: bool = False
    keep_alive: float = 15.0
    head_hold: float = 15.0


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What a pool keeps of its answers, to give them again (B53). `ttl`: seconds; `any_temperature`: of requests that
    leave the answer to chance, too."""

    ttl: float
    max_entries: int
    max_bytes: int
    any_temperature: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool that can serve. `tiers`: targets by priority, lowest first, never empty. `conditional`: some of them are
    for some requests only."""

    name: str
    models: tuple[str, ...]
    strategy: Strategy
    tiers: tuple[tuple[Target, ...], ...]
    targets: Mapping[str, Target]
    conditional: bool
    unresolved: tuple[contract.Unresolved, ...]
    fallback: Fallback
    request_limits: tuple[RequestLimit, ...]
    concurrency: int | None
    queue: Queue | None
    total: float
    last_resort: bool
    pinning: bool
    rewrite_model: bool
    digest: str
    counts_tokens: bool = False
    """Whether some limit in its way counts tokens, so that they have to be estimated (B10)."""
    stateful: str | None = None
    """The target where files, batches and ids live (B20a)."""
    selective: bool = False
    """Whether some target declares what it can do, so that a request has to be looked at (B6)."""
    callers: contract.Callers | None = None
    """Who may use it; None = everybody."""
    caller_limits: Mapping[str, tuple[RequestLimit, ...]] = field(default_factory=dict)
    """By caller, of those that have some."""
    streaming: Streaming = Streaming()
    recovery: tuple[contract.RecoveryMode, ...] = ()
    """How a stream that breaks after its commit is gone on with (B26)."""
    caller_caps: Mapping[str, Cap] = field(default_factory=dict)
    """By caller, of those that have one: how many of its requests at once."""
    hedging: Hedging | None = None
    """When a second target is asked while the first one thinks (B23); None = never."""
    admissions: Mapping[str, tuple[RequestLimit, ...]] = field(default_factory=dict)
    """The same followed by the pool's: what such a caller's requests meet."""
    pool_targets: tuple[PoolTarget, ...] = ()
    """Its targets that are pools; `targets` and `tiers` have those behind them in their place."""
    behind: Mapping[str, "Pool"] = field(default_factory=dict)
    """The pools behind its targets, at any depth; empty for most."""

    cache: CacheSettings | None = None
    """None: no answer is kept."""

    def admission_limits(self, caller: str | None) -> tuple[RequestLimit, ...]:
        """What stands in the way of a request before any target: the caller's own limits, then the pool's (B8)."""
        return self.request_limits if caller is None else self.admissions.get(caller, self.request_limits)

    def caller_cap(self, caller: str | None) -> Cap | None:
        """How many requests the caller may have at once; None = any number."""
        return self.caller_caps.get(caller) if caller is not None and self.caller_caps else None

    @property
    def short_digest(self) -> str:
        """The first 12 hex digits: what `x-modelpool-config` says (B41)."""
        return short(self.digest)


@dataclass(frozen=True, slots=True)
class ClosedPool:
    """A pool that answers 503 with its reason: `invalid_pool`, `no_target`, `sidecar_too_old`."""

    name: str
    models: tuple[str, ...]
    code: str
    message: str
    digest: str
    callers: contract.Callers | None = None

    @property
    def short_digest(self) -> str:
        """As of an open pool."""
        return short(self.digest)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole config as lookup maps. `exact`, `prefixes` (longest first), `star`: B7."""

    digest: str
    namespace: str
    pools: Mapping[str, Pool | ClosedPool]
    providers: Mapping[str, Provider]
    exact: Mapping[str, Pool | ClosedPool]
    prefixes: tuple[tuple[str, Pool | ClosedPool], ...]
    credential_digests: Mapping[str, str] = field(default_factory=dict)
    caller_files: frozenset[str] = frozenset()
    """The files with the keys of callers; empty where everybody may use everything."""

    def __repr__(self) -> str:
        return f"<Snapshot {self.digest[7:19]}: {len(self.pools)} pools, {len(self.providers)} providers>"


def short(digest: str) -> str:
    """The first 12 hex digits of a digest."""
    return digest.removeprefix("sha256:")[:12]
