"""A target of a pool: who is asked, which requests are for it, and what is changed in them on the way."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.limits import AttemptLimits
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
    Spec,
    Text,
)


class ProviderRef(Spec):
    """A Provider in the same namespace."""

    example: ClassVar[str] = "{name: openai}"

    name: ObjectName = Field(description="The Provider's name.")


class PoolRef(Spec):
    """A ModelPool in the same namespace."""

    example: ClassVar[str] = "{name: overflow}"

    name: ObjectName = Field(description="The ModelPool's name.")


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
