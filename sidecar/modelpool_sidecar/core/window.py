"""How often something happened lately.

A ring of ten slots slides over the last `span` seconds: constant memory, constant time per event, whatever the traffic.
An event is forgotten at the latest when it is `span` seconds old, at the earliest a tenth of that before.
"""

SLOTS = 10
_SHORTEST_SPAN = 0.001


class Window:
    """A count that forgets. Time is monotonic; whoever looks moves the ring, which changes no answer."""

    __slots__ = ("_counts", "_slot", "_total", "_width", "span")

    def __init__(self, span: float) -> None:
        self.span = span
        self._width = max(span, _SHORTEST_SPAN) / SLOTS
        self._counts = [0] * SLOTS
        self._slot = 0
        self._total = 0

    def __repr__(self) -> str:
        return f"<Window {self.span:g} s: {self._total}>"

    def add(self, now: float, count: int = 1) -> None:
        """It happened, now."""
        self._advance(now)
        self._counts[self._slot % SLOTS] += count
        self._total += count

    def total(self, now: float) -> int:
        """How often it happened in the window that ends now."""
        self._advance(now)
        return self._total

    def clear(self) -> None:
        """Nothing happened."""
        self._counts = [0] * SLOTS
        self._total = 0

    def stretched(self, span: float) -> "Window":
        """The same events in a window of another length."""
        other = Window(span)
        for slot in range(self._slot - SLOTS + 1, self._slot + 1):
            other.add(slot * self._width, self._counts[slot % SLOTS])
        return other

    def _advance(self, now: float) -> None:
        slot = int(now // self._width)
        if slot <= self._slot:
            return
        for passed in range(max(self._slot + 1, slot - SLOTS + 1), slot + 1):
            index = passed % SLOTS
            self._total -= self._counts[index]
            self._counts[index] = 0
        self._slot = slot
