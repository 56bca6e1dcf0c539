"""How far the body of a failed answer is read, and what the answer comes to (B17, B21, B34)."""

from collections.abc import Callable

from modelpool_sidecar import orders
from modelpool_sidecar.core.outcome import Outcome, classify
from modelpool_sidecar.course import Course
from modelpool_sidecar.dialects import openai, openai_usage
from modelpool_sidecar.orders import Fault, UsageAsked

MAX_FAILED_BYTES = 16 * 1024
MAX_RELAYED_ERROR_BYTES = 1024 * 1024
FAILED_BODY_SECONDS = 0.1
"""A failed answer is read this far for its words and for reuse of the connection (B34)."""
DECIDING_BODY_SECONDS = 2.0
"""Where the words decide (a quota or a rate, an unknown model or an unknown path), and the client may be told them."""

_CLIENTS_FAULT = frozenset({Outcome.REJECTED, Outcome.CONTEXT_LENGTH, Outcome.CONTENT_POLICY})


class FailedBody:
    """Of one attempt. `without_usage`: the same is asked without what we added, which the provider refused (B32)."""

    kind = "failed"

    def __init__(self, course: Course, status: int, without_usage: Callable[[UsageAsked, bool], None]) -> None:
        self._course, self._status, self._without_usage = course, status, without_usage
        self._held_before = 0
        patience = DECIDING_BODY_SECONDS if 400 <= status < 500 else FAILED_BODY_SECONDS
        course.deadlines.phase(patience, self._failed_enough)

    def data(self, data: bytes) -> None:
        """A part of it."""
        held = self._course.held
        held += data
        if not self._course.fits(len(held)):
            self._without_room()
        elif len(held) > self._enough():
            self._fail_by_status(whole=False)

    def end(self) -> None:
        """It is whole."""
        self._fail_by_status(whole=True)

    def error(self, detail: str) -> None:
        """It was cut short, which says nothing new."""
        self._fail_by_status(whole=False)

    def _enough(self) -> int:
        """How much of it is read: the client's own fault to its end, because it is relayed."""
        if len(self._course.held) <= MAX_FAILED_BYTES or self._classify() not in _CLIENTS_FAULT:
            return MAX_FAILED_BYTES
        return MAX_RELAYED_ERROR_BYTES

    def _without_room(self) -> None:
        """No more of it is read (B30): what has come must do for the walk, and cannot be relayed."""
        if self._classify() in _CLIENTS_FAULT:
            self._course.owner.overloaded()
        else:
            self._fail_by_status(whole=False)

    def _failed_enough(self) -> None:
        """Enough time; the client's own fault may take more of it as long as something comes."""
        held = len(self._course.held)
        grown = held > self._held_before
        self._held_before = held
        if grown and self._classify() in _CLIENTS_FAULT and held <= MAX_RELAYED_ERROR_BYTES:
            self._course.deadlines.phase(DECIDING_BODY_SECONDS, self._failed_enough)
        else:
            self._fail_by_status(whole=False)

    def _classify(self) -> Outcome:
        order, said = self._course.order, openai.read_error(bytes(self._course.held))
        return order.outcome(self._status, classify(self._status, said, model_is_ours=order.model_is_ours))

    def _fail_by_status(self, *, whole: bool) -> None:
        course, order = self._course, self._course.order
        body, asked = bytes(course.held), order.usage
        if asked is not None and openai_usage.refused(self._status, body):
            self._without_usage(asked, not whole)
            return
        detail = orders.answered(self._status, openai.read_error(body), order)
        course.failed(Fault(self._classify(), detail, self._status, course.headers, body, whole), close=not whole)
