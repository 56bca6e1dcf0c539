"""An answer as it goes over the wire: the dialect makes it, a test may put its own there, a connection plays it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

Ending = Literal["clean", "cut", "reset", "stall"]
"""clean: as the framing promises; cut: closed (FIN) without the last chunk or the missing bytes; reset: closed by RST;
stall: nothing more, the connection stays until the client leaves."""

Framing = Literal["chunked", "length", "close", "none"]
"""chunked; length: content-length is the body's; close: the body ends with the connection; none: only the given
headers, the bytes as they are."""


class Gate(Protocol):
    """What an answer may wait for: an asyncio.Event, for one."""

    async def wait(self) -> object:
        """Come back when it is open."""


Part = bytes | float | Gate
"""A part of a body: bytes (one write, one chunk), seconds to wait before the next, or a gate to wait for."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One answer, exactly.

    `before`: seconds or a gate before the head. `headers` go out as they stand; the framing adds its own unless they
    already say so, and `content_length` overrides the true one (a lie). `head`: the bytes of the head, in place of
    status, headers and what the framing adds. `body` may be a generator: it is asked for a part when that one is due.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/event-stream; charset=utf-8"),)
    body: Iterable[Part] = ()
    ends: Ending = "clean"
    framing: Framing = "chunked"
    content_length: int | None = None
    before: float | Gate = 0.0
    reason: str | None = None
    head: bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.body, bytes | str):
            raise TypeError("the body of an answer is a list of its parts, not one string of bytes")
