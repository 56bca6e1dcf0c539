"""One request from its admission to its record: who leads it, what its client does meanwhile, and how it ends.

Who answers is found by `walking`, what the client gets is `answering`, what was taken and is given back is `books`.
Whatever happens - an answer, a refusal, a client that leaves at any point, a drain - `_settle` runs exactly once.
"""

import logging
from collections.abc import Callable
from functools import partial

from modelpool_sidecar import faults
from modelpool_sidecar.account import Account
from modelpool_sidecar.admitted import Admitted
from modelpool_sidecar.answering import Answering
from modelpool_sidecar.books import Books
from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.dispatch import Outlook
from modelpool_sidecar.core.limits import Permit
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.onward import Reach
from modelpool_sidecar.core.operations import CHAT, COMPLETIONS, RESPONSES
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.keyring import Keyring
from modelpool_sidecar.ports import Downstream
from modelpool_sidecar.services import Services
from modelpool_sidecar.silence import Silence
from modelpool_sidecar.walking import Walking
from modelpool_sidecar.walks import Walks

logger = logging.getLogger(__name__)

_OPEN = (CHAT, COMPLETIONS, RESPONSES)
"""Whose streams may begin before anybody has an answer: what comes then is a stream, or no answer (B24)."""


class Exchange:
    """One admitted request. A `walking.Lead`; the proxy keeps it alive until `on_over`."""

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
        self._clock, self._pool, self._downstream, self._on_over = services.clock, pool, downstream, on_over
        keyring = Keyring(services.credentials)
        account = self._account = Account(now if arrived is None else arrived, request, pool, caller=asker.caller)
        account.queued = None if arrived is None else now - arrived
        hurry = request.hurry(pool.total)
        total = pool.total if hurry is None else hurry
        walks = Walks(services, reach, request, asker, keyring, account.started + total)
        walk = self._dispatch = walks.first(pool, tiers)
        answering = self._answering = Answering(downstream, account, pool, permit, walk)
        books = self._books = Books(services, reach, request, pool, account, permit, walk)
        self._lease, self._opens = services.room.lease(), request.stream and request.operation in _OPEN
        self._silence = Silence(services.clock, pool.streaming, partial(self.safely, self.open), answering.comment)
        admitted = Admitted(
            services,
            request,
            pool,
            account,
            keyring,
            walk,
            answering,
            books,
            self._lease,
            total=total,
            hurried=hurry is not None,
            opens=self._opens,
        )
        self._walking = Walking(admitted, self._silence, self)

    def __repr__(self) -> str:
        return f"<Exchange {self._pool.name}: {self._walking}>"

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
        return self._dispatch.outlook(self._clock.now())

    def start(self) -> None:
        """Walk."""
        self.safely(self._start)

    def _start(self) -> None:
        self._downstream.on_gone = self._gone
        self._downstream.on_writable = self._writable
        self._downstream.on_delivered = self._settle
        self._downstream.on_drain_deadline = lambda: self.stop("the sidecar is shutting down")
        if self._opens:
            self._silence.hold(self._account.started)
        self._walking.advance()

    def safely(self, step: Callable[[], None]) -> None:
        """A call from outside."""
        try:
            step()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def open(self) -> None:
        """No content has come in time: the client gets the head, and signs of life (B24)."""
        if not self._answering.begun:
            self._answering.open()
            self._silence.begin()

    def stop(self, message: str) -> None:
        """The process ends before the request does (B51): a stream ends by B25, the rest is refused."""
        self.end(Refusal("draining", message, retry_after=1.0))

    def end(self, refusal: Refusal) -> None:
        """It goes no further: a refusal, or an error event where the head is out."""
        if self._answering.ended:
            return
        self._walking.drop(Outcome.CANCELLED)
        if self._answering.begun:
            self._account.refusal = refusal.code
            self._answering.fail(self._walking.error_event(refusal.code, refusal.message))
        else:
            self._answering.refuse(refusal)

    # -- ends

    def crashed(self, error: Exception) -> None:
        """A fault of ours: the client gets a sentence, the log the place, and everything is given back."""
        faults.log(logger, "a request ended by a fault of ours", error)
        message = "the sidecar failed; its log says how"
        try:
            self._walking.drop(Outcome.CANCELLED)
            if not self._answering.begun:
                self._answering.refuse(Refusal("internal_error", message, spent=True))
            elif not self._answering.ended:
                self._answering.fail(self._walking.error_event("internal_error", message))
        finally:
            if not self._answering.ended:
                self._settle()

    def _writable(self) -> None:
        self._answering.writable()
        self._walking.resume()

    def _gone(self) -> None:
        """The client left (B31): the provider stops working, nobody is blamed, everything is given back."""
        if self._books.over:
            return
        self._walking.drop(Outcome.CANCELLED)
        if not self._answering.ended:
            self._account.outcome = Outcome.CANCELLED
        self._settle()

    def _settle(self) -> None:
        self._silence.end()
        self._lease.release()
        if self._walking.recovering is not None and not self._books.over:
            self._account.recoveries = self._walking.recovering.ended()
        if self._books.settle():
            self._on_over(self)
            self._books.record()
