"""What the client of one request gets: a head, bytes, a refusal, a failed answer as it came, the end; and when."""

from modelpool_sidecar.account import Account
from modelpool_sidecar.core import cost, retryafter
from modelpool_sidecar.core.dispatch import Dispatch
from modelpool_sidecar.core.limits import Permit, tightest
from modelpool_sidecar.core.limits import headers as limit_headers
from modelpool_sidecar.core.onward import Journey
from modelpool_sidecar.core.operations import Operation
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.ports import Downstream, Headers

_NEVER_RELAYED = ("retry-after", "retry-after-ms")
_EVENTS: Headers = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
KEEP_ALIVE = b": keep-alive\n\n"
_BOM = b"\xef\xbb\xbf"
"""It may open a stream. After our own comments it would hide the field behind it, and so the first event."""


class Answering:
    """Towards the client. Who answers stands in the account, which limits were met in the walk and the permit."""

    def __init__(
        self, downstream: Downstream, account: Account, pool: Pool, permit: Permit, walk: Dispatch | Journey
    ) -> None:
        self._downstream, self._account, self._pool = downstream, account, pool
        self._permit, self._walk = permit, walk
        self.begun = False
        """The head is out."""
        self.early = False
        """It went out before anybody had an answer (B24)."""
        self.content = False
        """Something of the answer went out after it."""
        self.ended = False
        """Nothing more is said to the client."""
        self.relayed = 0
        """Bytes of the body that were passed on."""
        self._slow = False

    def head(self, status: int, headers: Headers, length: int | None, *, more: Headers = (), own: bool = False) -> None:
        """A provider's head with ours; `own`: there is no provider's. `length`: of the body, None if not known.

        Where a head is out already, a comment says who answers.
        """
        if self.early:
            said = (f": {name}: {value}\n" for name, value in self._who())
            self._downstream.write("".join((*said, "\n")).encode("ascii", "replace"))
            return
        self.begun, self._account.status = True, status
        target = self._account.target
        passed = headers if own or target is None else openai.answer_headers(headers, target.provider)
        framing = () if length is None else (("content-length", str(length)),)
        limits = limit_headers(tightest((*self._permit.told, *self._walk.told)))
        self._downstream.head(status, (*passed, *more, *limits, *self._told(), *framing))

    def open(self) -> None:
        """The head of a stream, before anybody has an answer: 200, and no word on who gives it (B24)."""
        self.begun, self.early, self._account.status = True, True, 200
        limits = limit_headers(tightest(self._permit.told))
        self._downstream.head(200, (*_EVENTS, *limits, *self._named()))

    def body(self, data: bytes) -> bool:
        """A part of the body. False: the client is slow (B30)."""
        if self.early and not self.content:
            data = data.removeprefix(_BOM)
        self.content = True
        self.relayed += len(data)
        self._slow = not self._downstream.write(data)
        return not self._slow

    def comment(self) -> None:
        """A sign of life (B33); a client that does not read has no use for it."""
        if not self._slow and not self.ended:
            self._downstream.write(KEEP_ALIVE)

    def writable(self) -> None:
        """The client has caught up."""
        self._slow = False

    def finish(self) -> None:
        """The answer is complete."""
        self.ended = True
        self._downstream.finish()

    def fail(self, event: bytes | None) -> None:
        """The answer is not complete, and no client may take it for that (B25)."""
        self.ended = True
        self._downstream.fail(event)

    def refuse(self, refusal: Refusal) -> None:
        """An answer of our own; an error event where the head is out."""
        self._account.refusal = refusal.code
        if self.begun:
            self.fail(openai.error_event(self._operation, refusal.code, refusal.message))
            return
        body = openai.refusal_body(refusal)
        head = (("content-type", "application/json"), *refusal.all_headers)
        self.head(refusal.status, head, len(body), own=True)
        self._downstream.write(body)
        self.finish()

    def relay_failure(self, failure: Failure) -> None:
        """A provider's failed answer, as it came, with our word on repeating it (B21, B42).

        Where the head is out, its words become an error event.
        """
        assert failure.status is not None, "only an answer is relayed"
        if self.begun:
            said = openai.read_error(failure.body)
            message = said.message or f"pool {self._pool.name}: {failure.detail}"
            self.fail(openai.error_event(self._operation, said.code or said.type or "upstream_error", message))
            return
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
        spent = self._account.cost()
        priced = (("x-modelpool-cost", cost.plain(spent)),) if spent is not None else ()
        return (*self._named(), *self._who(), *priced)

    def _named(self) -> Headers:
        named = (("x-modelpool-pool", self._pool.name), ("x-modelpool-config", self._pool.short_digest))
        cached = self._account.cache
        return named if cached is None else (*named, ("x-modelpool-cache", cached))

    def _who(self) -> Headers:
        place = self._account.place
        target = (("x-modelpool-target", place),) if place is not None else ()
        return (*target, ("x-modelpool-attempts", str(self._walk.attempts)))

    @property
    def _operation(self) -> Operation:
        assert self._account.request is not None, "it was admitted"
        return self._account.request.operation
