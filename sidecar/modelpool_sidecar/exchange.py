"""One request from its admission to its record: drives the walk and its attempts, from the commit to the end.

The way of a request, one method each: `_advance` (choose, attempt) -> `failed` (classify, and back) or `committed`
(commit) -> `body` (relay) -> `answered` | `broken` -> `_settle`. What the client gets is `answering`, what was taken
and is given back is `books`. Whatever happens - an answer, a refusal, a client that leaves at any point, a drain -
`_settle` runs exactly once.
"""

import logging
from collections.abc import Callable
from functools import partial

from modelpool_sidecar import failing, faults
from modelpool_sidecar.account import Account
from modelpool_sidecar.answering import Answering
from modelpool_sidecar.attempt import AttemptRun
from modelpool_sidecar.books import Books
from modelpool_sidecar.core import recovery
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.dispatch import Outlook, Sleep, Stop, Try
from modelpool_sidecar.core.limits import Permit
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.onward import Reach
from modelpool_sidecar.core.operations import CHAT, COMPLETIONS, RESPONSES
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.legs import Legs, Turning
from modelpool_sidecar.ordering import Ordering
from modelpool_sidecar.orders import Fault, Owner
from modelpool_sidecar.ports import Downstream, Headers, Timer
from modelpool_sidecar.recovering import Recovering
from modelpool_sidecar.services import Services
from modelpool_sidecar.silence import Silence
from modelpool_sidecar.walks import Walks

logger = logging.getLogger(__name__)

_OPEN = (CHAT, COMPLETIONS, RESPONSES)
"""Whose streams may begin before anybody has an answer: what comes then is a stream, or no answer (B24)."""


