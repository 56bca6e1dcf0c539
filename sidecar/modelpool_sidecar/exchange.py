"""One request from its admission to its record: drives the walk, relays the answer, gives back what was taken.

The way of a request, one method each: `_advance` (choose, attempt) -> `failed` (classify, and back) or `committed`
(commit) -> `body` (relay) -> `answered` | `broken` -> `_settle` -> `_record`. Whatever happens - an answer, a refusal,
a client that leaves at any point, a drain - `_settle` runs exactly once.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from modelpool_sidecar import faults
from modelpool_sidecar.account import Account
from modelpool_sidecar.attempt import AttemptRun
from modelpool_sidecar.core import affinity, cost, estimate, needs, onward, recovery, retryafter, stateful
from modelpool_sidecar.core import request as parsing
from modelpool_sidecar.core.allowance import NONE, Asker, Tokens
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.dispatch import Dispatch, Outlook, Sleep, Stop, Try
from modelpool_sidecar.core.limits import Permit, tightest
from modelpool_sidecar.core.limits import headers as limit_headers
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.onward import Journey, Reach
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.orders import Fault, Order
from modelpool_sidecar.ports import (
    AttemptTrace,
    Clock,
    Credentials,
    Downstream,
    Headers,
    RequestTrace,
    Telemetry,
    Timer,
    Upstream,
    UpstreamRequest,
)
from modelpool_sidecar.recovering import Recovering

logger = logging.getLogger(__name__)

_NEVER_RELAYED = ("retry-after", "retry-after-ms")


@dataclass(frozen=True, slots=True)
class Services:
    """What every exchange works with. `rng` returns [0, 1). `on_record` hears of every request once."""

    upstream: Upstream
    credentials: Credentials
    clock: Clock
    rng: Callable[[], float]
    state: State
    telemetry: Telemetry
    on_record: Callable[[Record], None]
    callers: Register = field(default_factory=Register)


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
        self._permit, self._downstream, self._on_over = permit, downstream, on_over
        self._keyring = Keyring(services.credentials)
        self._account = Account(now if arrived is None else arrived, request, pool, caller=asker.caller)
        self._account.queued = None if arrived is None else now - arrived
        self._hurried = request.read_timeout is not None and request.read_timeout < pool.total
        total = request.read_timeout if self._hurried and request.read_timeout is not None else pool.total
        self._reach, self._asker, self._deadline = reach, asker, self._account.started + total
        refused = tiers if isinstance(tiers, Refusal) else None
        first = self._walk(pool, () if isinstance(tiers, Refusal) else tiers, asker)
        self._dispatch: Dispatch | Journey = first
        if pool.fallback.pools and onward.is_free(pool, request):
            self._dispatch = Journey(first, reach.snapshot.pools, self._enter, refused)
        self._trace: RequestTrace = self._account.trace(services.telemetry)
        self._try: Try | None = None
        self._try_started = 0.0
        self._try_trace: AttemptTrace | None = None
        self._run: AttemptRun | None = None
        self._timer: Timer | None = None
        self._recovering: Recovering | None = None
        self._relaying = False
        self._relayed = 0
        self._ended = False
        self._over = False

    def __repr__(self) -> str:
        return f"<Exchange {self._pool.name}: attempt {self._dispatch.attempts}, {self._run or 'between attempts'}>"

    def _walk(self, pool: Pool, tiers: Tiers, asker: Asker, earlier: int = 0) -> Dispatch:
        services, request = self._services, self._request
        return Dispatch(
            pool=pool,
            state=services.state,
            operation=request.operation.name,
            deadline=self._deadline,
            rng=services.rng,
            missing=self._keyring.missing,
            repeated=request.client_retry > 0,
            tiers=tiers,
            stream=request.stream,
            key=affinity.of(pool.strategy, request, asker.caller) if pool.strategy.by is not None else None,
            model=request.model or "",
            asker=asker,
            once=request.ties.creates,
            earlier=earlier,
        )

    def _enter(self, pool: Pool, earlier: int) -> Dispatch | None:
        """A walk over a pool that the request falls back to; None where it may not, or no target there takes it."""
        asker = self._reach.asker(pool, self._asker)
        if asker is not None and pool.counts_tokens:
            size = asker.size or estimate.size(self._request)
            asker = replace(asker, size=size, tokens=self._services.state.estimates.of_pool(pool, size))
        tiers = onward.candidates(pool, self._request) if asker is not None else ()
        if asker is None or isinstance(tiers, Refusal):
            return None
        walk = self._walk(pool, tiers, asker, earlier)
        walk.last_resort, walk.prefix = False, f"{pool.name}/"
        return walk

    @property
    def deadline(self) -> float:
        """The moment (monotonic) at which it is given up (B15)."""
        return self._dispatch.deadline

    def outlook(self) -> Outlook:
        """What the walk finds now, target by target."""
        return self._dispatch.outlook(self._services.clock.now())

    def start(self) -> None:
        """Walk."""
        try:
            self._start()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def _start(self) -> None:
        self._downstream.on_gone = self._gone
        self._downstream.on_writable = self._writable
        self._downstream.on_delivered = self._settle
        self._downstream.on_drain_deadline = lambda: self.stop("the sidecar is shutting down")
        self._advance()

    def stop(self, message: str) -> None:
        """The process ends before the request does (B51): a stream ends by B25, the rest is refused."""
        if self._ended:
            return
        self._drop_attempt(Outcome.CANCELLED)
        if self._relaying:
            self._ended = True
            self._downstream.fail(self._error_event("draining", message))
        else:
            self._refuse(Refusal("draining", message, retry_after=1.0))

    # -- the walk

    def _advance(self) -> None:
        self._timer = None
        step = self._dispatch.next(self._services.clock.now())
        self._tell_of_places()
        match step:
            case Try():
                self._attempt(step)
            case Sleep():
                delay = max(0.0, step.until - self._services.clock.now())
                self._timer = self._services.clock.call_later(delay, self._wake)
            case Stop(answer=Refusal() as refusal):
                self._refuse(refusal)
            case Stop(answer=Failure() as failure):
                self._relay_failure(failure)

    def _wake(self) -> None:
        """A sleep is over."""
        try:
            self._advance()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def _attempt(self, step: Try) -> None:
        services, request, provider = self._services, self._request, step.target.provider
        self._try, self._try_started = step, services.clock.now()
        self._account.target, self._account.place = step.target, step.name
        recovering = self._recovering
        body = openai.attempt_body(request, self._account.model(step.target), step.target.parameters)
        body = body if recovering is None else recovering.body
        url = openai.attempt_url(provider.base_url, request)
        self._try_trace = self._trace.attempt(
            step.number, request.operation.method, url, provider.host, provider.port, self._try_started
        )
        propagated = self._try_trace.propagate() if provider.trace_context else ()
        order = Order(
            request=UpstreamRequest(
                method=request.operation.method,
                url=url,
                headers=openai.attempt_headers(request, provider, self._keyring.key, propagated),
                body=body,
                connect_timeout=provider.timeouts.connect,
            ),
            operation=request.operation,
            stream=request.stream,
            timeouts=provider.timeouts,
            deadline=self._dispatch.deadline if recovering is None else recovering.until,
            model_is_ours=step.target.model is not None,
            policy_is_fault=self._dispatch.policy_is_fault,
            requested_model=request.model if self._pool.rewrite_model else None,
            deadline_is_clients=self._hurried,
            outcome=partial(stateful.outcome, request),
            choices=parsing.choices(body) if self._counts_anew(step) else request.choices,
        )
        self._run = AttemptRun(
            order, lambda: services.upstream.attempt(provider.name, provider.idle_timeout), self, services.clock
        )
        self._run.start()

    def _counts_anew(self, step: Try) -> bool:
        """Whether the target's parameters may have changed how many answers are asked for."""
        return step.target.changes_choices and self._request.form is None and not self._request.operation.state

    # -- attempt.Owner

    def failed(self, fault: Fault) -> None:
        """Nothing went out: on to the next step."""
        step = self._try
        assert step is not None, "an attempt was running"
        provider = step.target.provider
        failure = Failure(
            target=step.name,
            provider=provider.name,
            outcome=fault.outcome,
            detail=fault.detail,
            status=fault.status,
            headers=fault.headers,
            body=fault.body,
            whole=fault.whole,
            retry_after=retryafter.parse(fault.headers, self._services.clock.wall(), openai.retry_delay(fault.body)),
            other_credential=self._keyring.has_other(provider.auth, fault.status),
            credential=provider.auth.source if provider.auth else "",
            blameless=fault.blameless,
            unsent=fault.unsent,
        )
        self._attempt_over(fault.outcome, fault.status)
        if not fault.unsent:
            self._count(None, refused=fault.status is not None and fault.status >= 300)
        self._run = None
        self._hear(fault.headers)
        self._dispatch.observe(failure, self._services.clock.now())
        if self._recovering is None:
            self._advance()
        elif self._recovering.failed(self._dispatch, failure):
            self._go_on()
        else:
            self._give_up()

    def committed(self, status: int, headers: Headers, length: int | None, answer: Answer | None = None) -> None:
        """This attempt's answer is the answer."""
        self._account.answer = answer
        now = self._services.clock.now()
        self._dispatch.commit(now)
        self._hear(headers)
        if self._recovering is not None:  # the head is out, and what comes now is held against what was sent
            return
        if self._dispatch.pool.recovery and recovery.concerns(self._request):
            self._recovering = self._recoverable()
        if self._request.stream:
            self._account.first_token = now - self._account.started
        self._send_head(status, headers, length)

    def _hear(self, headers: Headers) -> None:
        """What the answer says of the account's limits (B39)."""
        assert self._try is not None, "an attempt was running"
        clock = self._services.clock
        self._services.state.shaping.hear(self._try.target, headers, clock.now(), clock.wall())

    def body(self, data: bytes) -> None:
        """Relay; a slow client slows the provider (B30)."""
        if self._recovering is not None:
            data = self._recovering.pass_on(data, self._services.clock.now())
            if self._recovering.differs is not None:
                self._useless(self._recovering.differs)
            if not data:
                return
        self._relayed += len(data)
        if not self._downstream.write(data) and self._run is not None:
            self._run.pause()

    def answered(self, answer: Answer) -> None:
        """Complete."""
        if self._recovering is not None and (rest := self._recovering.close()):
            self._downstream.write(rest)
        if self._recovering is not None and self._recovering.unfinished:
            self.broken(Outcome.BROKEN, "the answer that went on with it was not whole", answer, told=False)
            return
        self._account.answer = answer
        self._attempt_over(Outcome.OK, self._account.status)
        self._count(answer)
        self._dispatch.complete(Outcome.OK, self._services.clock.now())
        self._ended = True
        self._downstream.finish()

    def broken(self, outcome: Outcome, detail: str, answer: Answer | None, *, told: bool) -> None:
        """Failed after the commit: the client must not take it for success (B25)."""
        self._account.answer = answer
        self._attempt_over(outcome, self._account.status)
        self._count(answer)
        self._dispatch.complete(outcome, self._services.clock.now())
        if self._recovering is not None:
            self._recovering.broke(outcome, detail, self._services.clock.now())
            self._go_on()
        else:
            self._fail(outcome, detail, told=told)

    def _fail(self, outcome: Outcome, detail: str, *, told: bool = False, event: bytes = b"") -> None:
        """`told`: the client has the provider's own error event, `event`: it gets it now; else it gets one of ours."""
        self._ended = True
        code = "upstream_timeout" if outcome in (Outcome.STALLED, Outcome.TIMED_OUT) else "upstream_error"
        own = None if told else self._error_event(code, f"pool {self._pool.name}: {detail}")
        self._downstream.fail(event or own)

    # -- another target goes on with a stream that broke (B26)

    def _recoverable(self) -> Recovering:
        assert self._try is not None, "an attempt was running"
        total = self._pool.total if not self._hurried else self._request.read_timeout or self._pool.total
        return Recovering(self._request, self._dispatch.pool.recovery, self._try.target, total, self._account.model)

    def _go_on(self) -> None:
        """The next target for the rest of the answer; the fault, where there is none."""
        recovering = self._recovering
        assert recovering is not None, "there is something to go on from"
        self._run = None
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
            self._timer = self._services.clock.call_later(0, self._elsewhere)

    def _elsewhere(self) -> None:
        try:
            self._drop_attempt(Outcome.CANCELLED)
            assert self._recovering is not None, "an attempt went on with it"
            self._recovering.over("Differs")
            self._go_on()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def crashed(self, error: Exception) -> None:
        """A fault of ours: the client gets a sentence, the log the place, and everything is given back."""
        faults.log(logger, "a request ended by a fault of ours", error)
        message = "the sidecar failed; its log says how"
        try:
            self._drop_attempt(Outcome.CANCELLED)
            if self._account.status is None:
                self._refuse(Refusal("internal_error", message, spent=True))
            elif not self._ended:
                self._ended = True
                self._downstream.fail(self._error_event("internal_error", message))
        finally:
            if not self._ended:
                self._settle()

    # -- towards the client

    def _refuse(self, refusal: Refusal) -> None:
        self._account.refusal = refusal.code
        body = openai.refusal_body(refusal)
        self._send_head(
            refusal.status, (("content-type", "application/json"), *refusal.all_headers), len(body), own=True
        )
        self._downstream.write(body)
        self._ended = True
        self._downstream.finish()

    def _relay_failure(self, failure: Failure) -> None:
        """A provider's failed answer, as it came, with our word on repeating it (B21, B42)."""
        assert failure.status is not None, "only an answer is relayed"
        more: list[tuple[str, str]] = []
        if failure.retry_after is not None:
            more.append(("retry-after", retryafter.sent(failure.retry_after)))
        if failure.outcome is not Outcome.REJECTED:
            more.append(("x-should-retry", "false"))
        headers = tuple(pair for pair in failure.headers if pair[0] not in _NEVER_RELAYED)
        self._send_head(failure.status, headers, len(failure.body), more=tuple(more))
        self._downstream.write(failure.body)
        self._ended = True
        self._downstream.finish()

    def _send_head(
        self, status: int, headers: Headers, length: int | None, *, more: Headers = (), own: bool = False
    ) -> None:
        self._relaying, self._account.status = True, status
        provider = self._try.target.provider if self._try is not None else None
        passed = headers if own or provider is None else openai.answer_headers(headers, provider)
        framing = () if length is None else (("content-length", str(length)),)
        limits = limit_headers(tightest((*self._permit.told, *self._dispatch.told)))
        self._downstream.head(status, (*passed, *more, *limits, *self._told(), *framing))

    def _told(self) -> Headers:
        """The headers that say who answered (B41)."""
        target = (("x-modelpool-target", self._try.name),) if self._try is not None else ()
        spent = self._account.cost()
        priced = () if spent is None else (("x-modelpool-cost", cost.plain(spent)),)
        return (
            ("x-modelpool-pool", self._pool.name),
            *target,
            ("x-modelpool-attempts", str(self._dispatch.attempts)),
            ("x-modelpool-config", self._pool.short_digest),
            *priced,
        )

    def _error_event(self, code: str, message: str) -> bytes | None:
        if self._recovering is not None:  # of chat or text completions, whoever answers
            return openai.error_event(self._request.operation, code, message)
        return self._run.error_event(code, message) if self._run is not None else None

    def _writable(self) -> None:
        if self._run is not None:
            self._run.resume()

    def _gone(self) -> None:
        """The client left (B31): the provider stops working, nobody is blamed, everything is given back."""
        if self._over:
            return
        self._drop_attempt(Outcome.CANCELLED)
        if not self._ended:
            self._account.outcome = Outcome.CANCELLED
        self._settle()

    def _drop_attempt(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._run is None:
            return
        self._run.cancel()
        if self._try_trace is not None:
            self._account.answer = self._run.partial()
            self._attempt_over(outcome, self._run.status)
            self._count(self._account.answer)
        self._dispatch.abandon(self._services.clock.now())

    # -- settle, record

    def _attempt_over(self, outcome: Outcome, status: int | None) -> None:
        step, trace, self._try_trace = self._try, self._try_trace, None
        assert step is not None, "an attempt was running"
        now = self._services.clock.now()
        record = self._account.attempt_over(step, outcome, status, self._try_started, now)
        if trace is not None:
            trace.end(record)

    def _count(self, answer: Answer | None, *, refused: bool = False) -> None:
        """What the attempt that is over used: as the provider says, else as far as anybody can see (B10).

        `refused`: it was answered with an error, which costs nothing.
        """
        size, step, run = self._dispatch.asker.size, self._try, self._run
        if size is None or step is None or run is None:
            return
        estimates, used = self._services.state.estimates, NONE
        usage = answer.usage if answer is not None else NO_USAGE
        if not refused:
            guessed = estimates.of_target(self._dispatch.pool, step.target, size).input
            seen = 0 if usage.input_tokens is not None else run.tokens_seen
            text = self._relayed if self._request.operation.answer == "model" else 0  # a picture's bytes are no tokens
            seen = text // needs.BYTES_PER_TOKEN if seen is None else seen
            used = Tokens(
                guessed if usage.input_tokens is None else usage.input_tokens,
                seen if usage.output_tokens is None else usage.output_tokens,
            )
        if self._recovering is None or self._recovering.mode is None:  # else more was sent than the client did
            estimates.learn(self._dispatch.pool, step.target, size, usage)
        self._dispatch.settle(used, self._services.clock.now())

    def _settle(self) -> None:
        if self._over:
            return
        self._over = True
        if self._recovering is not None:
            self._account.recoveries = self._recovering.ended()
        self._dispatch.abandon(self._services.clock.now())
        if self._nothing_sent:
            self._permit.refund(self._services.clock.now())
        elif self._pool.counts_tokens:
            self._permit.settle(self._dispatch.used, self._services.clock.now())
        self._permit.release()
        if isinstance(self._dispatch, Journey):
            self._dispatch.leave(self._services.clock.now())
        self._tell_of_places()
        self._on_over(self)
        try:
            self._record()
        except Exception as error:  # who listens to records must not undo the answer
            faults.log(logger, "a request could not be recorded", error)

    def _tell_of_places(self) -> None:
        """Somebody may wait for a place in a pool that was left."""
        for pool, since in self._dispatch.freed() if isinstance(self._dispatch, Journey) else ():
            self._reach.freed(pool, since)

    @property
    def _nothing_sent(self) -> bool:
        """Whether no provider has anything of the request, so that it used nothing (B10)."""
        failures = self._dispatch.failures
        return len(failures) == len(self._account.attempts) and all(failure.unsent for failure in failures)

    def _record(self) -> None:
        self._account.observed = (*self._permit.observed, *self._dispatch.observed)
        record = self._account.record(self._services.clock.now(), self._trace.trace_id)
        self._trace.end(record)
        self._services.on_record(record)
