"""Where one attempt stands, and how it ends: what is held of it, whether it is committed, the one word to its owner.

Theory. The reading of the body (`failedbody`, `wholebody`, `streambody`) decides what an answer comes to; this says so.
Until the owner hears `committed` it may still hear `failed`, and the walk goes on elsewhere; afterwards it hears `body`
and exactly one of `answered` and `broken`. An attempt says nothing after that, and nothing after `cancel`.
"""

from collections.abc import Callable
from typing import Literal

from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.deadlines import Deadlines
from modelpool_sidecar.dialects.openai import Answer, StreamReader
from modelpool_sidecar.orders import Fault, Order, Owner
from modelpool_sidecar.ports import Attempt, Clock, Headers

MAX_WHOLE_BYTES = 8 * 1024 * 1024
"""A whole answer, and a stream that is held to its end, is held up to here, then committed and passed on (B24)."""
LINGER_SECONDS = 0.1
"""After the terminal event: this long for the end of the framing, so that the connection can be reused."""


class Course:
    """Of one attempt. `phase`: it runs; its owner has heard the end, and that of the framing is awaited; it is over."""

    def __init__(self, order: Order, transport: Attempt, owner: Owner, clock: Clock) -> None:
        self.order, self.transport, self.owner, self.clock = order, transport, owner, clock
        self.status: int | None = None
        self.headers: Headers = ()
        self.first_token: float | None = None
        self.last_token = 0.0
        """When something came last (monotonic)."""
        self.reader: StreamReader | None = None
        """What a stream has told so far; None where it is none."""
        self.held = bytearray()
        self.phase: Literal["runs", "linger", "over"] = "runs"
        self.committed = False
        self.paused = False
        self.deadlines = Deadlines(clock, self.safely)
        self._leased = 0

    def safely(self, step: Callable[[], None]) -> None:
        """A call from outside: a fault of ours ends this attempt, not the loop's patience; the owner hears of it."""
        try:
            step()
        except Exception as error:  # whatever it is: a client waits
            self.crashed(error)

    def crashed(self, error: Exception) -> None:
        """A fault of ours."""
        self.cancel()
        self.owner.crashed(error)

    def cancel(self) -> None:
        """Drop it: the provider's connection closes at once. The owner hears nothing more. Twice is fine."""
        if self.phase != "over":
            self.over()
            self.transport.cancel()

    def has_room(self, held: int) -> bool:
        """Whether what is held now has room in memory. If not, this was all (B30)."""
        if self.fits(held):
            return True
        self.owner.overloaded()
        return False

    def fits(self, held: int) -> bool:
        """Whether there is room for as much as is held now; takes it, or gives back what is not held any more."""
        lease, more = self.order.lease, held - self._leased
        if lease is None or more == 0:
            return True
        if more < 0:
            lease.give(-more)
        elif not lease.take(more):
            return False
        self._leased = held
        return True

    def goes_on(self, answer: Answer) -> bool:
        """The content filter ended it, and the pool asks to go on elsewhere then."""
        return answer.outcome is Outcome.CONTENT_POLICY and self.order.policy_is_fault

    def partial(self) -> Answer | None:
        """What a stream has told so far, for the account of an aborted one."""
        return self.reader.answer() if self.reader is not None else None

    # -- deadlines

    def late(self, detail: str, *, blameless: bool = False) -> None:
        """A deadline has passed."""
        if self.committed:
            self.broken(Outcome.TIMED_OUT, detail)
        else:
            self.failed(Fault(Outcome.TIMED_OUT, detail, self.status, blameless=blameless), close=True)

    def await_more(self) -> None:
        """From now on it may be silent for the idle timeout: armed once, moved on by what comes."""
        self.deadlines.phase(self.order.timeouts.idle, self._idle)

    def _idle(self) -> None:
        """The idle deadline, moved on by every event: armed once, looked at when it is due."""
        idle = self.order.timeouts.idle
        left = self.last_token + idle - self.clock.now()
        if self.paused:
            self.deadlines.phase(idle, self._idle)
        elif left > 0:
            self.deadlines.phase(left, self._idle)
        else:
            self.broken(Outcome.STALLED, f"nothing came for {idle:g} s")

    # -- the commit, and ends

    def commit(self, length: int | None, answer: Answer | None = None) -> None:
        """This is the answer, and what is held goes out; from there on the client's side has the room for it."""
        self.committed = True
        self.deadlines.clear_hard()
        assert self.status is not None, "only an answer is committed"
        self.owner.committed(self.status, self.headers, length, answer)
        self.fits(0)
        if self.held and self.phase != "over":
            held, self.held = bytes(self.held), bytearray()
            self.owner.body(held)

    def finish(self, answer: Answer, *, linger: bool = False) -> None:
        """The answer is complete."""
        if self.phase == "over":
            return
        self.over()
        if linger:
            self.phase = "linger"
            self.deadlines.phase(LINGER_SECONDS, self.cancel)
        self.owner.answered(answer)

    def failed(self, fault: Fault, *, close: bool = False) -> None:
        """Nothing of it went out. `close`: the provider is not done yet."""
        self.over()
        if close:
            self.transport.cancel()
        self.owner.failed(fault)

    def broken(self, outcome: Outcome, detail: str, *, told: bool = False) -> None:
        """It is not whole: a failed answer before the commit, a broken one afterwards."""
        if not self.committed:
            self.failed(Fault(outcome, detail, self.status), close=True)
            return
        self.over()
        self.transport.cancel()
        self.owner.broken(outcome, detail, self.partial(), told=told)

    def over(self) -> None:
        """Nothing is awaited or held any more."""
        self.phase = "over"
        self.fits(0)
        self.deadlines.clear()
