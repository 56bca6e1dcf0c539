"""How one attempt goes, from its first byte to its last: deadlines, buffering, the commit, and what it came to.

Theory. A run is in one phase at a time: waiting for the head; then, by the head, reading a *failed* answer (to classify
it), a *whole* one (to judge it before anything goes out), *bytes* that go out as they come (sound), or an event
*stream* (held until its first content, or to its end, B24).
Until the owner hears `committed` it may still hear `failed`, and the walk goes on elsewhere; afterwards it hears `body`
and exactly one of `answered` and `broken`. A run says nothing after that, and nothing after `cancel`.

Two timers at most: the hard one (attempt and total, until the commit) and the one of the phase (head, first token,
idle, the rest of a failed answer, the missing [DONE]).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec

from modelpool_sidecar import orders
from modelpool_sidecar.core.outcome import NO_ERROR, Outcome, classify
from modelpool_sidecar.deadlines import Deadlines
from modelpool_sidecar.dialects import openai, openai_form, openai_usage
from modelpool_sidecar.dialects.openai import Answer, StreamReader
from modelpool_sidecar.orders import Fault, Order, Owner, UsageAsked
from modelpool_sidecar.ports import Attempt, Clock, ErrorKind, Headers

MAX_WHOLE_BYTES = 8 * 1024 * 1024
"""A whole answer, and a stream that is held to its end, is held up to here, then committed and passed on (B24)."""
MAX_FAILED_BYTES = 16 * 1024
MAX_RELAYED_ERROR_BYTES = 1024 * 1024
FAILED_BODY_SECONDS = 0.1
"""A failed answer is read this far for its words and for reuse of the connection (B34)."""
DECIDING_BODY_SECONDS = 2.0
"""Where the words decide (a quota or a rate, an unknown model or an unknown path), and the client may be told them."""
MAX_PREAMBLE_BYTES = 64 * 1024
"""A stream without content is held up to here; then its head goes out, and the rest is held up to the next bound."""
MAX_OPENED_BYTES = 1024 * 1024
SMALL_BYTES = 64 * 1024
"""An event that is not whole yet has its room in memory counted from here on."""
DONE_SECONDS = 2.0
"""After every choice has finished: this long for usage and [DONE], then we supply it (B27)."""
LINGER_SECONDS = 0.1
"""After the terminal event: this long for the end of the framing, so that the connection can be reused."""

_UNSENT: frozenset[ErrorKind] = frozenset({"dns", "connect", "connect_timeout", "tls"})
_UNREACHABLE: frozenset[ErrorKind] = _UNSENT | {"reset", "stale"}
_CLIENTS_FAULT = frozenset({Outcome.REJECTED, Outcome.CONTEXT_LENGTH, Outcome.CONTENT_POLICY})


_P = ParamSpec("_P")


def _guarded(
    method: Callable[Concatenate["AttemptRun", _P], None],
) -> Callable[Concatenate["AttemptRun", _P], None]:
    """A fault of ours in a callback ends this attempt, not the loop's patience: the owner hears of it."""

    def call(self: "AttemptRun", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever it is: a client waits
            self.cancel()
            self._owner.crashed(error)

    return call


class AttemptRun:
    """One attempt; a Sink of its transport. See the theory above."""

    def __init__(self, order: Order, make: Callable[[], Attempt], owner: Owner, clock: Clock) -> None:
        self.status: int | None = None
        self.first_token: float | None = None
        """When the first output of a stream came (monotonic)."""
        self._order, self._make, self._owner, self._clock = order, make, owner, clock
        self._transport = make()
        self._headers: Headers = ()
        self._held = bytearray()
        self._held_before = 0
        self._leased = 0
        self._reader: StreamReader | None = None
        self._phase = "head"
        self._committed = False
        self._paused = False
        self._awaiting_done = False
        self._last_token = 0.0
        self._deadlines = Deadlines(clock)

    def __repr__(self) -> str:
        return f"<AttemptRun {self._phase}{' committed' if self._committed else ''} status={self.status}>"

    def start(self) -> None:
        """Send the request; the owner hears the rest, never from inside this call."""
        now, order, timeouts = self._clock.now(), self._order, self._order.timeouts
        limit, clients = order.deadline - now, order.deadline_is_clients
        if timeouts.attempt is not None and timeouts.attempt < limit:
            limit, clients = timeouts.attempt, False
        self._deadlines.hard(limit, lambda: self._late("no answer in time", blameless=clients))
        self._last_token = now
        self._await_head()
        self._transport.start(order.request, self)

    def _await_head(self) -> None:
        timeouts = self._order.timeouts
        head = timeouts.head
        if self._order.stream:
            head = timeouts.first_token if head is None else min(head, timeouts.first_token)
        if head is not None:
            self._deadlines.phase(head, lambda: self._late("no response head in time"))

    def cancel(self) -> None:
        """Drop it: the provider's connection closes at once. The owner hears nothing more. Twice is fine."""
        if self._phase != "over":
            self._over()
            self._transport.cancel()

    def pause(self) -> None:
        """The client is slower than the provider (B30)."""
        if self._phase != "over":
            self._paused = True
            self._transport.pause()

    def resume(self) -> None:
        """The client has caught up; what it took to do so is not the provider's silence."""
        if self._paused and self._phase != "over":
            self._paused = False
            self._last_token = self._clock.now()
            self._transport.resume()

    def error_event(self, code: str, message: str) -> bytes | None:
        """The event that tells the client of a fault in the terms of this stream; None where it is no stream."""
        return self._reader.error_event(code, message) if self._reader is not None else None

    def partial(self) -> Answer | None:
        """What a stream has told so far, for the account of an aborted one."""
        return self._reader.answer() if self._reader is not None else None

    @property
    def tokens_seen(self) -> int | None:
        """Events with output that a stream has brought, about a token each; None where it is no stream."""
        return self._reader.tokens_seen if self._reader is not None else None

    # -- Sink

    @_guarded
    def head(self, status: int, headers: Headers) -> None:
        """The answer's head decides how the body is read."""
        self.status, self._headers = status, headers
        self._deadlines.clear_phase()
        if not 200 <= status < 300:
            self._phase = "failed"
            patience = DECIDING_BODY_SECONDS if 400 <= status < 500 else FAILED_BODY_SECONDS
            self._deadlines.phase(patience, self._failed_enough)
        elif self._is_stream(headers):
            wrong = orders.mismatch(self._order, stream=True)
            if wrong is not None:
                self._break(Outcome.BROKEN, wrong)
                return
            self._phase = "stream"
            order = self._order
            self._reader = openai.stream_reader(
                order.operation,
                order.requested_model,
                order.choices,
                hides_usage=order.usage is not None,
                strict=lambda: openai_form.is_given(order.operation, order.request.body),
            )
            left = self._order.timeouts.first_token - (self._clock.now() - self._last_token)
            self._deadlines.phase(left, lambda: self._late("no first token in time"))
        else:
            kind = orders.media_type(headers)
            self._phase = "whole" if openai.reads_whole(self._order.operation, kind) else "bytes"
            self._last_token = self._clock.now()
            self._deadlines.phase(self._order.timeouts.idle, self._idle)

    def _is_stream(self, headers: Headers) -> bool:
        kind = orders.media_type(headers)
        return kind == "text/event-stream" or (kind == "" and self._order.stream)

    @_guarded
    def data(self, data: bytes) -> None:
        """A part of the body."""
        match self._phase:
            case "stream":
                self._feed(data)
            case "whole":
                self._hold(data)
            case "bytes":
                self._phase = "passing"
                self._last_token = self._clock.now()
                self._commit(orders.length(self._headers))
                self._owner.body(data)
            case "passing":
                self._last_token = self._clock.now()
                self._owner.body(data)
            case "failed":
                self._held += data
                if len(self._held) > self._enough():
                    self._fail_by_status(whole=False)

    @_guarded
    def end(self) -> None:
        """The framing of the body was fulfilled."""
        match self._phase:
            case "stream":
                self._stream_ended()
            case "whole" | "bytes":
                self._judge()
            case "passing":
                self._finish(Answer(Outcome.OK))
            case "failed":
                self._fail_by_status(whole=True)
            case "linger":
                self._over()

    @_guarded
    def error(self, kind: ErrorKind, detail: str) -> None:
        """The transport failed."""
        match self._phase:
            case "head" if kind == "stale" and not self._order.request.fresh:
                self._start_afresh()
            case "head":
                outcome = Outcome.UNREACHABLE if kind in _UNREACHABLE else Outcome.BROKEN
                self._fail(Fault(outcome, detail, unsent=kind in _UNSENT))
            case "failed":
                self._fail_by_status(whole=False)
            case "linger":
                self._over()
            case "stream" if self._reader is not None and self._reader.finished:
                self._stream_ended()
            case _:
                self._break(Outcome.BROKEN, f"the answer was cut short: {detail}")

    # -- a failed answer

    def _enough(self) -> int:
        """How much of it is read: the client's own fault to its end, because it is relayed."""
        if len(self._held) <= MAX_FAILED_BYTES or self._classify() not in _CLIENTS_FAULT:
            return MAX_FAILED_BYTES
        return MAX_RELAYED_ERROR_BYTES

    @_guarded
    def _failed_enough(self) -> None:
        """Enough time; the client's own fault may take more of it as long as something comes."""
        grown = len(self._held) > self._held_before
        self._held_before = len(self._held)
        if grown and self._classify() in _CLIENTS_FAULT and len(self._held) <= MAX_RELAYED_ERROR_BYTES:
            self._deadlines.phase(DECIDING_BODY_SECONDS, self._failed_enough)
        else:
            self._fail_by_status(whole=False)

    def _classify(self) -> Outcome:
        assert self.status is not None, "a failed answer has a head"
        said = openai.read_error(bytes(self._held))
        return self._order.outcome(self.status, classify(self.status, said, model_is_ours=self._order.model_is_ours))

    def _fail_by_status(self, *, whole: bool) -> None:
        body, asked = bytes(self._held), self._order.usage
        if asked is not None and self.status is not None and openai_usage.refused(self.status, body):
            self._ask_without_usage(asked, close=not whole)
            return
        detail = orders.answered(self.status, openai.read_error(body), self._order)
        self._fail(Fault(self._classify(), detail, self.status, self._headers, body, whole), close=not whole)

    # -- a whole answer

    def _hold(self, data: bytes) -> None:
        self._last_token = self._clock.now()
        self._held += data
        if not self._has_room(len(self._held)):
            return
        if len(self._held) > MAX_WHOLE_BYTES:
            wrong = orders.mismatch(self._order, stream=False)
            if wrong is not None:
                self._break(Outcome.BROKEN, wrong)
                return
            self._phase = "passing"
            self._commit(orders.length(self._headers))

    def _judge(self) -> None:
        body = bytes(self._held)
        answer = openai.judge(self._order.operation, body, orders.media_type(self._headers))
        if answer.outcome is not Outcome.OK and (answer.outcome is not Outcome.CONTENT_POLICY or self._goes_on(answer)):
            unreadable = answer.outcome is Outcome.BROKEN
            detail = "the answer is not JSON" if unreadable else f"the answer is empty{orders.code(answer.error)}"
            self._fail(Fault(answer.outcome, detail, self.status, self._headers, body, whole=True))
            return
        wrong = orders.mismatch(self._order, stream=False)
        if wrong is not None:
            self._break(Outcome.BROKEN, wrong)
            return
        if self._order.requested_model is not None:
            self._held = bytearray(openai.rewrite_model(body, self._order.requested_model))
        self._commit(len(self._held), answer)
        self._finish(answer)

    def _goes_on(self, answer: Answer) -> bool:
        """The content filter ended it, and the pool asks to go on elsewhere then."""
        return answer.outcome is Outcome.CONTENT_POLICY and self._order.policy_is_fault

    # -- a stream

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None, "a stream has its reader"
        before = reader.events
        out = reader.feed(data)
        if reader.events != before:
            self._last_token = self._clock.now()
        self._pass_on(reader, out)
        if self._phase != "stream" or not self._has_room(len(self._held) + max(0, reader.pending - SMALL_BYTES)):
            return
        if reader.error is not None:
            self._error_event(reader)
        elif reader.broken is not None:
            self._break(Outcome.BROKEN, reader.broken)
        elif reader.done:
            self._stream_complete(reader)
        elif reader.finished:
            self._await_done(reader)
        elif self._awaiting_done:  # a choice began after all before it had finished
            self._awaiting_done = False
            self._deadlines.phase(self._order.timeouts.idle, self._idle)

    def _has_room(self, held: int) -> bool:
        """Whether what is held now has room in memory. If not, this was all (B30)."""
        lease, more = self._order.lease, held - self._leased
        if lease is None or more == 0:
            return True
        if more < 0:
            lease.give(-more)
        elif not lease.take(more):
            self._owner.overloaded()
            return False
        self._leased = held
        return True

    def _await_done(self, reader: StreamReader) -> None:
        """Once: what comes in that time does not prolong it."""
        if not self._awaiting_done:
            self._awaiting_done = True
            self._deadlines.phase(DONE_SECONDS, lambda: self._done_awaited(reader))

    @_guarded
    def _done_awaited(self, reader: StreamReader) -> None:
        if self._paused:  # we do not read: what is missing may lie there
            self._deadlines.phase(DONE_SECONDS, lambda: self._done_awaited(reader))
        else:
            self._stream_complete(reader)

    def _pass_on(self, reader: StreamReader, out: bytes) -> None:
        """Hold until the commit, then pass on as it comes. A finish without any output is judged at its end (B17)."""
        if self._committed:
            if out:
                self._owner.body(out)
            return
        self._held += out
        begins = self.first_token is None and reader.committed and reader.tokens_seen > 0
        if begins:
            self.first_token = self._last_token = self._clock.now()
        commits = self._held_enough()
        if commits:
            self._commit(None)
            self._last_token = self._clock.now()
        if (begins or commits) and self._phase == "stream" and not reader.finished:
            self._deadlines.phase(self._order.timeouts.idle, self._idle)

    def _held_enough(self) -> bool:
        if self.first_token is not None:
            return not self._order.whole or len(self._held) > MAX_WHOLE_BYTES
        if len(self._held) > MAX_PREAMBLE_BYTES and self._order.opens:
            self._owner.head_is_due()
            return len(self._held) > MAX_OPENED_BYTES
        return len(self._held) > MAX_PREAMBLE_BYTES

    def _error_event(self, reader: StreamReader) -> None:
        error = reader.error or NO_ERROR
        detail = f"the stream carried an error event{orders.code(error)}"
        if self._committed:
            self._break(Outcome.BROKEN, detail, told=True)
        else:
            outcome = Outcome.EMPTY if self.first_token is None else Outcome.BROKEN
            self._fail(Fault(outcome, detail, self.status), close=True)

    def _stream_ended(self) -> None:
        reader = self._reader
        assert reader is not None, "a stream has its reader"
        self._pass_on(reader, reader.close())
        if self._phase != "stream":  # what came at last was of no use to the owner
            return
        if reader.error is not None:
            self._error_event(reader)
        elif reader.finished or reader.done:
            self._stream_complete(reader, ended=True)
        elif reader.events == 0 and not self._committed:
            self._fail(Fault(Outcome.EMPTY, "the stream had no event", self.status))
        else:
            self._break(Outcome.BROKEN, "the stream ended without a finish")

    def _stream_complete(self, reader: StreamReader, *, ended: bool = False) -> None:
        answer = reader.answer()
        if not self._committed and (answer.outcome is Outcome.EMPTY or self._goes_on(answer)):
            self._fail(Fault(answer.outcome, "the stream had no content", self.status), close=not ended)
            return
        if not self._committed:
            self._commit(None)
        if not reader.done and reader.terminator:
            self._owner.body(reader.terminator)
        self._finish(answer, linger=not ended)

    # -- ends

    def _commit(self, length: int | None, answer: Answer | None = None) -> None:
        self._committed = True
        self._deadlines.clear_hard()
        assert self.status is not None, "only an answer is committed"
        self._owner.committed(self.status, self._headers, length, answer)
        if self._phase != "stream" or self._order.whole:
            self._leased = 0  # it lies there until the client has it
        if self._held and self._phase != "over":
            held, self._held = bytes(self._held), bytearray()
            self._owner.body(held)

    def _finish(self, answer: Answer, *, linger: bool = False) -> None:
        if self._phase == "over":
            return
        self._over()
        if linger:
            self._phase = "linger"
            self._deadlines.phase(LINGER_SECONDS, self.cancel)
        self._owner.answered(answer)

    def _fail(self, fault: Fault, *, close: bool = False) -> None:
        self._over()
        if close:
            self._transport.cancel()
        self._owner.failed(fault)

    def _break(self, outcome: Outcome, detail: str, *, told: bool = False) -> None:
        if not self._committed:
            self._fail(Fault(outcome, detail, self.status), close=True)
            return
        self._over()
        self._transport.cancel()
        self._owner.broken(outcome, detail, self.partial(), told=told)

    @_guarded
    def _late(self, detail: str, *, blameless: bool = False) -> None:
        if self._committed:
            self._break(Outcome.TIMED_OUT, detail)
        else:
            self._fail(Fault(Outcome.TIMED_OUT, detail, self.status, blameless=blameless), close=True)

    @_guarded
    def _idle(self) -> None:
        """The idle deadline, moved on by every event: armed once, looked at when it is due."""
        idle = self._order.timeouts.idle
        left = self._last_token + idle - self._clock.now()
        if self._paused:
            self._deadlines.phase(idle, self._idle)
        elif left > 0:
            self._deadlines.phase(left, self._idle)
        else:
            self._break(Outcome.STALLED, f"nothing came for {idle:g} s")

    def _start_afresh(self) -> None:
        """The reused connection was dead before a byte of the answer: the same try, on a new one (B15a)."""
        self._order = replace(self._order, request=replace(self._order.request, fresh=True))
        self._transport = self._make()
        self._transport.start(self._order.request, self)

    def _ask_without_usage(self, asked: UsageAsked, *, close: bool) -> None:
        """The provider does not take what we added to the request: the same try, as the client asked (B32)."""
        if close:
            self._transport.cancel()
        asked.refused()
        self._order = replace(self._order, request=replace(self._order.request, body=asked.plain), usage=None)
        self._phase, self.status, self._headers, self._held = "head", None, (), bytearray()
        self._held_before = 0
        self._await_head()
        self._transport = self._make()
        self._transport.start(self._order.request, self)

    def _over(self) -> None:
        self._phase = "over"
        self._has_room(0)
        self._deadlines.clear()
