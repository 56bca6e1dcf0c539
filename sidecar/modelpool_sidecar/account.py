"""What becomes known of one request on its way, and the record that is made of it at its end."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from modelpool_sidecar.core import cost, usage
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import AttemptRecord, Record, Recovery
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Target
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.ports import Headers, RequestTrace, Telemetry

CLIENT_CLOSED_REQUEST = 499
"""The status that a record shows where the client left before one was sent; never on the wire."""

_UNMATCHED = "unmatched"
_NOTHING = Decimal(0)


@dataclass(slots=True)
class Account:
    """Filled in by whoever leads the request. `request` and `pool` are None where it did not come so far."""

    started: float
    request: Request | None = None
    pool: Pool | ClosedPool | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    target: Target | None = None
    answer: Answer | None = None
    status: int | None = None
    refusal: str | None = None
    outcome: Outcome | None = None
    first_token: float | None = None
    observed: tuple[str, ...] = ()
    caller: str | None = None
    queued: float | None = None
    cache: str | None = None
    """What the cache of its pool had for it: `hit`, `miss`, `bypass`, `shared`; None where it has none."""
    parts: list[tuple[Target, Answer]] = field(default_factory=list)
    """Answers that were gone on with, each with who gave it; `target` and `answer` are the last ones."""
    lost: list[tuple[Target, Answer | None]] = field(default_factory=list)
    """What those had said that another one outran (B23)."""
    recovery: str | None = None
    """How the attempt that runs goes on with a stream that broke, where it does."""
    recoveries: tuple[Recovery, ...] = ()
    place: str | None = None
    """The name of `target`, with its pool before it where that is not `pool`."""

    def trace(self, telemetry: Telemetry) -> RequestTrace:
        """Its telemetry begins."""
        request = self.request
        headers: Headers = request.headers if request is not None else ()
        operation = request.operation if request is not None else None
        return telemetry.request(
            operation.method if operation else "-",
            operation.route if operation else _UNMATCHED,
            operation.name if operation else _UNMATCHED,
            request.model if request is not None else None,
            request.stream if request is not None else False,
            headers,
            self.started,
        )

    def model(self, target: Target) -> str:
        """The model's name as it is sent there."""
        if target.model is not None:
            return target.model
        return (self.request.model if self.request is not None else None) or ""

    def cost(self) -> Decimal | None:
        """What the answer costs, as far as it is known (B14): every part of it, where several targets gave it.

        One that is given again costs nothing (B53). One that was outrun costs what it had told of until then (B23).
        """
        if self.cache in ("hit", "shared"):
            return _NOTHING
        known = self._known((*self.parts, (self.target, self.answer)))
        return sum((*known, *self._known(self.lost)), Decimal(0)) if known else None

    def _known(self, answers: Iterable[tuple[Target | None, Answer | None]]) -> list[Decimal]:
        costs = (self._cost(target, answer) for target, answer in answers)
        return [each for each in costs if each is not None]

    def _cost(self, target: Target | None, answer: Answer | None) -> Decimal | None:
        if answer is None or target is None or not target.provider.prices:
            return None
        prices = target.provider.prices.get(self.model(target))
        return cost.of(answer.usage, prices) if prices is not None else None

    def part_over(self) -> None:
        """The answer that runs broke, and another one goes on with it (B26)."""
        if self.answer is not None and self.target is not None:
            self.parts.append((self.target, self.answer))
        self.answer = None

    def attempt_over(
        self, step: Try, outcome: Outcome, status: int | None, started: float, now: float, *, outrun: bool = False
    ) -> AttemptRecord:
        """One attempt is over."""
        if not outrun:
            self.outcome = outcome
        record = AttemptRecord(
            number=step.number,
            target=step.name,
            provider=step.target.provider.name,
            model=self.model(step.target),
            outcome=outcome,
            status=status,
            started=started,
            ended=now,
            same_target=step.same_target,
            probe=step.probe,
            recovery=self.recovery,
            hedge=step.hedge,
            outrun=outrun,
        )
        self.attempts.append(record)
        return record

    def record(self, now: float, trace_id: str | None) -> Record:
        """What is remembered of it: names and numbers, no content (B44)."""
        request, answer, target = self.request, self.answer, self.target
        operation = request.operation if request is not None else None
        first = self.parts[0][1] if self.parts else answer  # whose id the client has
        return Record(
            method=operation.method if operation else "-",
            route=operation.route if operation else _UNMATCHED,
            operation=operation.name if operation else _UNMATCHED,
            stream=request.stream if request is not None else False,
            status=CLIENT_CLOSED_REQUEST if self.status is None else self.status,
            outcome=self.outcome,
            refusal=self.refusal,
            pool=self.pool.name if self.pool is not None else None,
            target=self.place,
            provider=target.provider.name if target is not None else None,
            requested_model=request.model if request is not None else None,
            sent_model=self.model(target) if target is not None else None,
            response_model=answer.model if answer is not None else None,
            response_id=first.response_id if first is not None else None,
            finish_reasons=answer.finish_reasons if answer is not None else (),
            usage=usage.total((*(part.usage for _, part in self.parts), answer.usage if answer else NO_USAGE)),
            attempts=tuple(self.attempts),
            started=self.started,
            duration=now - self.started,
            first_token=self.first_token,
            client_retry=request.client_retry if request is not None else 0,
            config=self.pool.short_digest if self.pool is not None else "",
            trace_id=trace_id,
            cost=self.cost(),
            observed=self.observed,
            caller=self.caller,
            queued=self.queued,
            cache=self.cache,
            recoveries=self.recoveries,
            dropped=sum(part.dropped for _, part in self.parts) + (answer.dropped if answer else 0),
        )


def close(account: Account, telemetry: Telemetry, on_record: Callable[[Record], None], now: float) -> None:
    """A request that no exchange led is over: its telemetry begins and ends, and who listens hears of it."""
    trace = account.trace(telemetry)
    record = account.record(now, trace.trace_id)
    trace.end(record)
    on_record(record)
