"""What an attempt is asked to do, what it reports, and to whom; and how a provider's answer is put into our words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelpool_sidecar.core.operations import CHAT, COMPLETIONS, RESPONSES, Operation
from modelpool_sidecar.core.outcome import Outcome, ProviderError
from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.core.snapshot import Timeouts
from modelpool_sidecar.core.verdict import missing_version
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.ports import Headers, UpstreamRequest


@dataclass(frozen=True, slots=True)
class UsageAsked:
    """We ask for a stream's usage (B32). `plain`: the body without it; `refused`: the provider does not take it."""

    plain: bytes
    refused: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is asked for. `deadline`: monotonic, of the whole walk. `requested_model`: set where B41 rewrites.

    `policy_is_fault`: a finish by the content filter goes on to another target, because the pool asks for it.
    `deadline_is_clients`: the client itself lowered the deadline, so missing it blames nobody. `choices`: how many the
    request asks for. `outcome`: what a status comes to for a request like this one. `whole`: a stream is held to its
    end too (B24); `opens`: its head may go out before its content. `lease`: room for what is held.
    """

    request: UpstreamRequest
    operation: Operation
    stream: bool
    timeouts: Timeouts
    deadline: float
    model_is_ours: bool
    policy_is_fault: bool
    requested_model: str | None
    deadline_is_clients: bool = False
    choices: int = 1
    whole: bool = False
    opens: bool = False
    usage: UsageAsked | None = None
    lease: Lease | None = None
    outcome: Callable[[int, Outcome], Outcome] = lambda _status, found: found


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a run failed before its commit. `detail` is ours; the rest is the provider's, `whole` if read to its end.

    `unsent`: no connection came about, so the provider has nothing of the request.
    """

    outcome: Outcome
    detail: str
    status: int | None = None
    headers: Headers = ()
    body: bytes = b""
    whole: bool = False
    blameless: bool = False
    unsent: bool = False


class Owner(Protocol):
    """Whom a run reports to."""

    def committed(self, status: int, headers: Headers, length: int | None, answer: Answer | None = None) -> None:
        """From here on this is the answer. `length`: of the whole body, None where it is not known; `answer`: what it
        tells, where it is whole already."""

    def head_is_due(self) -> None:
        """So much of a stream is held without content that the client gets a head of ours now (B24)."""

    def overloaded(self) -> None:
        """There is no room in memory for what would be held (B30)."""

    def body(self, data: bytes) -> None:
        """A part of the answer's body."""

    def answered(self, answer: Answer) -> None:
        """The answer is complete."""

    def failed(self, fault: Fault) -> None:
        """Nothing went out; the walk may go on."""

    def broken(self, outcome: Outcome, detail: str, answer: Answer | None, *, told: bool) -> None:
        """It failed after the commit (B25). `told`: the provider's own error event has already been passed on."""

    def crashed(self, error: Exception) -> None:
        """A fault of ours; the attempt is dropped, the request must still be answered and given back."""


def media_type(headers: Headers) -> str:
    """The type of an answer's body, without parameters; empty where none is said."""
    for name, value in headers:
        if name == "content-type":
            return value.split(";", 1)[0].strip().lower()
    return ""


def length(headers: Headers) -> int | None:
    """What Content-Length says."""
    for name, value in headers:
        if name == "content-length" and value.isdecimal():
            return int(value)
    return None


def mismatch(order: Order, *, stream: bool) -> str | None:
    """Why an answer is not of the kind that was asked for, and so none: SDKs read it as an empty success."""
    if order.stream == stream or order.operation not in (CHAT, COMPLETIONS, RESPONSES):
        return None
    return "a stream came where none was asked for" if stream else "no stream came where one was asked for"


def code(error: ProviderError) -> str:
    """The provider's code as a word of an API; anything longer or stranger is content and stays out (B44)."""
    word = error.code or error.type or ""
    return f" ({word})" if word and len(word) <= 64 and word.replace("_", "").replace("-", "").isalnum() else ""


def answered(status: int | None, error: ProviderError, order: Order) -> str:
    said = f"the provider answered {status}{code(error)}"
    if status not in (404, 405):
        return said
    base = order.request.url.split("?", 1)[0].removesuffix(order.operation.path)
    return f"{said} for {order.operation.path}{missing_version(base)}"
