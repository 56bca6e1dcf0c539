"""What belongs to one admitted request: what it asks, holds and may use, and who leads it to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from modelpool_sidecar.account import Account
from modelpool_sidecar.answering import Answering
from modelpool_sidecar.books import Books
from modelpool_sidecar.core.dispatch import Dispatch
from modelpool_sidecar.core.onward import Journey
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.services import Services


@dataclass(slots=True, eq=False)
class Admitted:
    """`total`: the seconds that it has; `hurried`: because the client has no more. `lease`: room for what is held.

    `opens`: its stream may begin before anybody has an answer: what comes then is a stream, or no answer (B24).
    """

    services: Services
    request: Request
    pool: Pool
    account: Account
    keyring: Keyring
    walk: Dispatch | Journey
    answering: Answering
    books: Books
    lease: Lease
    total: float
    hurried: bool
    opens: bool


class Lead(Protocol):
    """Who leads the request, from its admission to its record."""

    def safely(self, step: Callable[[], None]) -> None:
        """Call it; a fault of ours ends the request."""

    def open(self) -> None:
        """The client gets the head of a stream, though nobody has an answer (B24)."""

    def end(self, refusal: Refusal) -> None:
        """The request ends here, refused or by an error event."""

    def crashed(self, error: Exception) -> None:
        """A fault of ours."""
