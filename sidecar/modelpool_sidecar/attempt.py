"""How one attempt goes, from its first byte to its last: the deadlines until the head, and who reads what comes then.

Theory. A run waits for the head; then, by the head, somebody reads a failed answer (to classify it, `failedbody`), a
whole one (to judge it before anything goes out) or bytes that go out as they come (`wholebody`), or an event stream
(held until its first content, or to its end, `streambody`). What the owner hears of it is told in `course`.

Two timers at most: the hard one (attempt and total, until the commit) and the one of the phase (head, first token,
idle, the rest of a failed answer, the missing [DONE]).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec, Protocol

from modelpool_sidecar import orders
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.course import Course
from modelpool_sidecar.dialects.openai import Answer
from modelpool_sidecar.failedbody import FailedBody
from modelpool_sidecar.orders import Fault, Order, Owner, UsageAsked
from modelpool_sidecar.ports import Attempt, Clock, ErrorKind, Headers
from modelpool_sidecar.streambody import StreamBody
from modelpool_sidecar.wholebody import WholeBody

_UNSENT: frozenset[ErrorKind] = frozenset({"no_files", "dns", "connect", "connect_timeout", "tls"})
_UNREACHABLE: frozenset[ErrorKind] = _UNSENT | {"reset", "stale"}


_P = ParamSpec("_P")


class Reading(Protocol):
    """Reads an answer's body, by what its head says. `kind`: in a word."""

    kind: str

    def data(self, data: bytes) -> None:
        """A part of the body."""

    def end(self) -> None:
        """The framing of the body was fulfilled."""

    def error(self, detail: str) -> None:
        """The transport failed."""


def _guarded(
    method: Callable[Concatenate["AttemptRun", _P], None],
) -> Callable[Concatenate["AttemptRun", _P], None]:
    """A fault of ours in a callback ends this attempt, not the loop's patience: the owner hears of it."""

    def call(self: "AttemptRun", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever it is: a client waits
            self._course.crashed(error)

    return call


class AttemptRun:
    """One attempt; a Sink of its transport. See the theory above."""

    def __init__(self, order: Order, make: Callable[[], Attempt], owner: Owner, clock: Clock) -> None:
        self._make = make
        self._course = Course(order, make(), owner, clock)
        self._reading: Reading | None = None  # until the head has come

    def __repr__(self) -> str:
        course = self._course
        reading = "head" if self._reading is None else self._reading.kind
        where = reading if course.phase == "runs" else course.phase
        return f"<AttemptRun {where}{' committed' if course.committed else ''} status={course.status}>"

    @property
    def status(self) -> int | None:
        """The answer's, None before its head."""
        return self._course.status

    @property
    def first_token(self) -> float | None:
        """When the first output of a stream came (monotonic)."""
        return self._course.first_token

    def start(self) -> None:
        """Send the request; the owner hears the rest, never from inside this call."""
        course, order = self._course, self._course.order
        now, timeouts = course.clock.now(), order.timeouts
        limit, clients = order.deadline - now, order.deadline_is_clients
        if timeouts.attempt is not None and timeouts.attempt < limit:
            limit, clients = timeouts.attempt, False
        course.deadlines.hard(limit, lambda: course.late("no answer in time", blameless=clients))
        course.last_token = now
        self._await_head()
        course.transport.start(order.request, self)

    def _await_head(self) -> None:
        course, timeouts = self._course, self._course.order.timeouts
        head = timeouts.head
        if course.order.stream:
            head = timeouts.first_token if head is None else min(head, timeouts.first_token)
        if head is not None:
            course.deadlines.phase(head, lambda: course.late("no response head in time"))

    def cancel(self) -> None:
        """Drop it: the provider's connection closes at once. The owner hears nothing more. Twice is fine."""
        self._course.cancel()

    def pause(self) -> None:
        """The client is slower than the provider (B30)."""
        if self._course.phase != "over":
            self._course.paused = True
            self._course.transport.pause()

    def resume(self) -> None:
        """The client has caught up; what it took to do so is not the provider's silence."""
        course = self._course
        if course.paused and course.phase != "over":
            course.paused = False
            course.last_token = course.clock.now()
            course.transport.resume()

    def error_event(self, code: str, message: str) -> bytes | None:
        """The event that tells the client of a fault in the terms of this stream; None where it is no stream."""
        reader = self._course.reader
        return reader.error_event(code, message) if reader is not None else None

    def partial(self) -> Answer | None:
        """What a stream has told so far, for the account of an aborted one."""
        return self._course.partial()

    @property
    def tokens_seen(self) -> int | None:
        """Events with output that a stream has brought, about a token each; None where it is no stream."""
        reader = self._course.reader
        return reader.tokens_seen if reader is not None else None

    # -- Sink

    @_guarded
    def head(self, status: int, headers: Headers) -> None:
        """The answer's head decides how the body is read."""
        course = self._course
        course.status, course.headers = status, headers
        course.deadlines.clear_phase()
        if not 200 <= status < 300:
            self._reading = FailedBody(course, status, self._ask_without_usage)
        elif self._is_stream(headers):
            wrong = orders.mismatch(course.order, stream=True)
            if wrong is not None:
                course.broken(Outcome.BROKEN, wrong)
                return
            self._reading = StreamBody(course)
        else:
            self._reading = WholeBody(course)

    def _is_stream(self, headers: Headers) -> bool:
        kind = orders.media_type(headers)
        return kind == "text/event-stream" or (kind == "" and self._course.order.stream)

    @_guarded
    def data(self, data: bytes) -> None:
        """A part of the body."""
        if self._course.phase == "runs" and self._reading is not None:
            self._reading.data(data)

    @_guarded
    def end(self) -> None:
        """The framing of the body was fulfilled."""
        if self._course.phase == "linger":
            self._course.over()
        elif self._course.phase == "runs" and self._reading is not None:
            self._reading.end()

    @_guarded
    def error(self, kind: ErrorKind, detail: str) -> None:
        """The transport failed."""
        course = self._course
        if course.phase == "linger":
            course.over()
        elif self._reading is not None:
            self._reading.error(detail)
        elif kind == "stale" and not course.order.request.fresh:
            self._start_afresh()
        else:
            outcome = Outcome.UNREACHABLE if kind in _UNREACHABLE else Outcome.BROKEN
            course.failed(Fault(outcome, detail, blameless=kind == "no_files", unsent=kind in _UNSENT))

    # -- the same try once more

    def _start_afresh(self) -> None:
        """The reused connection was dead before a byte of the answer: the same try, on a new one (B15a)."""
        course = self._course
        course.order = replace(course.order, request=replace(course.order.request, fresh=True))
        course.transport = self._make()
        course.transport.start(course.order.request, self)

    def _ask_without_usage(self, asked: UsageAsked, close: bool) -> None:
        """The provider does not take what we added to the request: the same try, as the client asked (B32)."""
        course = self._course
        if close:
            course.transport.cancel()
        asked.refused()
        course.order = replace(course.order, request=replace(course.order.request, body=asked.plain), usage=None)
        self._reading, course.status, course.headers, course.held = None, None, (), bytearray()
        course.fits(0)
        self._await_head()
        course.transport = self._make()
        course.transport.start(course.order.request, self)