class Exchange:
    """One admitted request. An `attempt.Owner`; the proxy keeps it alive until `on_over`."""

    def __init__(
        self,
        services: Services,
        reach: Reach,
        request: Request,
        pool: Pool,
        tiers: Tiers | Refusal,
        asker: Asker,
        permit: Permit,
        downstream: Downstream,
        on_over: Callable[["Exchange"], None],
        arrived: float | None = None,
    ) -> None:
        """`arrived`: when it came, where it had to wait for its permit; that counts against the deadline (B15)."""
        now = services.clock.now()
        self._services, self._request, self._pool = services, request, pool
        self._downstream, self._on_over = downstream, on_over
        self._keyring = Keyring(services.credentials)
        self._account = Account(now if arrived is None else arrived, request, pool, caller=asker.caller)
        self._account.queued = None if arrived is None else now - arrived
        hurry = request.hurry(pool.total)
        self._total = pool.total if hurry is None else hurry
        walks = Walks(services, reach, request, asker, self._keyring, self._account.started + self._total)
        self._dispatch = walks.first(pool, tiers)
        self._answering = Answering(downstream, self._account, pool, permit, self._dispatch)
        self._books = Books(services, reach, request, pool, self._account, permit, self._dispatch)
        self._lease = services.room.lease()
        self._legs = Legs(services.clock, self._account, self._books, self._dispatch, self._answering)
        self._timer: Timer | None = None
        self._recovering: Recovering | None = None
        self._opens = request.stream and request.operation in _OPEN
        self._ordering = Ordering(
            services,
            request,
            pool,
            self._account,
            self._dispatch,
            self._keyring,
            self._lease,
            opens=self._opens,
            hurried=hurry is not None,
        )
        self._silence = Silence(
            services.clock, pool.streaming, partial(self._safely, self._open), self._answering.comment
        )

    def __repr__(self) -> str:
        return f"<Exchange {self._pool.name}: attempt {self._dispatch.attempts}, {self._run or 'between attempts'}>"

    @property
    def _run(self) -> AttemptRun | None:
        return self._legs.run

    @property
    def account(self) -> Account:
        """What is known of it."""
        return self._account

    @property
    def pool(self) -> Pool:
        """The pool that was asked."""
        return self._pool

    @property
    def at_home(self) -> bool:
        """Whether that pool answers, and no other one in its place (B20)."""
        return self._dispatch.pool is self._pool

    @property
    def nothing_sent(self) -> bool:
        """Whether no provider has anything of it (B10)."""
        return self._books.nothing_sent

    @property
    def deadline(self) -> float:
        """The moment (monotonic) at which it is given up (B15)."""
        return self._dispatch.deadline

    def outlook(self) -> Outlook:
        """What the walk finds now, target by target."""
        return self._dispatch.outlook(self._services.clock.now())

    def start(self) -> None:
        """Walk."""
        self._safely(self._start)

    def _start(self) -> None:
        self._downstream.on_gone = self._gone
        self._downstream.on_writable = self._writable
        self._downstream.on_delivered = self._settle
        self._downstream.on_drain_deadline = lambda: self.stop("the sidecar is shutting down")
        if self._opens:
            self._silence.hold(self._account.started)
        self._advance()

    def _safely(self, step: Callable[[], None]) -> None:
        """A call from outside."""
        try:
            step()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def _open(self) -> None:
        """No content has come in time: the client gets the head, and signs of life (B24)."""
        if not self._answering.begun:
            self._answering.open()
            self._silence.begin()

    def stop(self, message: str) -> None:
        """The process ends before the request does (B51): a stream ends by B25, the rest is refused."""
        self._end(Refusal("draining", message, retry_after=1.0))

    def _end(self, refusal: Refusal) -> None:
        if self._answering.ended:
            return
        self._drop_attempt(Outcome.CANCELLED)
        if self._answering.begun:
            self._account.refusal = refusal.code
            self._answering.fail(self._error_event(refusal.code, refusal.message))
        else:
            self._answering.refuse(refusal)

    # -- the walk

    def _advance(self) -> None:
        self._timer = None
        step = self._dispatch.next(self._services.clock.now())
        self._books.tell_of_places()
        match step:
            case Try():
                self._attempt(step)
            case Sleep():
                delay = max(0.0, step.until - self._services.clock.now())
                self._timer = self._services.clock.call_later(delay, partial(self._safely, self._advance))
            case Stop(answer=Refusal() as refusal):
                self._answering.refuse(refusal)
            case Stop(answer=Failure() as failure):
                self._lease.release()  # what waits for the client has its room there
                self._answering.relay_failure(failure)

    def _attempt(self, step: Try) -> None:
        services, provider, recovering = self._services, step.target.provider, self._recovering
        asked = self._ordering.body(step, recovering)
        url = openai.attempt_url(provider.base_url, self._request)
        entry, trace = self._books.attempt(step, url)
        leg = self._legs.begin(step, entry)
        propagated = trace.propagate() if provider.trace_context else ()
        order = self._ordering.order(step, url, asked, propagated, recovering)
        at = self._dispatch.hedge_at() if recovering is None else None
        owner: Owner = self
        if at is not None or self._legs.beside is not None:
            owner = Turning(self, partial(self._legs.turn_to, leg))
        leg.run = AttemptRun(
            order, lambda: services.upstream.attempt(provider.name, provider.idle_timeout), owner, services.clock
        )
        leg.run.start()
        if at is not None:
            self._timer = services.clock.call_later(at - entry.started, self._hedge)

    # -- two at once (B23)

    def _hedge(self) -> None:
        """The running attempt takes long: another target is asked beside it, if it may be."""
        self._timer = None
        try:
            step = self._dispatch.hedge(self._services.clock.now())
            if step is not None:
                self._legs.beside = self._legs.current
                self._attempt(step)
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- attempt.Owner

    def failed(self, fault: Fault) -> None:
        """Nothing went out: on to the next step."""
        leg = self._legs.current
        assert leg is not None, "an attempt was running"
        failure = failing.failure(leg.step, fault, self._keyring, self._services.clock.wall())
        self._lease.hold(len(failure.body))  # it lies in memory until the walk is over
        self._books.attempt_over(fault.outcome, fault.status)
        if not fault.unsent:
            self._legs.count(None, refused=fault.status is not None and fault.status >= 300)
        leg.run = None
        self._hear(fault.headers)
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
            self._advance()
        elif self._recovering.failed(self._dispatch, failure):
            self._go_on()
        else:
            self._give_up()

    def committed(self, status: int, headers: Headers, length: int | None, answer: Answer | None = None) -> None:
        """This attempt's answer is the answer."""
        self._stop_timer()
        if self._legs.beside is not None:
            self._legs.outrun()
        self._account.answer = answer
        now = self._services.clock.now()
        begun = self._run.first_token if self._run is not None else None
        self._dispatch.commit(now, begun)
        self._hear(headers)
        if self._recovering is not None:  # the head is out, and what comes now is held against what was sent
            return
        if self._dispatch.pool.recovery and recovery.concerns(self._request):
            self._recovering = self._recoverable()
        if self._request.stream:
            self._account.first_token = (now if begun is None else begun) - self._account.started
        self._answering.head(status, headers, length)
        if self._run is not None and self._run.tokens_seen is not None:
            self._silence.begin()

    def head_is_due(self) -> None:
        """So much is held without content that the head is not worth to be held."""
        self._open()

    def overloaded(self) -> None:
        """No room is left for what this answer would have held: nobody is to blame, and others need theirs (B30)."""
        message = "too much of requests and answers is held in memory at once; try again"
        self._end(Refusal("overloaded", message, retry_after=1.0))

    def _hear(self, headers: Headers) -> None:
        """What the answer says of the account's limits (B39)."""
        assert self._legs.current is not None, "an attempt was running"
        clock = self._services.clock
        self._services.state.shaping.hear(self._legs.current.step.target, headers, clock.now(), clock.wall())

    def body(self, data: bytes) -> None:
        """Relay; a slow client slows the provider (B30)."""
        if self._recovering is not None:
            data = self._recovering.pass_on(data, self._services.clock.now())
            if self._recovering.differs is not None:
                self._useless(self._recovering.differs)
            if not data:
                return
        self._silence.heard()
        if not self._answering.body(data) and self._run is not None:
            self._run.pause()

    def answered(self, answer: Answer) -> None:
        """Complete."""
        if self._recovering is not None and (rest := self._recovering.close()):
            self._answering.body(rest)
        if self._recovering is not None and self._recovering.unfinished:
            self.broken(Outcome.BROKEN, "the answer that went on with it was not whole", answer, told=False)
            return
        self._account.answer = answer
        self._books.attempt_over(Outcome.OK, self._account.status)
        self._legs.count(answer)
        self._dispatch.complete(Outcome.OK, self._services.clock.now())
        self._books.tell_of_places()
        self._answering.finish()

    def broken(self, outcome: Outcome, detail: str, answer: Answer | None, *, told: bool) -> None:
        """Failed after the commit: the client must not take it for success (B25)."""
        self._account.answer = answer
        self._books.attempt_over(outcome, self._account.status)
        self._legs.count(answer)
        self._dispatch.complete(outcome, self._services.clock.now())
        self._books.tell_of_places()
        if self._recovering is not None:
            self._recovering.broke(outcome, detail, self._services.clock.now())
            self._go_on()
        else:
            self._fail(outcome, detail, told=told)

    def _fail(self, outcome: Outcome, detail: str, *, told: bool = False, event: bytes = b"") -> None:
        """`told`: the client has the provider's own error event, `event`: it gets it now; else it gets one of ours."""
        code = "upstream_timeout" if outcome in (Outcome.STALLED, Outcome.TIMED_OUT) else "upstream_error"
        own = None if told else self._error_event(code, f"pool {self._pool.name}: {detail}")
        self._answering.fail(event or own)

    # -- another target goes on with a stream that broke (B26)

    def _recoverable(self) -> Recovering:
        assert self._legs.current is not None, "an attempt was running"
        ways, lease = self._dispatch.pool.recovery, self._services.room.lease()
        return Recovering(self._request, ways, self._legs.current.step.target, self._total, self._account.model, lease)

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
        self._account.part_over()
        self._account.recovery = recovering.mode
        self._attempt(step)

    def _give_up(self) -> None:
        assert self._recovering is not None, "there was something to go on from"
        outcome, detail, event = self._recovering.fault()
        self._account.outcome = outcome
        self._fail(outcome, detail, event=event)

    def _useless(self, why: str) -> None:
        """What the attempt brings is not the rest. We are inside of its own call, so what follows comes after it."""
        assert self._run is not None, "an attempt goes on with it"
        assert self._recovering is not None, "there was something to go on from"
        if self._recovering.refuse(why):
            self._run.cancel()
            self._timer = self._services.clock.call_later(0, partial(self._safely, self._elsewhere))

    def _elsewhere(self) -> None:
        self._drop_attempt(Outcome.CANCELLED)
        assert self._recovering is not None, "an attempt went on with it"
        self._recovering.over("Differs")
        self._go_on()

    # -- ends

    def crashed(self, error: Exception) -> None:
        """A fault of ours: the client gets a sentence, the log the place, and everything is given back."""
        faults.log(logger, "a request ended by a fault of ours", error)
        message = "the sidecar failed; its log says how"
        try:
            self._drop_attempt(Outcome.CANCELLED)
            if not self._answering.begun:
                self._answering.refuse(Refusal("internal_error", message, spent=True))
            elif not self._answering.ended:
                self._answering.fail(self._error_event("internal_error", message))
        finally:
            if not self._answering.ended:
                self._settle()

    def _error_event(self, code: str, message: str) -> bytes | None:
        early = self._answering.early and not self._answering.content
        if early or self._recovering is not None:  # whoever answers, or nobody does
            return openai.error_event(self._request.operation, code, message)
        return self._run.error_event(code, message) if self._run is not None else None

    def _writable(self) -> None:
        self._answering.writable()
        if self._run is not None:
            self._run.resume()

    def _gone(self) -> None:
        """The client left (B31): the provider stops working, nobody is blamed, everything is given back."""
        if self._books.over:
            return
        self._drop_attempt(Outcome.CANCELLED)
        if not self._answering.ended:
            self._account.outcome = Outcome.CANCELLED
        self._settle()

    def _drop_attempt(self, outcome: Outcome) -> None:
        self._stop_timer()
        self._legs.drop(outcome)

    def _settle(self) -> None:
        self._silence.end()
        self._lease.release()
        if self._recovering is not None and not self._books.over:
            self._account.recoveries = self._recovering.ended()
        if self._books.settle():
            self._on_over(self)
            self._books.record()
