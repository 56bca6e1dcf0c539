"""The timers of one attempt: a hard one until the commit, and one of the phase that it is in. At most these two."""

from collections.abc import Callable
from functools import partial

from modelpool_sidecar.ports import Clock, Timer


class Deadlines:
    """Arranges calls and forgets them; arranging one anew replaces it. `safely` makes each call."""

    def __init__(self, clock: Clock, safely: Callable[[Callable[[], None]], None]) -> None:
        self._clock, self._safely = clock, safely
        self._hard: Timer | None = None
        self._phase: Timer | None = None

    def hard(self, seconds: float, callback: Callable[[], None]) -> None:
        """The end of the attempt, if it has not committed by then."""
        self._hard = self._clock.call_later(max(0.0, seconds), partial(self._safely, callback))

    def phase(self, seconds: float, callback: Callable[[], None]) -> None:
        """The end of this phase's patience."""
        self.clear_phase()
        self._phase = self._clock.call_later(max(0.0, seconds), partial(self._safely, callback))

    def clear_hard(self) -> None:
        """It has committed."""
        if self._hard is not None:
            self._hard.cancel()

    def clear_phase(self) -> None:
        """The phase is over."""
        if self._phase is not None:
            self._phase.cancel()

    def clear(self) -> None:
        """It is over."""
        self.clear_hard()
        self.clear_phase()
