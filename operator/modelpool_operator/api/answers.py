"""What clients see of a pool's answers, how they are streamed, and which are kept and given again."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_config.models import RecoveryMode
from modelpool_operator.api.types import AnyList, AtMost, Between, Spec, Within


class Response(Spec):
    """What clients see in the answer."""

    example: ClassVar[str] = "{model: Served}"

    model: Literal["Served", "Requested"] | None = Field(
        default=None,
        description="The model in the answer. Served: as the provider says. Requested: as the client asked "
        "(an answer above 8 MiB that is no stream keeps the served name). "
        "Default: Served.",
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
