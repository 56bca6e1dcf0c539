"""What a request gets that no exchange leads: an answer of our own, and its record."""

from modelpool_sidecar import account as accounts
from modelpool_sidecar.account import Account
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.ports import Downstream, Headers
from modelpool_sidecar.services import Services

_JSON: tuple[str, str] = ("content-type", "application/json")


class OwnAnswers:
    """Gives them. `arrived`: where the request waited for a place, since when."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def refuse(
        self,
        refusal: Refusal,
        downstream: Downstream,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        caller: str | None = None,
        arrived: float | None = None,
    ) -> None:
        """`caller` and `pool`: as far as they are known."""
        body = openai.refusal_body(refusal)
        self.answer(refusal.status, body, downstream, request, pool, refusal, caller, arrived)

    def answer(
        self,
        status: int,
        body: bytes,
        downstream: Downstream,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        refusal: Refusal | None,
        caller: str | None = None,
        arrived: float | None = None,
    ) -> None:
        """JSON of ours; the head names the pool, where one was found (B41)."""
        named: Headers = ()
        if pool is not None:
            named = (
                ("x-modelpool-pool", pool.name),
                ("x-modelpool-attempts", "0"),
                ("x-modelpool-config", pool.short_digest),
            )
        told = refusal.all_headers if refusal is not None else ()
        downstream.head(status, (_JSON, *told, *named, ("content-length", str(len(body)))))
        downstream.write(body)
        downstream.finish()
        self.record(status, request, pool, refusal, caller, arrived)

    def record(
        self,
        status: int | None,
        request: Request | None,
        pool: Pool | ClosedPool | None,
        refusal: Refusal | None,
        caller: str | None,
        arrived: float | None,
    ) -> None:
        """It is over. `status` is None where the client left; `arrived`: where it waited for a place, since when."""
        now = self._services.clock.now()
        code = refusal.code if refusal is not None else None
        account = Account(now, request, pool, status=status, refusal=code, caller=caller)
        if arrived is not None:
            account.started, account.queued = arrived, now - arrived
        if status is None:
            account.outcome = Outcome.CANCELLED
        accounts.close(account, self._services.telemetry, self._services.on_record, now)
