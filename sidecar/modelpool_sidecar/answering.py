"""What the client of one request gets: a head, bytes, a refusal, a failed answer as it came, the end; and when."""

from modelpool_sidecar.account import Account
from modelpool_sidecar.core import cost, retryafter
from modelpool_sidecar.core.dispatch import Dispatch
from modelpool_sidecar.core.limits import Permit, tightest
from modelpool_sidecar.core.limits import headers as limit_headers
from modelpool_sidecar.core.onward import Journey
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.ports import Downstream, Headers

_NEVER_RELAYED = ("retry-after", "retry-after-ms")


class Answering:
    """Towards the client. Who answers stands in the account, which limits were met in the walk and the permit."""

    def __init__(
        self, downstream: Downstream, account: Account, pool: Pool, permit: Permit, walk: Dispatch | Journey
    ) -> None:
        self._downstream, self._account, self._pool = downstream, account, pool
        self._permit, self._walk = permit, walk
        self.begun = False
        """The head is out."""
        self.ended = False
        """Nothing more is said to the client."""
        self.relayed = 0
        """Bytes of the body that were passed on."""

    def head(self, status: int, headers: Headers, length: int | None, *, more: Headers = (), own: bool = False) -> None:
        """A provider's head with ours; `own`: there is no provider's. `length`: of the body, None if not known."""
        self.begun, self._account.status = True, status
        target = self._account.target
        passed = headers if own or target is None else openai.answer_headers(headers, target.provider)
        framing = () if length is None else (("content-length", str(length)),)
        limits = limit_headers(tightest((*self._permit.told, *self._walk.told)))
        self._downstream.head(status, (*passed, *more, *limits, *self._told(), *framing))

    def body(self, data: bytes) -> bool:
        """A part of the body. False: the client is slow (B30)."""
        self.relayed += len(data)
        return self._downstream.write(data)

    def finish(self) -> None:
        """The answer is complete."""
        self.ended = True
        self._downstream.finish()

    def fail(self, event: bytes | None) -> None:
        """The answer is not complete, and no client may take it for that (B25)."""
        self.ended = True
        self._downstream.fail(event)

    def refuse(self, refusal: Refusal) -> None:
        """An answer of our own."""
        self._account.refusal = refusal.code
        body = openai.refusal_body(refusal)
        head = (("content-type", "application/json"), *refusal.all_headers)
        self.head(refusal.status, head, len(body), own=True)
        self._downstream.write(body)
        self.finish()

    def relay_failure(self, failure: Failure) -> None:
        """A provider's failed answer, as it came, with our word on repeating it (B21, B42)."""
        assert failure.status is not None, "only an answer is relayed"
        more: list[tuple[str, str]] = []
        if failure.retry_after is not None:
            more.append(("retry-after", retryafter.sent(failure.retry_after)))
        if failure.outcome is not Outcome.REJECTED:
            more.append(("x-should-retry", "false"))
        headers = tuple(pair for pair in failure.headers if pair[0] not in _NEVER_RELAYED)
        self.head(failure.status, headers, len(failure.body), more=tuple(more))
        self._downstream.write(failure.body)
        self.finish()

    def _told(self) -> Headers:
        """The headers that say who answered (B41)."""
        place, spent = self._account.place, self._account.cost()
        return (
            ("x-modelpool-pool", self._pool.name),
            *((("x-modelpool-target", place),) if place is not None else ()),
            ("x-modelpool-attempts", str(self._walk.attempts)),
            ("x-modelpool-config", self._pool.short_digest),
            *((("x-modelpool-cost", cost.plain(spent)),) if spent is not None else ()),
        )
