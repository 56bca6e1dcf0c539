"""Attempts of one request, of which two may run at once (B23): which one speaks, how each begins, ends and counts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from modelpool_sidecar.admitted import Admitted
from modelpool_sidecar.attempt import AttemptRun
from modelpool_sidecar.books import Entry
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.ordering import Ordering
from modelpool_sidecar.orders import Fault, Owner
from modelpool_sidecar.ports import Headers
from modelpool_sidecar.recovering import Recovering


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

    def __init__(self, admitted: Admitted) -> None:
        self._services, self._request, self._account = admitted.services, admitted.request, admitted.account
        self._books, self._dispatch, self._answering = admitted.books, admitted.walk, admitted.answering
        self._ordering = Ordering(admitted)
        self.current: Leg | None = None
        self.beside: Leg | None = None

    @property
    def run(self) -> AttemptRun | None:
        """The attempt that is speaking; None between two."""
        return self.current.run if self.current is not None else None

    def begin(self, step: Try, owner: Owner, recovering: Recovering | None, *, hedged: bool) -> float:
        """One more, and it is its turn to speak; when it began. `hedged`: another may be asked beside it."""
        services, provider = self._services, step.target.provider
        asked = self._ordering.body(step, recovering)
        url = openai.attempt_url(provider.base_url, self._request)
        entry, trace = self._books.attempt(step, url)
        leg = self.current = Leg(step, entry)
        propagated = trace.propagate() if provider.trace_context else ()
        order = self._ordering.order(step, url, asked, propagated, recovering)
        if hedged or self.beside is not None:
            owner = Turning(owner, partial(self.turn_to, leg))
        leg.run = AttemptRun(
            order, lambda: services.upstream.attempt(provider.name, provider.idle_timeout), owner, services.clock
        )
        leg.run.start()
        return entry.started

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
        said = loser.run.partial()
        self.count(said)
        self._account.lost.append((loser.step.target, said))
        self._dispatch.outrun(self._services.clock.now())
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
        self._dispatch.abandon(self._services.clock.now())

    def hear(self, headers: Headers) -> None:
        """What the answer says of the account's limits (B39)."""
        assert self.current is not None, "an attempt was running"
        clock = self._services.clock
        self._services.state.shaping.hear(self.current.step.target, headers, clock.now(), clock.wall())

    def count(self, answer: Answer | None, *, refused: bool = False) -> None:
        """What the attempt that is over used, as far as anybody can see."""
        seen = self.run.tokens_seen if self.run is not None else None
        self._books.count(answer, seen, self._answering.relayed, refused=refused)
