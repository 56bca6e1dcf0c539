"""Who answers a request: its walk from one attempt to the next, what they report, and what of it the client gets.

The way of it, one method each: `advance` (choose, attempt) -> `failed` (classify, and back) or `committed` (commit) ->
`body` (relay) -> `answered` | `broken`. A stream that broke may be gone on with by another target (B26).
"""

from functools import partial

from modelpool_sidecar import failing
from modelpool_sidecar.admitted import Admitted, Lead
from modelpool_sidecar.core import recovery
from modelpool_sidecar.core.dispatch import Sleep, Stop, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.legs import Legs
from modelpool_sidecar.orders import Fault
from modelpool_sidecar.ports import Headers, Timer
from modelpool_sidecar.recovering import Recovering
from modelpool_sidecar.silence import Silence


class Walking:
    """Of one admitted request. An `attempt.Owner`."""

    def __init__(self, admitted: Admitted, silence: Silence, lead: Lead) -> None:
        self._of, self._silence, self._lead = admitted, silence, lead
        self._services, self._dispatch = admitted.services, admitted.walk
        self._books, self._answering = admitted.books, admitted.answering
        self._legs = Legs(admitted)
        self._timer: Timer | None = None
        self._recovering: Recovering | None = None

    def __repr__(self) -> str:
        return f"attempt {self._dispatch.attempts}, {self._legs.run or 'between attempts'}"

    @property
    def recovering(self) -> Recovering | None:
        """What is known of a stream that may be gone on with."""
        return self._recovering

    # -- the walk

    def advance(self) -> None:
        """The next step: an attempt, a wait, or the end of the walk."""
        self._timer = None
        step = self._dispatch.next(self._services.clock.now())
        self._books.tell_of_places()
        match step:
            case Try():
                self._attempt(step)
            case Sleep():
                delay = max(0.0, step.until - self._services.clock.now())
                self._timer = self._services.clock.call_later(delay, partial(self._lead.safely, self.advance))
            case Stop(answer=Refusal() as refusal):
                self._answering.refuse(refusal)
            case Stop(answer=Failure() as failure):
                self._of.lease.release()  # what waits for the client has its room there
                self._answering.relay_failure(failure)

    def _attempt(self, step: Try) -> None:
        at = self._dispatch.hedge_at() if self._recovering is None else None
        started = self._legs.begin(step, self, self._recovering, hedged=at is not None)
        if at is not None:
            self._timer = self._services.clock.call_later(at - started, self._hedge)

    def _hedge(self) -> None:
        """The running attempt takes long: another target is asked beside it, if it may be."""
        self._timer = None
        try:
            step = self._dispatch.hedge(self._services.clock.now())
            if step is not None:
                self._legs.beside = self._legs.current
                self._attempt(step)
        except Exception as error:  # whatever it is: a client waits
            self._lead.crashed(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """The client has caught up."""
        if self._legs.run is not None:
            self._legs.run.resume()

    def drop(self, outcome: Outcome) -> None:
        """Whatever runs or is arranged: it ends without a word."""
        self._stop_timer()
        self._legs.drop(outcome)

    # -- attempt.Owner

    def failed(self, fault: Fault) -> None:
        """Nothing went out: on to the next step."""
        leg = self._legs.current
        assert leg is not None, "an attempt was running"
        failure = failing.failure(leg.step, fault, self._of.keyring, self._services.clock.wall())
        self._of.lease.hold(len(failure.body))  # it lies in memory until the walk is over
        self._books.attempt_over(fault.outcome, fault.status)
        if not fault.unsent:
            self._legs.count(None, refused=fault.status is not None and fault.status >= 300)
        leg.run = None
        self._legs.hear(fault.headers)
        self._dispatch.observe(failure, self._services.clock.now())
        self._stop_timer()
        if self._legs.beside is not None and self._dispatch.awaits:
            self._legs.turn_to(self._legs.beside)
            self._legs.beside = None
            self._books.tell_of_places()
            return
        if self._legs.beside is not None:
            self._legs.outrun()
        if self._recovering is None:
            self.advance()
        elif self._recovering.failed(self._dispatch, failure):
            self._go_on()
        else:
            self._give_up()

    def committed(self, status: int, headers: Headers, length: int | None, answer: Answer | None = None) -> None:
        """This attempt's answer is the answer."""
        self._stop_timer()
        if self._legs.beside is not None:
            self._legs.outrun()
        self._of.account.answer = answer
        now = self._services.clock.now()
        begun = self._legs.run.first_token if self._legs.run is not None else None
        self._dispatch.commit(now, begun)
        self._legs.hear(headers)
        if self._recovering is not None:  # the head is out, and what comes now is held against what was sent
            return
        if self._dispatch.pool.recovery and recovery.concerns(self._of.request):
            self._recovering = self._recoverable()
        if self._of.request.stream:
            self._of.account.first_token = (now if begun is None else begun) - self._of.account.started
        self._answering.head(status, headers, length)
        if self._legs.run is not None and self._legs.run.tokens_seen is not None:
            self._silence.begin()

    def head_is_due(self) -> None:
        """So much is held without content that the head is not worth to be held."""
        self._lead.open()

    def overloaded(self) -> None:
        """No room is left for what this answer would have held: nobody is to blame, and others need theirs (B30)."""
        message = "too much of requests and answers is held in memory at once; try again"
        self._lead.end(Refusal("overloaded", message, retry_after=1.0))

    def body(self, data: bytes) -> None:
        """Relay; a slow client slows the provider (B30)."""
        if self._recovering is not None:
            data = self._recovering.pass_on(data, self._services.clock.now())
            if self._recovering.differs is not None:
                self._useless(self._recovering.differs)
            if not data:
                return
        self._silence.heard()
        if not self._answering.body(data) and self._legs.run is not None:
            self._legs.run.pause()

    def answered(self, answer: Answer) -> None:
        """Complete."""
        if self._recovering is not None and (rest := self._recovering.close()):
            self._answering.body(rest)
        if self._recovering is not None and self._recovering.unfinished:
            self.broken(Outcome.BROKEN, "the answer that went on with it was not whole", answer, told=False)
            return
        self._of.account.answer = answer
        self._books.attempt_over(Outcome.OK, self._of.account.status)
        self._legs.count(answer)
        self._dispatch.complete(Outcome.OK, self._services.clock.now())
        self._books.tell_of_places()
        self._answering.finish()

    def broken(self, outcome: Outcome, detail: str, answer: Answer | None, *, told: bool) -> None:
        """Failed after the commit: the client must not take it for success (B25)."""
        self._of.account.answer = answer
        self._books.attempt_over(outcome, self._of.account.status)
        self._legs.count(answer)
        self._dispatch.complete(outcome, self._services.clock.now())
        self._books.tell_of_places()
        if self._recovering is not None:
            self._recovering.broke(outcome, detail, self._services.clock.now())
            self._go_on()
        else:
            self._fail(outcome, detail, told=told)

    def crashed(self, error: Exception) -> None:
        """A fault of ours."""
        self._lead.crashed(error)

    def _fail(self, outcome: Outcome, detail: str, *, told: bool = False, event: bytes = b"") -> None:
        """`told`: the client has the provider's own error event, `event`: it gets it now; else it gets one of ours."""
        code = "upstream_timeout" if outcome in (Outcome.STALLED, Outcome.TIMED_OUT) else "upstream_error"
        own = None if told else self.error_event(code, f"pool {self._of.pool.name}: {detail}")
        self._answering.fail(event or own)

    def error_event(self, code: str, message: str) -> bytes | None:
        """A fault in the terms of the stream that goes out; None where none does."""
        early = self._answering.early and not self._answering.content
        if early or self._recovering is not None:  # whoever answers, or nobody does
            return openai.error_event(self._of.request.operation, code, message)
        return self._legs.run.error_event(code, message) if self._legs.run is not None else None

    # -- another target goes on with a stream that broke (B26)

    def _recoverable(self) -> Recovering:
        assert self._legs.current is not None, "an attempt was running"
        ways, lease = self._dispatch.pool.recovery, self._services.room.lease()
        return Recovering(
            self._of.request, ways, self._legs.current.step.target, self._of.total, self._of.account.model, lease
        )

    def _go_on(self) -> None:
        """The next target for the rest of the answer; the fault, where there is none."""
        recovering, leg = self._recovering, self._legs.current
        assert recovering is not None, "there is something to go on from"
        assert leg is not None, "an attempt was running"
        leg.run = None
        step = recovering.next(self._dispatch, self._services.clock.now())
        if step is None:
            self._give_up()
            return
        self._of.account.part_over()
        self._of.account.recovery = recovering.mode
        self._attempt(step)

    def _give_up(self) -> None:
        assert self._recovering is not None, "there was something to go on from"
        outcome, detail, event = self._recovering.fault()
        self._of.account.outcome = outcome
        self._fail(outcome, detail, event=event)

    def _useless(self, why: str) -> None:
        """What the attempt brings is not the rest. We are inside of its own call, so what follows comes after it."""
        assert self._legs.run is not None, "an attempt goes on with it"
        assert self._recovering is not None, "there was something to go on from"
        if self._recovering.refuse(why):
            self._legs.run.cancel()
            self._timer = self._services.clock.call_later(0, partial(self._lead.safely, self._elsewhere))

    def _elsewhere(self) -> None:
        self.drop(Outcome.CANCELLED)
        assert self._recovering is not None, "an attempt went on with it"
        self._recovering.over("Differs")
        self._go_on()
