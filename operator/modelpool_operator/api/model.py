"""What is known of one model of a Provider: its bounds, what it can do, and what it costs."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_config.models import Prefill
from modelpool_operator.api.types import AnyList, AtMost, Between, ModelName, Spec, Text

Price = Annotated[str, Text('a price in quotes like "0.15"', r"^[0-9]{1,9}(\.[0-9]{1,9})?\Z", most=19)]


class Prices(Spec):
    """What a million tokens cost, in US dollars."""

    example: ClassVar[str] = '{inputPerMillion: "0.15", outputPerMillion: "0.6"}'

    input_per_million: Price = Field(alias="inputPerMillion", description='Of input, in quotes: "0.15".')
    cached_input_per_million: Price | None = Field(
        default=None,
        alias="cachedInputPerMillion",
        description="Of the part of the input that the provider had in its cache. Default: as inputPerMillion.",
    )
    output_per_million: Price | None = Field(
        default=None,
        alias="outputPerMillion",
        description="Of output, reasoning included. Default: none; an answer with output then has no cost.",
    )


Capability = Literal[
    "Tools", "ParallelTools", "JSONSchema", "Vision", "Audio", "Documents", "Reasoning", "Prefill", "Embeddings"
]


class Model(Spec):
    """What is known of one model of the Provider."""

    example: ClassVar[str] = '{name: gpt-4o-mini, prices: {inputPerMillion: "0.15", outputPerMillion: "0.6"}}'

    name: ModelName = Field(description="The model's name at the Provider, as a target names it.")
    context_tokens: Annotated[int, Between(1, 1_000_000_000)] | None = Field(
        default=None,
        alias="contextTokens",
        description="Tokens that it can have in sight, what is sent and what is asked for together. A request that is "
        "clearly longer (a quarter of the bytes of its text) goes to other targets. Default: any number.",
    )
    max_output_tokens: Annotated[int, Between(1, 1_000_000_000)] | None = Field(
        default=None,
        alias="maxOutputTokens",
        description="Tokens that an answer can have; a request that asks for more goes to other targets. "
        "Default: any number.",
    )
    capabilities: Annotated[tuple[Capability, ...], AnyList(), AtMost(16)] | None = Field(
        default=None,
        description="What it can do beyond plain text, all of it; a request that needs more goes to other targets, and "
        "is answered with 400 where there is none. An empty list is plain text only. Default: everything.",
    )
    prefill: Prefill | None = Field(
        default=None,
        description="How it is told to go on from a text, where its capabilities name Prefill; streaming.recovery uses "
        "it. The text is a last message of the assistant. Message: nothing else is said. Prefix: the message is marked "
        "prefix (Mistral, DeepSeek beta). Partial: it is marked partial (Moonshot). ContinueFinal: with "
        "continue_final_message, without add_generation_prompt (vLLM). Default: Message.",
    )
    prices: Prices | None = Field(
        default=None,
        description="What it costs, in US dollars. Default: not known; then no cost is counted or shown.",
    )
