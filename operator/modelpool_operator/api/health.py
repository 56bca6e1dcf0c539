"""When a Provider's targets are taken out of rotation, how they come back, and what asks whether they are well."""

from typing import Annotated, ClassVar

from pydantic import Field

from modelpool_operator.api.types import AnyList, AtMost, Between, Spec, Text, Within

CheckStatus = Annotated[str, Text('a status in quotes like "200" or "2xx"', r"^[2345](xx|[0-9]x|[0-9][0-9])\Z", most=3)]


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
