"""A Provider: an LLM API, how it is reached and authenticated, and how patient we are with it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_config.models import Prefill
from modelpool_operator.api.limits import AttemptLimits
from modelpool_operator.api.meta import Resource
from modelpool_operator.api.types import (
    URL,
    AnyList,
    AtMost,
    Between,
    HeaderName,
    HeaderValue,
    ModelName,
    SecretKey,
    SecretName,
    Spec,
    Text,
    Within,
)

CheckStatus = Annotated[str, Text('a status in quotes like "200" or "2xx"', r"^[2345](xx|[0-9]x|[0-9][0-9])\Z", most=3)]


class SecretRef(Spec):
    """One key of a Secret in the Provider's namespace."""

    example: ClassVar[str] = "{name: openai, key: api-key}"

    name: SecretName = Field(description="The Secret's name, in the namespace of the Provider.")
    key: SecretKey = Field(description="The key in the Secret's data. One trailing newline of its value is stripped.")


class APIKey(Spec):
    """A key that is sent in a header."""

    example: ClassVar[str] = "{secretRef: {name: openai, key: api-key}}"

    secret_ref: SecretRef = Field(alias="secretRef", description="Where the key is.")
    header: HeaderName | None = Field(
        default=None,
        description="The header that carries the key; never Host, Connection, Content-Length or Transfer-Encoding. "
        "Default: Authorization.",
    )
    prefix: Annotated[str, Text("printable ASCII", r"^[ -~]*\Z", least=0, quiet=True)] | None = Field(
        default=None,
        description="What stands in front of the key. In quotes, for its space at the end. "
        'Default: "Bearer " in the header Authorization, nothing in another one.',
    )


class Auth(Spec):
    """How we authenticate; the member that `type` names holds the rest."""

    example: ClassVar[str] = "{type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}"

    type: Literal["None", "APIKey"] = Field(
        description="None: nothing is sent. APIKey: a key from a Secret, in a header."
    )
    api_key: APIKey | None = Field(
        default=None, alias="apiKey", description="The key, for type APIKey. Default: none; required for APIKey."
    )


class Header(Spec):
    """A header that is sent with every request: a value as it stands, or one from a Secret."""

    example: ClassVar[str] = '{name: x-team, value: "search"}'

    name: HeaderName = Field(description="The header's name; compared without case.")
    value: HeaderValue | None = Field(
        default=None, description="The value itself. Exactly one of value and secretRef is set. Default: none."
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        alias="secretRef",
        description="Where the value is. Exactly one of value and secretRef is set. Default: none.",
    )


class ResponseHeader(Spec):
    """A header that is added to answers."""

    example: ClassVar[str] = '{name: x-region, value: "eu"}'

    name: HeaderName = Field(description="The header's name; compared without case.")
    value: HeaderValue = Field(description="Its value.")


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


class ActiveCheck(Spec):
    """A request of our own that asks whether the Provider is well."""

    example: ClassVar[str] = "{path: /health, period: 10s}"

    path: Annotated[
        str, Text("a path like /health, without query", r"^/[-._~!$&'()*+,;=:@%/0-9A-Za-z]*\Z", most=256)
    ] = Field(
        description="What is asked for by GET, from the root of baseURL's host: vLLM has /health there, and the models "
        "of an API are at /v1/models. The Provider's headers and key go along, as with every request."
    )
    period: Annotated[str, Within("1s", "24h")] | None = Field(
        default=None, description="The time between two checks of one sidecar, up to 20 % more. Default: 10s."
    )
    timeout: Annotated[str, Within("1ms", "1h")] | None = Field(
        default=None,
        description="Until the answer is complete, connecting included. Default: 2s, or period where that is shorter.",
    )
    statuses: Annotated[tuple[CheckStatus, ...], AnyList(), AtMost(16, least=1)] | None = Field(
        default=None, description='Statuses of an answer that is well, in quotes: "204", "2xx". Default: "2xx".'
    )


class Health(Spec):
    """When a target of this Provider is taken out of rotation, and how it comes back."""

    example: ClassVar[str] = "{failures: 5, window: 30s, cooldown: 5s}"

    failures: Annotated[int, Between(1, 10_000)] | None = Field(
        default=None,
        description="Failures in the window that start a cooldown. Three unreachable in a row always do. Default: 5.",
    )
    min_requests: Annotated[int, Between(1, 1_000_000)] | None = Field(
        default=None,
        alias="minRequests",
        description="Fewer requests than this in the window start no cooldown. Default: 10.",
    )
    window: Annotated[str, Within("1s", "24h")] | None = Field(
        default=None, description="How long a failure counts. Default: 30s."
    )
    cooldown: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        description="The first cooldown; it doubles with each failed probe. A longer Retry-After wins. "
        "Default: 5s, or maxCooldown where that is shorter.",
    )
    max_cooldown: Annotated[str, Within("1ms", "24h")] | None = Field(
        default=None,
        alias="maxCooldown",
        description="The longest cooldown by doubling. Default: 30s, or cooldown where that is longer.",
    )
    successes: Annotated[int, Between(1, 1_000)] | None = Field(
        default=None, description="Successful probes in a row that end the probing. Default: 2."
    )
    ramp_up: Annotated[str, Within("0s", "24h")] | None = Field(
        default=None,
        alias="rampUp",
        description="How long the target's share takes from 10 % to full after it came back; 0s is at once. "
        "Default: 10s.",
    )
    active: ActiveCheck | None = Field(
        default=None,
        description="Checks without a client: as many failed ones in a row as failures take the Provider's targets "
        "out, as many good ones in a row as successes bring them back. Not for APIs that bill by use. Default: none.",
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
