"""What a Fake provider does: the script that the sidecar plays."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.types import AnyList, AtMost, Between, Spec, Text, Within


class FakeStep(Spec):
    """One step of the script: what the provider does for so many requests or for so long."""

    example: ClassVar[str] = "{requests: 3, status: 500}"

    requests: Annotated[int, Between(1, 1_000_000)] | None = Field(
        default=None, description="The step ends after this many requests. Default: it does not end by requests."
    )
    for_: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None, alias="for", description="The step ends after this time. Default: it does not end by time."
    )
    status: Annotated[int, Between(200, 599)] | None = Field(
        default=None, description="The status of its answers. Default: 200, or the one that belongs to error."
    )
    error: Annotated[str, Text("a word (letters, digits, - _ .)", r"^[-._A-Za-z0-9]+\Z")] | None = Field(
        default=None,
        description="The code in the error body, like insufficient_quota; with status 200 the error comes inside the "
        "answer. Default: the one that the API uses with the status.",
    )
    first_token: Annotated[str, Within("0s", "24h")] | None = Field(
        default=None,
        alias="firstToken",
        description="The wait before the first token of a stream, and before the head of every other answer. "
        "Default: 0s.",
    )
    tokens_per_second: Annotated[int, Between(1, 1_000_000)] | None = Field(
        default=None, alias="tokensPerSecond", description="The pace of a stream. Default: all at once."
    )
    tokens: Annotated[int, Between(0, 100_000)] | None = Field(
        default=None,
        description="How long a plain text is; with Cut, Stall or an error in a stream, what goes out before it. "
        "Default: as long as its own sentence; none before a fault or an error.",
    )
    fault: Literal["Refuse", "Reset", "Hang", "Cut", "Stall"] | None = Field(
        default=None,
        description="Refuse: the connection is closed at once. Reset: after the request was read. Hang: no answer. "
        "Cut: the body ends too early. Stall: the body stops and the connection stays. Default: none.",
    )


class Fake(Spec):
    """What a Fake provider does, in order."""

    example: ClassVar[str] = "{script: [{requests: 3, status: 500}, {}]}"

    script: Annotated[tuple[FakeStep, ...], AnyList(), AtMost(32)] | None = Field(
        default=None, description="The steps in order; the last one stays. Default: healthy."
    )
