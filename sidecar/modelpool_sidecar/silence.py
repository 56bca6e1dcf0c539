"""How long a client of a stream hears nothing: when it gets the head without content, and when a comment (B24, B33)."""

from collections.abc import Callable

from modelpool_sidecar.core.snapshot import Streaming
from modelpool_sidecar.ports import Clock, Timer


class Silence:
    """Of one stream. `due`: the head is to go out; `comment`: so is a comment, and only between whole events.

    One timer at a time. That of the comments is arranged once and looked at when it is due: what comes meanwhile costs
    a look at the clock.
    """

    def __init__(self, clock: Clock, times: Streaming, due: Callable[[], None], comment: Callable[[], None]) -> None:
        self._clock, self._times, self._due, self._comment = clock, times, due, comment
        self._heard = 0.0
        self._timer: Timer | None = None

    def hold(self, since: float) -> None:
        """The request came then: its head is held for some time."""
        self._arm(since + self._times.head_hold - self._clock.now(), self._due)

    def begin(self) -> None:
        """The head is out."""
        self.heard()
        self._arm(self._times.keep_alive, self._look)

    def heard(self) -> None:
        """Something was sent."""
        self._heard = self._clock.now()

    def end(self) -> None:
        """The answer is over. Twice is fine."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, seconds: float, callback: Callable[[], None]) -> None:
        self.end()
        self._timer = self._clock.call_later(max(0.0, seconds), callback)

    def _look(self) -> None:
        left = self._heard + self._times.keep_alive - self._clock.now()
        if left <= 0:
            self._comment()
            self.heard()
            left = self._times.keep_alive
        self._arm(left, self._look)
