"""Is a whole answer one, before anything of it goes out; and where it is not judged whole, its bytes as they come."""

from modelpool_sidecar import orders
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.course import MAX_WHOLE_BYTES, Course
from modelpool_sidecar.dialects import openai
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.orders import Fault


class WholeBody:
    """The body of a successful answer that is no stream: held and judged, or *bytes* that go out as they come (sound).

    What grows beyond the most that is held goes out as it comes, too.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._media_type = orders.media_type(course.headers)
        self._whole = openai.reads_whole(course.order.operation, self._media_type)
        self.kind = "whole" if self._whole else "bytes"
        course.last_token = course.clock.now()
        course.await_more()

    def data(self, data: bytes) -> None:
        """A part of it."""
        course = self._course
        course.last_token = course.clock.now()
        if course.committed:
            course.owner.body(data)
        elif self._whole:
            self._hold(data)
        else:
            course.commit(orders.length(course.headers))
            course.owner.body(data)

    def end(self) -> None:
        """It is all there."""
        if self._course.committed:
            self._course.finish(Answer(Outcome.OK))
        else:
            self._judge()

    def error(self, detail: str) -> None:
        """It was cut short."""
        self._course.broken(Outcome.BROKEN, f"the answer was cut short: {detail}")

    def _hold(self, data: bytes) -> None:
        course = self._course
        course.held += data
        if not course.has_room(len(course.held)):
            return
        if len(course.held) > MAX_WHOLE_BYTES:
            wrong = orders.mismatch(course.order, stream=False)
            if wrong is not None:
                course.broken(Outcome.BROKEN, wrong)
                return
            course.commit(orders.length(course.headers))

    def _judge(self) -> None:
        course, order = self._course, self._course.order
        body = bytes(course.held)
        answer = openai.judge(order.operation, body, self._media_type)
        if answer.outcome is not Outcome.OK and (
            answer.outcome is not Outcome.CONTENT_POLICY or course.goes_on(answer)
        ):
            unreadable = answer.outcome is Outcome.BROKEN
            detail = "the answer is not JSON" if unreadable else f"the answer is empty{orders.code(answer.error)}"
            course.failed(Fault(answer.outcome, detail, course.status, course.headers, body, whole=True))
            return
        wrong = orders.mismatch(order, stream=False)
        if wrong is not None:
            course.broken(Outcome.BROKEN, wrong)
            return
        if order.requested_model is not None:
            course.held = bytearray(openai.rewrite_model(body, order.requested_model))
        course.commit(len(course.held), answer)
        course.finish(answer)
