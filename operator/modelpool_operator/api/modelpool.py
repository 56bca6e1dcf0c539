"""A ModelPool: the model names that clients use, the targets behind them, and the rules between."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_config.models import StrategyName
from modelpool_operator.api.answers import Cache, Response, Streaming
from modelpool_operator.api.callers import Callers
from modelpool_operator.api.fallback import Fallback, Hedging
from modelpool_operator.api.limits import Limits
from modelpool_operator.api.meta import Resource
from modelpool_operator.api.target import Parameter, Target
from modelpool_operator.api.types import AnyList, AtMost, EntryName, HeaderName, ModelName, Spec, Within


class Model(Spec):
    """A model name that clients send."""

    example: ClassVar[str] = "{name: gpt-4o}"

    name: ModelName = Field(
        description='What clients send as model. A * may stand at the end: "gpt-*" is every name that begins so, "*" '
        "every name; the exact name wins, then the longest beginning. Write it in quotes."
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


class PoolTimeouts(Spec):
    """Deadlines of one request."""

    example: ClassVar[str] = "{total: 10m}"

    total: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        description="Over all attempts and waits; a stream has to have its first token by then, not its end. "
        "Default: 10m.",
    )


class Stateful(Spec):
    """Where things are kept."""

    example: ClassVar[str] = "{target: mini}"

    target: EntryName = Field(description="The target whose Provider keeps them.")


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
