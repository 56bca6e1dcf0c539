"""How the events of a stream are spread over time, and where a fault ends them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from modelpool_config.models import FakeStep
from modelpool_sidecar.fake.errors import to_bytes
from modelpool_sidecar.fake.raw import Part

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as bytes. `token`: a token of the answer; `last`: what only a complete answer ends with."""

    data: bytes
    kind: Literal["frame", "token", "last"] = "frame"


def data(value: object) -> bytes:
    """An event without a name."""
    return b"data: " + to_bytes(value) + b"\n\n"


def named(name: str, value: object) -> bytes:
    """An event with its name."""
    return b"event: " + name.encode() + b"\ndata: " + to_bytes(value) + b"\n\n"


def paced(events: Iterable[Event], step: FakeStep, stop_after: int | None) -> Iterator[Part]:
    """The events with the waits between them: `firstToken` before the first token, then `tokensPerSecond`.

    `stop_after`: so many tokens and no more, nor what ends a complete answer.
    """
    tokens = 0
    for event in events:
        if stop_after is not None and (event.kind == "last" or (event.kind == "token" and tokens >= stop_after)):
            return
        if event.kind == "token":
            wait = (
                first_token_seconds(step)
                if tokens == 0
                else 1 / step.tokens_per_second
                if step.tokens_per_second
                else 0.0
            )
            if wait:
                yield wait
            tokens += 1
        yield event.data


def first_token_seconds(step: FakeStep) -> float:
    """The wait before the first token; of an answer that is no stream: before its head."""
    return (step.first_token or 0) / 1000
