"""A Provider: an LLM API, how it is reached and authenticated, and how patient we are with it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.credentials import Auth, Header, ResponseHeader
from modelpool_operator.api.fake import Fake
from modelpool_operator.api.health import Health
from modelpool_operator.api.limits import AttemptLimits
from modelpool_operator.api.meta import Resource
from modelpool_operator.api.model import Model
from modelpool_operator.api.types import URL, AnyList, AtMost, Between, HeaderName, Spec, Text, Within


class ProviderTimeouts(Spec):
    """Deadlines of one attempt."""

    example: ClassVar[str] = "{connect: 5s, firstToken: 60s}"

    connect: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None, description="Until the connection stands, TLS included. Default: 5s."
    )
    head: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        description="Until status and headers are there. Default: as firstToken for streams; none for other answers, "
        "whose head comes when they are done.",
    )
    first_token: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        alias="firstToken",
        description="Streams: until the first content, reasoning or tool delta. Comments and pings are not tokens. "
        "Default: 2m.",
    )
    idle: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None, description="Streams: between two events, comments and pings left out. Default: 2m."
    )
    attempt: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        description="One attempt to its first token, or to the end of an answer that is not a stream. Default: none.",
    )


class Connections(Spec):
    """Connections of one sidecar to this Provider."""

    example: ClassVar[str] = "{maxOpen: 512, idleTimeout: 60s}"

    max_open: Annotated[int, Between(1, 65_535)] | None = Field(
        default=None,
        alias="maxOpen",
        description="Attempts at once; above it the target counts as not available. Default: 512.",
    )
    idle_timeout: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None, alias="idleTimeout", description="How long an idle connection is kept. Default: 1m."
    )


Operation = Literal[
    "Chat", "Completions", "Embeddings", "Responses", "Images", "Audio", "Moderations", "Files", "Batches"
]


Word = Annotated[str, Text("a word (letters, digits, - _ .)", r"^[-._A-Za-z0-9]+\Z", most=63)]


class ProviderSpec(Spec):
    """What a user says about a Provider."""

    example: ClassVar[str] = "{dialect: OpenAI}"

    dialect: Literal["OpenAI", "Fake"] = Field(
        description="The shape of the API. OpenAI: OpenAI itself and all that is compatible with it. Fake: a scripted "
        "provider that the sidecar plays itself on a loopback port, treated as an ordinary OpenAI upstream."
    )
    base_url: URL | None = Field(
        default=None,
        alias="baseURL",
        description="Up to and without the operation, like https://api.openai.com/v1. No credentials, query or "
        "fragment. Plain http together with a credential goes to private names only: loopback, RFC 1918, fc00::/7, "
        "single labels, *.svc, *.svc.cluster.local, *.local, *.internal. Link-local addresses and metadata hosts are "
        "refused. Default: https://api.openai.com/v1 for OpenAI; a Fake has none.",
    )
    auth: Auth | None = Field(default=None, description="How we authenticate. Default: type None.")
    headers: Annotated[tuple[Header, ...], AnyList(), AtMost(32)] | None = Field(
        default=None, description="Headers that are sent with every request. Default: none."
    )
    forward_headers: Annotated[tuple[HeaderName, ...], AnyList(), AtMost(32)] | None = Field(
        default=None,
        alias="forwardHeaders",
        description="Names of client headers that may pass to this Provider, beside those of its dialect. "
        "Default: none.",
    )
    response_headers: Annotated[tuple[ResponseHeader, ...], AnyList(), AtMost(32)] | None = Field(
        default=None,
        alias="responseHeaders",
        description="Headers that are added to answers that came from here. Default: none.",
    )
    operations: Annotated[tuple[Operation, ...], AnyList(), AtMost(16, least=1)] | None = Field(
        default=None,
        description="The operations that are sent here; requests for others go to other targets. "
        "Default: all that are served.",
    )
    traffic: Literal["Normal", "Drained"] | None = Field(
        default=None,
        description="Drained takes this Provider out of all pools; running requests finish. Default: Normal.",
    )
    timeouts: ProviderTimeouts | None = Field(
        default=None, description="Deadlines of one attempt. Default: each as its own description says."
    )
    health: Health | None = Field(
        default=None,
        description="When a target cools down and how it comes back. Default: each as its own description says.",
    )
    quota_domain: Word | None = Field(
        default=None,
        alias="quotaDomain",
        description="A word for the account behind this Provider. Targets of all Providers with the same word share "
        "what is known of its limits: RateLimited or QuotaExhausted at one cools all of them, and its rate limit "
        "headers shape the share of all. Other failures stay where they are. Default: each target for itself.",
    )
    connections: Connections | None = Field(
        default=None,
        description="Connections of one sidecar to this Provider. Default: each as its own description says.",
    )
    trace_propagation: Literal["None", "TraceContext"] | None = Field(
        default=None,
        alias="tracePropagation",
        description="Whether the attempt's trace context (traceparent, tracestate; never baggage) is sent along. "
        "Default: None for public hosts, TraceContext for private ones.",
    )
    limits: AttemptLimits | None = Field(
        default=None,
        description="What the account allows, over all pools that use it; where it is reached its targets are passed "
        "over. Default: no limit.",
    )
    models: Annotated[tuple[Model, ...], AnyList(), AtMost(64)] | None = Field(
        default=None,
        description="What is known of its models; one that does not stand here may be asked all the same. "
        "Default: nothing.",
    )
    fake: Fake | None = Field(default=None, description="What a Fake does, for dialect Fake only. Default: healthy.")


class Provider(Resource):
    """An LLM API that pools of the same namespace may send requests to."""

    kind: Literal["Provider"] = Field(description="Provider.")
    spec: ProviderSpec = Field(description="What is wanted.")
