"""One call to the providers and all who wait for its answer: what its exchange takes for the client (B53).

Theory. An exchange, or the queue before it, speaks to a `Call` as to any client; the call keeps what it hears and hands
it on to everybody who joined, each as fast as its connection takes it. While the answer is recorded it is held here
anyway, so that nobody is slowed by another, and who joins late hears it from its beginning. When it grows beyond what
may be recorded, nobody joins any more, what all have heard is dropped, and the slowest client sets the pace (B30). A
client that leaves ends nothing while another one waits; with the last one the call is cancelled at once (B31).
"""

import logging
from collections.abc import Callable
from typing import Literal, Protocol

from modelpool_sidecar import faults
from modelpool_sidecar.account import Account
from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.core.snapshot import Pool
from modelpool_sidecar.listeners import Listener
from modelpool_sidecar.ports import Headers

logger = logging.getLogger(__name__)

Result = Literal["hit", "miss", "bypass", "shared"]
"""What `x-modelpool-cache` says."""

SPARE_BYTES = 32 * 1024 * 1024
"""So much room is left to what must be held, as bodies of requests: an answer goes out unrecorded, too (B30)."""


class Source(Protocol):
    """The exchange that leads a call."""

    @property
    def account(self) -> Account: ...
    @property
    def at_home(self) -> bool:
        """Whether the pool that was asked answers, and no other one in its place."""
        ...

    @property
    def pool(self) -> Pool: ...
    @property
    def nothing_sent(self) -> bool: ...


class Call:
    """A `ports.Downstream` for an exchange; `recording`: up to so many bytes are recorded, 0 = nothing is.

    `closed` hears once that nobody may join any more; `complete` that the whole answer is recorded, before that.
    """

    def __init__(
        self,
        result: Result,
        recording: int,
        lease: Lease,
        closed: Callable[[], None],
        complete: Callable[["Call", bytes], None],
    ) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.on_drain_deadline: Callable[[], None] | None = None
        self.result = result
        self.status: int | None = None
        self.headers: Headers = ()
        self.source: Source | None = None
        self._most, self._lease = recording, lease
        self._closed, self._complete = closed, complete
        self._listeners: list[Listener] = []
        self._pieces: list[bytes] = []
        self._dropped = 0  # pieces that everybody has
        self._recording = recording > 0
        self._open = True
        self._ended = False

    def __repr__(self) -> str:
        stance = "over" if self._ended else "running" if self._open else "closed"
        return f"<Call {stance}: {len(self._listeners)} clients, {self._lease.taken_bytes} bytes>"

    @property
    def listeners(self) -> int:
        """How many wait for it."""
        return len(self._listeners)

    def lead(self, source: Source) -> None:
        """This exchange leads it from now on."""
        self.source = source
        source.account.cache = self.result

    def join(self, listener: Listener) -> None:
        """One more waits for the answer, and hears it from its beginning."""
        downstream = listener.downstream
        self._listeners.append(listener)
        downstream.on_gone = lambda: self._left(listener)
        downstream.on_delivered = lambda: self._over(listener, left=False)
        downstream.on_writable = lambda: self._writable(listener)
        downstream.on_drain_deadline = lambda: self._drain(listener)
        if self.status is not None:
            downstream.head(self.status, listener.headers(self.headers))
            self._feed(listener)

    # -- ports.Downstream

    def head(self, status: int, headers: Headers) -> None:
        """To everybody; an answer that is none of the kind that is kept gets nobody more."""
        self.status, self.headers = status, headers
        if status != 200:
            self._close()
        for listener in self._listeners:
            listener.downstream.head(status, listener.headers(headers))

    def write(self, data: bytes) -> bool:
        """To everybody. False: it is not recorded, and somebody's connection is full."""
        self._pieces.append(data)
        self._record(data)
        for listener in self._listeners:
            self._feed(listener)
        self._drop()
        return self._recording or not self._is_full

    def finish(self) -> None:
        """The answer is whole: it is kept before anybody else can ask."""
        self._ended = True
        if self._recording:
            try:
                self._complete(self, b"".join(self._pieces))
            except Exception as error:  # whatever it is: the answer is there, and clients wait for it
                faults.log(logger, "an answer could not be kept", error)
        self._close()
        for listener in tuple(self._listeners):
            self._finish(listener)

    def fail(self, event: bytes | None) -> None:
        """The answer is broken, for everybody (B25); what came of it goes out before that is said."""
        self._ended = True
        self._close()
        for listener in tuple(self._listeners):
            for piece in self._pieces[listener.at - self._dropped :]:
                listener.downstream.write(piece)
            listener.ended = True
            listener.downstream.fail(event)

    # -- what is recorded

    def _record(self, data: bytes) -> None:
        if not self._recording:
            return
        lease, size = self._lease, len(data)
        if lease.taken_bytes + size > self._most or not lease.fits(size + SPARE_BYTES) or not lease.take(size):
            self._close()

    def _close(self) -> None:
        """Nothing is recorded any more, and nobody may join."""
        self._recording = False
        if self._open:
            self._open = False
            self._closed()
        self._drop()

    def _drop(self) -> None:
        """What everybody has is not held any longer, unless it is recorded."""
        if self._recording:
            return
        heard = min((listener.at for listener in self._listeners), default=self._dropped + len(self._pieces))
        del self._pieces[: heard - self._dropped]
        self._dropped = heard
        if not self._pieces:
            self._lease.release()

    # -- those who listen

    @property
    def _is_full(self) -> bool:
        return any(listener.full for listener in self._listeners)

    def _feed(self, listener: Listener) -> None:
        """As much as its connection takes."""
        while not listener.full and listener.at < self._dropped + len(self._pieces):
            piece = self._pieces[listener.at - self._dropped]
            listener.at += 1
            listener.full = not listener.downstream.write(piece)

    def _finish(self, listener: Listener) -> None:
        """It has all of it, and so its end; or not yet."""
        if not listener.ended and listener.at == self._dropped + len(self._pieces):
            listener.ended = True
            listener.downstream.finish()

    def _writable(self, listener: Listener) -> None:
        listener.full = False
        self._feed(listener)
        self._drop()
        if self._ended:
            self._finish(listener)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Nobody is slow any more."""
        if not self._recording and not self._is_full and self.on_writable is not None:
            self.on_writable()

    def _left(self, listener: Listener) -> None:
        self._over(listener, left=True)

    def _over(self, listener: Listener, *, left: bool) -> None:
        self._listeners.remove(listener)
        listener.over(listener, left)
        if self._listeners:
            self._drop()
            if not self._ended:
                self._go_on()
            return
        heard = self.on_delivered if self._ended else self.on_gone
        self._close()
        if heard is not None:
            heard()

    def _drain(self, listener: Listener) -> None:
        if self._ended or self.on_drain_deadline is None:
            listener.downstream.fail(None)
        else:
            self.on_drain_deadline()
