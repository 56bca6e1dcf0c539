"""Attempts of one request, of which two may run at once (B23): which is speaking, how they end, what they used."""

from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar.account import Account
from modelpool_sidecar.answering import Answering
from modelpool_sidecar.attempt import AttemptRun
from modelpool_sidecar.books import Books, Entry
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.onward import Journey
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.orders import Fault, Owner
from modelpool_sidecar.ports import Clock, Headers


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


class Legs:
    """Those of one request. `current`: who is speaking, or was the last; `beside`: the other one, where two run."""

    def __init__(
        self, clock: Clock, account: Account, books: Books, walk: Dispatch | Journey, answering: Answering
    ) -> None:
        self._clock, self._account, self._books = clock, account, books
        self._dispatch, self._answering = walk, answering
        self.current: Leg | None = None
        self.beside: Leg | None = None

    @property
    def run(self) -> AttemptRun | None:
        """The attempt that is speaking; None between two."""
        return self.current.run if self.current is not None else None

    def begin(self, step: Try, entry: Entry) -> Leg:
        """One more, and it is its turn to speak."""
        self.current = Leg(step, entry)
        return self.current

    def turn_to(self, leg: Leg) -> None:
        """What comes next is about this attempt."""
        if leg is self.beside:
            self.current, self.beside = leg, self.current
            self._books.turn_to(leg.entry)

    def outrun(self) -> None:
        """The attempt beside this one has lost: its provider stops working, and what it used counts (B15a)."""
        winner, loser = self.current, self.beside
        assert winner is not None, "one has won"
        assert loser is not None, "one has lost"
        assert loser.run is not None, "both ran"
        self.turn_to(loser)
        loser.run.cancel()
        self._books.attempt_over(Outcome.CANCELLED, loser.run.status, outrun=True)
        self.count(loser.run.partial())
        self._dispatch.outrun(self._clock.now())
        self.turn_to(winner)
        self.beside = None
        self._books.tell_of_places()

    def drop(self, outcome: Outcome) -> None:
        """Nobody waits for any of them: their providers stop working."""
        for leg in (self.beside, self.current):
            if leg is None or leg.run is None:
                continue
            self.turn_to(leg)
            leg.run.cancel()
            if self._books.running:
                self._account.answer = leg.run.partial()
                self._books.attempt_over(outcome, leg.run.status)
                self.count(self._account.answer)
        self.beside = None
        self._dispatch.abandon(self._clock.now())

    def count(self, answer: Answer | None, *, refused: bool = False) -> None:
        """What the attempt that is over used, as far as anybody can see."""
        seen = self.run.tokens_seen if self.run is not None else None
        self._books.count(answer, seen, self._answering.relayed, refused=refused)
