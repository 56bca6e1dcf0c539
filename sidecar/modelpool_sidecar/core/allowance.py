"""What a limit allows, to whom, and how it is told apart from every other limit (B8).

A limit stands at a level (`pool`, `target`, `provider`) and belongs to whoever stands there. `by` divides it: each
value of what it names has a bucket of its own, found by `who`. To divide by something new, teach `Asker` what is known
of a request and `who` to make a short string of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelpool_config import models as contract

LimitKey = tuple[str, str, str]
"""Identity of a limit: its level, whose it is (`chat`, `chat/mini`, `openai`), its name."""

By = Literal["Pool", "Header", "Namespace"]

LONGEST = 64
"""Characters; a longer value of a header is known by its digest, so that nobody fills the memory with names."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as limits are divided by it. Header names are lower case. `caller`: whose key was shown."""

    headers: Sequence[tuple[str, str]] = ()
    namespace: str = ""
    caller: str | None = None


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

    @property
    def level(self) -> str:
        """Where it stands: `pool`, `target` or `provider`."""
        return self.key[0]


def compiled(level: str, owner: str, raw: contract.Limits) -> tuple[RequestLimit, ...]:
    """The limits of one object, as its requests meet them."""
    return tuple(
        RequestLimit(
            key=(level, owner, limit.name),
            name=limit.name,
            max=limit.max,
            per=limit.per / 1000,
            burst=limit.burst,
            divided=limit.scope == "Divided",
            by=limit.by,
            header=(limit.header or "").lower(),
            observe=limit.mode == "Observe",
        )
        for limit in raw.requests
    )


def who(limit: RequestLimit, asker: Asker) -> str:
    """Whose bucket of the limit it is; empty where all share one, or the request does not carry the header."""
    match limit.by:
        case "Header":
            said = next((value for name, value in asker.headers if name == limit.header), "")
            return said if len(said) <= LONGEST else _digest(said)
        case "Namespace":
            return asker.namespace
        case _:
            return ""


def _digest(text: str) -> str:
    """A zero byte in front: no header can hold one, so no other value has this name."""
    return "\0" + hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
