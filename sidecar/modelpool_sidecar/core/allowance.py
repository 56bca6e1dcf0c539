"""What a limit allows, to whom, and how it is told apart from every other limit (B8).

A limit stands at a level (`caller`, `pool`, `target`, `provider`) and belongs to whoever stands there. `by` divides it:
each value of what it names has a bucket of its own, found by `who`. To divide by something new, teach `Asker` what is
known of a request and `who` to make a short string of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from modelpool_config import models as contract
from modelpool_sidecar.core.gcra import Shape

LimitKey = tuple[str, str, str]
"""Identity of a limit: its level, whose it is (`chat/search`, `chat`, `chat/mini`, `openai`), its name."""

By = Literal["Pool", "Caller", "Header", "Namespace"]

LONGEST = 64
"""Characters; a longer value of a header is known by its digest, so that nobody fills the memory with names."""


Amounts = tuple[int, int, int, int]
"""Of one request what limits may count: itself, all its tokens, those of its input, those of its output."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """So many of each."""

    input: int = 0
    output: int = 0

    @property
    def amounts(self) -> Amounts:
        """A request of so many."""
        return 1, self.input + self.output, self.input, self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.input + other.input, self.output + other.output)


NONE = Tokens()
_COUNTED = {None: 0, "Total": 1, "Input": 2, "Output": 3}
"""By the `count` of a limit, which of the amounts it is; None: it counts requests."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a request's body shows: `text` in bytes, `fixed` in tokens, `output` the most that it asks for."""

    text: int
    fixed: int
    output: int | None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as limits are divided by it. Header names are lower case. `caller`: whose key was shown."""

    headers: Sequence[tuple[str, str]] = ()
    namespace: str = ""
    caller: str | None = None
    size: Size | None = None
    tokens: Tokens = NONE
    """What its body shows, and what it is estimated to take; where no limit counts tokens nobody looks."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the caller is called at pools behind the one that was asked, by the pool's name (B20)."""


NOBODY = Asker()


@dataclass(frozen=True, slots=True)
class RequestLimit:
    """At most `max` per `per` seconds, `burst` at once. `divided`: this sidecar takes its share (B13).

    `header`: lower case, for by Header. `observe`: what it would refuse is counted and passes.
    """

    key: LimitKey
    name: str
    max: int
    per: float
    burst: int
    divided: bool
    by: By = "Pool"
    header: str = ""
    observe: bool = False
    shape: Shape = field(init=False, compare=False, repr=False)
    """Of its buckets, where it is not divided."""
    counted: int = field(init=False, compare=False, repr=False)
    """Which of `Tokens.amounts` it counts."""

    counts_tokens: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Shape.of(self.max, self.per, self.burst))
        object.__setattr__(self, "counted", _COUNTED[getattr(self, "count", None)])

    @property
    def level(self) -> str:
        """Where it stands: `caller`, `pool`, `target` or `provider`."""
        return self.key[0]

    @property
    def is_own(self) -> bool:
        """Whether the bucket is one caller's alone."""
        return self.by == "Caller" or self.level == "caller"

    @property
    def unit(self) -> Literal["requests", "tokens"]:
        """What it counts, in a word."""
        return "requests"


@dataclass(frozen=True, slots=True)
class TokenLimit(RequestLimit):
    """The same of tokens.

    An estimate of the output never asks for more than a bucket holds, or nothing would pass. Input may: where a
    sidecar's share of `burst` is smaller than the request, it waits until the bucket is whole; above `burst` itself it
    is refused.
    """

    count: Literal["Total", "Input", "Output"] = "Total"
    counts_tokens: ClassVar[bool] = True

    @property
    def unit(self) -> Literal["requests", "tokens"]:
        """As above."""
        return "tokens"

    def amount(self, tokens: Tokens, burst: int) -> int:
        """What a request of so many takes of a bucket of this size: more than `burst` only where the input alone is."""
        counted = tokens.amounts[self.counted]
        return counted if counted <= burst else min(counted, max(burst, self._input(tokens)))

    def too_large(self, tokens: Tokens) -> bool:
        """Whether it would never be admitted: its input alone is more than may ever come at once."""
        return self._input(tokens) > self.burst

    def _input(self, tokens: Tokens) -> int:
        return 0 if self.count == "Output" else tokens.input


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `max` at once, requests of a caller or attempts at a target or Provider; each sidecar takes its part.

    `identity`: in mode Adaptive, whom the limit below `max` belongs to that is found out: a provider's model, or a
    Provider; None in mode Fixed.
    """

    key: LimitKey
    max: int
    identity: tuple[str, ...] | None = None

    @property
    def level(self) -> str:
        """Where it stands: `caller`, `target` or `provider`."""
        return self.key[0]

    @property
    def name(self) -> str:
        """What it is called where limits are listed."""
        return self.key[2]


def place(level: str, owner: str) -> LimitKey:
    """What is in flight at one object, with or without a cap."""
    return level, owner, "concurrency"


def caps(level: str, owner: str, raw: contract.Limits, identity: tuple[str, ...] | None = None) -> tuple[Cap, ...]:
    """The cap of one object, if it has one. `identity`: what an adaptive one is known by."""
    if raw.concurrency is None:
        return ()
    adaptive = raw.concurrency.mode == "Adaptive"
    return (Cap(place(level, owner), raw.concurrency.max, identity if adaptive else None),)


def compiled(level: str, owner: str, raw: contract.Limits) -> tuple[RequestLimit, ...]:
    """The limits of one object, as its requests meet them. A token limit may have the name of one on requests."""
    requests = tuple(RequestLimit(**_fields(level, owner, limit, limit.name)) for limit in raw.requests)
    return requests + tuple(
        TokenLimit(**_fields(level, owner, limit, f"tokens/{limit.name}"), count=limit.count) for limit in raw.tokens
    )


def _fields(level: str, owner: str, limit: contract.RequestLimit, identity: str) -> dict[str, Any]:
    return {
        "key": (level, owner, identity),
        "name": limit.name,
        "max": limit.max,
        "per": limit.per / 1000,
        "burst": limit.burst,
        "divided": limit.scope == "Divided",
        "by": limit.by,
        "header": (limit.header or "").lower(),
        "observe": limit.mode == "Observe",
    }


def who(limit: RequestLimit, asker: Asker) -> str:
    """Whose bucket of the limit it is; empty where all share one, or the request does not carry the header."""
    by = limit.by
    if by == "Pool":
        return ""
    if by == "Header":
        wanted = limit.header
        for name, value in asker.headers:
            if name == wanted:
                return value if len(value) <= LONGEST else _digest(value)
        return ""
    if by == "Caller":
        return (
            asker.names.get(limit.key[1].partition("/")[0], asker.caller or "") if asker.names else asker.caller or ""
        )
    return asker.namespace


def _digest(text: str) -> str:
    """A zero byte in front: no header can hold one, so no other value has this name."""
    return "\0" + hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
