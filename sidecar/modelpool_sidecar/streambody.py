"""What an event stream comes to: held until its first content or to its end, then passed on, and when it is complete.

Theory. Until the commit its events are held (B24); a finish without any output is judged at its end (B17). When every
choice has finished, usage and [DONE] are awaited for a short while, and then we supply what is missing (B27).
"""

from modelpool_sidecar import orders
from modelpool_sidecar.core.outcome import NO_ERROR, Outcome
from modelpool_sidecar.course import MAX_WHOLE_BYTES, Course
from modelpool_sidecar.dialects import openai, openai_form
from modelpool_sidecar.dialects.openai import StreamReader
from modelpool_sidecar.orders import Fault

MAX_PREAMBLE_BYTES = 64 * 1024
"""A stream without content is held up to here; then its head goes out, and the rest is held up to the next bound."""
MAX_OPENED_BYTES = 1024 * 1024
SMALL_BYTES = 64 * 1024
"""An event that is not whole yet has its room in memory counted from here on."""
DONE_SECONDS = 2.0
"""After every choice has finished: this long for usage and [DONE], then we supply it (B27)."""


class StreamBody:
    """Of one attempt whose answer is a stream, as it was asked to be."""

    kind = "stream"

    def __init__(self, course: Course) -> None:
        order = course.order
        self._course = course
        self._reader = course.reader = openai.stream_reader(
            order.operation,
            order.requested_model,
            order.choices,
            hides_usage=order.usage is not None,
            strict=lambda: openai_form.is_given(order.operation, order.request.body),
        )
        self._awaiting_done = False
        left = order.timeouts.first_token - (course.clock.now() - course.last_token)
        course.deadlines.phase(left, lambda: course.late("no first token in time"))

    def data(self, data: bytes) -> None:
        """A part of it."""
        reader, course = self._reader, self._course
        before = reader.events
        out = reader.feed(data)
        if reader.events != before:
            course.last_token = course.clock.now()
        self._pass_on(reader, out)
        if course.phase != "runs" or not course.has_room(len(course.held) + max(0, reader.pending - SMALL_BYTES)):
            return
        if reader.error is not None:
            self._error_event(reader)
        elif reader.broken is not None:
            course.broken(Outcome.BROKEN, reader.broken)
        elif reader.done:
            self._complete(reader)
        elif reader.finished:
            self._await_done()
        elif self._awaiting_done:  # a choice began after all before it had finished
            self._awaiting_done = False
            course.await_more()

    def end(self) -> None:
        """Nothing more comes."""
        reader, course = self._reader, self._course
        self._pass_on(reader, reader.close())
        if course.phase != "runs":  # what came at last was of no use to the owner
            return
        if reader.error is not None:
            self._error_event(reader)
        elif reader.finished or reader.done:
            self._complete(reader, ended=True)
        elif reader.events == 0 and not course.committed:
            course.failed(Fault(Outcome.EMPTY, "the stream had no event", course.status))
        else:
            course.broken(Outcome.BROKEN, "the stream ended without a finish")

    def error(self, detail: str) -> None:
        """It was cut short, which harms nothing where every choice has finished."""
        if self._reader.finished:
            self.end()
        else:
            self._course.broken(Outcome.BROKEN, f"the answer was cut short: {detail}")

    # -- before the commit

    def _pass_on(self, reader: StreamReader, out: bytes) -> None:
        """Hold until the commit, then pass on as it comes. A finish without any output is judged at its end (B17)."""
        course = self._course
        if course.committed:
            if out:
                course.owner.body(out)
            return
        course.held += out
        begins = course.first_token is None and reader.committed and reader.tokens_seen > 0
        if begins:
            course.first_token = course.last_token = course.clock.now()
        commits = self._held_enough()
        if commits:
            course.commit(None)
            course.last_token = course.clock.now()
        if (begins or commits) and course.phase == "runs" and not reader.finished:
            course.await_more()

    def _held_enough(self) -> bool:
        course, held = self._course, len(self._course.held)
        if course.first_token is not None:
            return not course.order.whole or held > MAX_WHOLE_BYTES
        if held > MAX_PREAMBLE_BYTES and course.order.opens:
            course.owner.head_is_due()
            return held > MAX_OPENED_BYTES
        return held > MAX_PREAMBLE_BYTES

    # -- its end

    def _await_done(self) -> None:
        """Once: what comes in that time does not prolong it."""
        if not self._awaiting_done:
            self._awaiting_done = True
            self._course.deadlines.phase(DONE_SECONDS, self._done_awaited)

    def _done_awaited(self) -> None:
        if self._course.paused:  # we do not read: what is missing may lie there
            self._course.deadlines.phase(DONE_SECONDS, self._done_awaited)
        else:
            self._complete(self._reader)

    def _error_event(self, reader: StreamReader) -> None:
        course, error = self._course, reader.error or NO_ERROR
        detail = f"the stream carried an error event{orders.code(error)}"
        if course.committed:
            course.broken(Outcome.BROKEN, detail, told=True)
        else:
            outcome = Outcome.EMPTY if course.first_token is None else Outcome.BROKEN
            course.failed(Fault(outcome, detail, course.status), close=True)

    def _complete(self, reader: StreamReader, *, ended: bool = False) -> None:
        course, answer = self._course, reader.answer()
        if not course.committed and (answer.outcome is Outcome.EMPTY or course.goes_on(answer)):
            course.failed(Fault(answer.outcome, "the stream had no content", course.status), close=not ended)
            return
        if not course.committed:
            course.commit(None)
        if not reader.done and reader.terminator:
            course.owner.body(reader.terminator)
        course.finish(answer, linger=not ended)
