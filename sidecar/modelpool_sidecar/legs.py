"""Attempts of one request, of which two may run at once (B23): what belongs to each, and which one is speaking."""

from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar.attempt import AttemptRun
from modelpool_sidecar.books import Entry
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.orders import Fault, Owner
from modelpool_sidecar.ports import Headers


@dataclass(slots=True, eq=False)
class Leg:
    """One attempt. `run` is None once it failed."""

    step: Try
    entry: Entry
    run: AttemptRun | None = None


class Turning:
    """An `attempt.Owner` of one of two attempts: its exchange turns to that attempt, and hears the report."""

    __slots__ = ("_owner", "_turn")

    def __init__(self, owner: Owner, turn: Callable[[], None]) -> None:
        self._owner, self._turn = owner, turn

    def committed(self, status: int, headers: Headers, length: int | None, answer: Answer | None = None) -> None:
        """From here on this is the answer, and no other attempt is left."""
        self._turn()
        self._owner.committed(status, headers, length, answer)

    def head_is_due(self) -> None:
        """The client gets a head, whoever answers."""
        self._owner.head_is_due()

    def overloaded(self) -> None:
        """There is no room for what would be held."""
        self._turn()
        self._owner.overloaded()

    def body(self, data: bytes) -> None:
        """A part of the answer's body."""
        self._owner.body(data)

    def answered(self, answer: Answer) -> None:
        """The answer is complete."""
        self._owner.answered(answer)

    def failed(self, fault: Fault) -> None:
        """Nothing of this attempt went out."""
        self._turn()
        self._owner.failed(fault)

    def broken(self, outcome: Outcome, detail: str, answer: Answer | None, *, told: bool) -> None:
        """It failed after the commit."""
        self._owner.broken(outcome, detail, answer, told=told)

    def crashed(self, error: Exception) -> None:
        """A fault of ours."""
        self._turn()
        self._owner.crashed(error)
