"""Whether a pool may repeat itself once more (B18).

Retries are paid from a budget, so that a broken provider is not hit by twice the traffic: over the last ten seconds at
most a percentage of the requests, plus a few per second so that little traffic can retry at all. Who is asked, and for
which attempts, is dispatch's business; the first fallback never asks.
"""

from modelpool_sidecar.core.window import Window

WINDOW = 10.0
"""Seconds over which requests and retries are compared."""


class RetryBudget:
    """Retries of one pool. `percent` and `per_second` are replaced on reload; what was counted stays."""

    __slots__ = ("_requests", "_retries", "per_second", "percent")

    def __init__(self, percent: int, per_second: int) -> None:
        self.percent = percent
        self.per_second = per_second
        self._requests = Window(WINDOW)
        self._retries = Window(WINDOW)

    def __repr__(self) -> str:
        return f"<RetryBudget {self.percent} % + {self.per_second}/s: {self._retries!r} of {self._requests!r}>"

    def request(self, now: float) -> None:
        """A request arrived: it earns its percentage."""
        self._requests.add(now)

    def remaining(self, now: float) -> int:
        """How many retries could start now; never negative, not even after a reload that cut the budget."""
        earned = self._requests.total(now) * self.percent // 100 + int(self.per_second * WINDOW)
        return max(0, earned - self._retries.total(now))

    def allowed(self, now: float) -> bool:
        """Whether a retry may start now. Looking does not spend."""
        return self.remaining(now) > 0

    def take(self, now: float) -> None:
        """A retry starts."""
        self._retries.add(now)
