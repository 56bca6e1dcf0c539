"""How long a target lets one wait, as a peak-sensitive moving average: quick to believe bad news, slow to believe good.

Theory. A sample above the estimate becomes the estimate; one below it moves it by as much as time has passed. Between
samples the estimate fades, so that a target which was slow once is asked again sooner or later. First tokens of streams
and whole answers are two different waits and are never mixed.
"""

import math
from collections.abc import Sequence

FADE_SECONDS = 30.0
"""What was measured counts for a third after this time."""


class Wait:
    """One estimate, in seconds. `seconds`: as of the last sample, None before the first."""

    __slots__ = ("_at", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._at = 0.0

    def __repr__(self) -> str:
        return "<Wait unmeasured>" if self.seconds is None else f"<Wait {self.seconds:.3g} s>"

    def estimate(self, now: float) -> float | None:
        """What is to be expected now, None before the first sample."""
        return None if self.seconds is None else self.seconds * self._faded(now)

    def sample(self, seconds: float, now: float) -> None:
        """It took that long."""
        expected = self.estimate(now)
        if expected is None or seconds >= expected:
            self.seconds = seconds
        else:
            self.seconds = expected + (seconds - expected) * (1 - self._faded(now))
        self._at = now

    def failed(self, seconds: float, now: float) -> None:
        """It failed after that long: never a fast sample, but a slow failure is as slow as it was."""
        expected = self.estimate(now)
        if expected is not None and seconds > expected:
            self.sample(seconds, now)

    def _faded(self, now: float) -> float:
        return math.exp(-max(0.0, now - self._at) / FADE_SECONDS)


def average(estimates: Sequence[float | None]) -> float:
    """What an unmeasured target counts as: the mean of the measured ones, 1 where there is none."""
    known = [estimate for estimate in estimates if estimate is not None]
    return math.fsum(known) / len(known) if known else 1.0
