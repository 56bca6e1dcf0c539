"""What a fake provider saw: one entry for each request, with monotonic times."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

MAX_ATTEMPTS = 10_000
MAX_BODY_BYTES = 64 * 1024 * 1024

Ended = Literal["Open", "Answered", "Refuse", "Reset", "Hang", "Cut", "Stall", "ClientLeft", "Malformed", "Stopped"]
"""Open: not over; Answered: complete, whatever its status; a fault: the provider did that; ClientLeft: the client was
gone before the answer was complete; Malformed: what came was not HTTP; Stopped: the provider was stopped."""


@dataclass(slots=True, eq=False)
class FakeAttempt:
    """One request as the provider saw it. The connection that serves it fills it in; times are the loop's seconds.

    `started`: its head was read (Refuse: the connection was accepted). `read`: its body was read. `head_sent`: the
    head of the answer was written. `ended`: nothing more happens. `client_left`: when the client was seen to leave
    before the end of the answer, None if it stayed. `body` is empty once it was forgotten, `body_bytes` tells its size.
    """

    number: int
    connection: int
    started: float
    method: str = ""
    target: str = ""
    path: str = ""
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    body_bytes: int = 0
    model: str | None = None
    stream: bool = False
    status: int | None = None
    sent_bytes: int = 0
    outcome: Ended = "Open"
    read: float | None = None
    head_sent: float | None = None
    ended: float | None = None
    client_left: float | None = None

    def header(self, name: str) -> str | None:
        """The first value of this header."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def __repr__(self) -> str:
        asked = f"{self.method} {self.target}".strip() or "no request"
        return (
            f"<FakeAttempt {self.number}: {asked}, model {self.model}, {self.outcome} {self.status or ''}".rstrip()
            + ">"
        )


class Log:
    """The last attempts, and the bodies of the last of these: bounded in number and in bytes."""

    __slots__ = ("_held", "_holding", "_max_attempts", "_max_body_bytes", "_next", "attempts")

    def __init__(self, max_attempts: int = MAX_ATTEMPTS, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.attempts: list[FakeAttempt] = []
        self._max_attempts, self._max_body_bytes = max_attempts, max_body_bytes
        self._next = 1
        self._holding: deque[FakeAttempt] = deque()
        self._held = 0  # bytes of the bodies in _holding

    def start(self, connection: int, now: float) -> FakeAttempt:
        """A new entry, at the end."""
        attempt = FakeAttempt(self._next, connection, now)
        self._next += 1
        self.attempts.append(attempt)
        del self.attempts[: -self._max_attempts]
        return attempt

    def keep_body(self, attempt: FakeAttempt, body: bytes) -> None:
        """Keep this body, and forget the oldest ones that there is no more room for."""
        attempt.body, attempt.body_bytes = body, len(body)
        self._holding.append(attempt)
        self._held += len(body)
        while self._held > self._max_body_bytes or len(self._holding) > self._max_attempts:
            oldest = self._holding.popleft()
            self._held -= len(oldest.body)
            oldest.body = b""
