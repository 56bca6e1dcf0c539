"""What becomes known of one request on its way, and the record that is made of it at its end."""

from dataclasses import dataclass, field
from decimal import Decimal

from modelpool_sidecar.core import cost
from modelpool_sidecar.core.dispatch import Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import AttemptRecord, Record
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Target
from modelpool_sidecar.core.usage import NO_USAGE
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.ports import Headers, RequestTrace, Telemetry

CLIENT_CLOSED_REQUEST = 499
"""The status that a record shows where the client left before one was sent; never on the wire."""

_UNMATCHED = "unmatched"


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
        """What the answer costs, as far as it is known (B14)."""
        if self.answer is None or self.target is None or not self.target.provider.prices:
            return None
        prices = self.target.provider.prices.get(self.model(self.target))
        return cost.of(self.answer.usage, prices) if prices is not None else None

    def attempt_over(
        self, step: Try, outcome: Outcome, status: int | None, started: float, now: float
    ) -> AttemptRecord:
        """One attempt is over."""
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
        )
        self.attempts.append(record)
        return record

    def record(self, now: float, trace_id: str | None) -> Record:
        """What is remembered of it: names and numbers, no content (B44)."""
        request, answer, target = self.request, self.answer, self.target
        operation = request.operation if request is not None else None
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
            response_id=answer.response_id if answer is not None else None,
            finish_reasons=answer.finish_reasons if answer is not None else (),
            usage=answer.usage if answer is not None else NO_USAGE,
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
        )
