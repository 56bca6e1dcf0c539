"""What one request took, what its attempts used, and that everything is given back exactly once (B10, B11)."""

import logging
from dataclasses import dataclass

from modelpool_sidecar import faults
from modelpool_sidecar.account import Account
from modelpool_sidecar.core import needs
from modelpool_sidecar.core.allowance import NONE, Tokens
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.limits import Permit
from modelpool_sidecar.core.onward import Journey, Reach
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.ports import AttemptTrace, RequestTrace
from modelpool_sidecar.services import Services

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Entry:
    """One attempt. `trace` is None once it is over."""

    step: Try
    started: float
    trace: AttemptTrace | None


class Books:
    """Of one admitted request, from its permit to its record."""

    def __init__(
        self,
        services: Services,
        reach: Reach,
        request: Request,
        pool: Pool,
        account: Account,
        permit: Permit,
        walk: Dispatch | Journey,
    ) -> None:
        self._services, self._reach, self._request, self._pool = services, reach, request, pool
        self._account, self._permit, self._walk = account, permit, walk
        self._trace: RequestTrace = account.trace(services.telemetry)
        self._entry: Entry | None = None
        self.over = False
        """Everything was given back."""

    # -- attempts

    def attempt(self, step: Try, url: str) -> tuple[Entry, AttemptTrace]:
        """One begins: it is the one that answers, until another begins or is turned to."""
        started, provider = self._services.clock.now(), step.target.provider
        trace = self._trace.attempt(
            step.number, self._request.operation.method, url, provider.host, provider.port, started
        )
        self._entry = Entry(step, started, trace)
        self._account.target, self._account.place = step.target, step.name
        return self._entry, trace

    def turn_to(self, entry: Entry) -> None:
        """What is said next is about this attempt, of the two that run (B23)."""
        self._entry = entry
        self._account.target, self._account.place = entry.step.target, entry.step.name
        self._walk.turn_to(entry.step.target)

    @property
    def running(self) -> bool:
        """Whether the attempt is not over yet."""
        return self._entry is not None and self._entry.trace is not None

    def attempt_over(self, outcome: Outcome, status: int | None, *, outrun: bool = False) -> None:
        """The attempt is over."""
        entry, now = self._entry, self._services.clock.now()
        assert entry is not None, "an attempt was running"
        record = self._account.attempt_over(entry.step, outcome, status, entry.started, now, outrun=outrun)
        trace, entry.trace = entry.trace, None
        if trace is not None:
            trace.end(record)

    def count(self, answer: Answer | None, seen: int | None, relayed: int, *, refused: bool = False) -> None:
        """What the attempt that is over used: as the provider says, else as far as anybody can see (B10).

        `seen`: events with output, None where it was no stream; `relayed`: bytes of the body that the client got.
        `refused`: it was answered with an error, which costs nothing.
        """
        size, entry = self._walk.asker.size, self._entry
        if size is None or entry is None:
            return
        step = entry.step
        estimates, used = self._services.state.estimates, NONE
        usage = answer.usage if answer is not None else NO_USAGE
        if not refused:
            guessed = estimates.of_target(self._walk.pool, step.target, size).input
            seen = 0 if usage.input_tokens is not None else seen
            text = relayed if self._request.operation.answer == "model" else 0  # a picture's bytes are no tokens
            seen = text // needs.BYTES_PER_TOKEN if seen is None else seen
            used = Tokens(
                guessed if usage.input_tokens is None else usage.input_tokens,
                seen if usage.output_tokens is None else usage.output_tokens,
            )
        if self._account.recovery is None:  # else more was sent than the client did
            estimates.learn(self._walk.pool, step.target, size, usage)
        self._walk.settle(used, self._services.clock.now())

    # -- the end

    def settle(self) -> bool:
        """Give everything back. False where that was done before."""
        if self.over:
            return False
        self.over = True
        now = self._services.clock.now()
        self._walk.abandon(now)
        if self.nothing_sent:
            self._permit.refund(now)
        elif self._pool.counts_tokens:
            self._permit.settle(self._walk.used, now)
        self._permit.release()
        if isinstance(self._walk, Journey):
            self._walk.leave(now)
        self.tell_of_places()
        return True

    def tell_of_places(self) -> None:
        """Somebody may wait for a place in a pool that was left, or for that of an attempt that is over."""
        for pool, since in self._walk.freed():
            self._reach.freed(pool, since)
        self._reach.vacated()

    @property
    def nothing_sent(self) -> bool:
        """Whether no provider has anything of the request, so that it used nothing (B10)."""
        failures = self._walk.failures
        return len(failures) == len(self._account.attempts) and all(failure.unsent for failure in failures)

    def record(self) -> None:
        """Tell of the request that is over."""
        try:
            self._account.observed = (*self._permit.observed, *self._walk.observed)
            record = self._account.record(self._services.clock.now(), self._trace.trace_id)
            self._trace.end(record)
            self._services.on_record(record)
        except Exception as error:  # who listens to records must not undo the answer
            faults.log(logger, "a request could not be recorded", error)
