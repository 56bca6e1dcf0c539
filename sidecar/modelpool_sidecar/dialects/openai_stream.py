"""What a stream of the OpenAI dialect has said so far, and which of its bytes may go on to the client.

One reader for one attempt. It hands on whole events as they came (B40), and tells what the proxy decides by:

    preamble --content--> committed --every choice has a finish--> finished --terminal event--> done
       |                      |
       +--- error, broken ----+      (nothing after it is handed on)

Every event is decoded, also after the commit: a malformed one must not reach the client half (B28), and orjson needs
about a microsecond for a usual chunk. What an event means is told by one function per stream format, `_chunk` for chat
and text completions and `_response_event` for the Responses API.
"""

from collections.abc import Callable
from typing import Any

from modelpool_sidecar.core import jsonspan, sse, usage
from modelpool_sidecar.core.operations import RESPONSES, Operation
from modelpool_sidecar.core.outcome import NO_ERROR, Outcome, ProviderError
from modelpool_sidecar.core.record import Usage
from modelpool_sidecar.dialects import openai_answer, openai_errors, openai_usage
from modelpool_sidecar.dialects.openai_answer import Answer, word
from modelpool_sidecar.dialects.openai_errors import ResponseSeen

MAX_EVENT_BYTES = 1024 * 1024
MAX_PICTURE_EVENT_BYTES = 16 * 1024 * 1024
"""A picture comes whole in one event, as base64: of the images API, and of a response that draws with a tool."""
DONE = b"data: [DONE]\n\n"

_MAX_CHOICES = 128

# Members of a delta that are not output: everything else that is not empty commits, also what is not invented yet.
_NOT_OUTPUT = frozenset({"role", "obfuscation"})

# Responses API: events that show nothing of the answer yet.
_PREAMBLE = frozenset({"response.created", "response.queued", "response.in_progress"})
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


class StreamReader:
    """Reads one attempt's stream. `requested_model`: the name to write into every chunk (B41), None = as it came.

    `choices`: how many the request asks for; before that many have finished the answer is not complete, unless the
    stream itself ends.

    `hides_usage`: the client did not ask for usage, we did; the extra chunk that tells it is not handed on (B32).

    `strict`: whether no part of the answer may be missing, asked only when an event is malformed; None: always. Else
    one in the text of an answer that goes on well is dropped and counted (B28).

    An error event is handed on as it came, because it is in the client's own terms, and nothing after it: no `[DONE]`.
    """

    def __init__(
        self,
        operation: Operation,
        requested_model: str | None = None,
        choices: int = 1,
        *,
        hides_usage: bool = False,
        strict: Callable[[], bool] | None = None,
    ) -> None:
        self.committed = False
        """Content, reasoning, a refusal or a tool call was seen, or a whole answer without any (B24)."""
        self.finished = False
        """Every choice that was seen has its finish reason, or the terminal event came."""
        self.done = False
        """The terminal event was seen; nothing after it is read (B34)."""
        self.error: ProviderError | None = None
        """What an error event said, the first one or a later one; response.failed too."""
        self.broken: str | None = None
        """Why the stream cannot be read on, in our words."""
        self.events = 0
        self.tokens_seen = 0
        """Events with output in them, so an estimate of the tokens sent; never presented as usage. Committed with none:
        a complete answer without output, which may still be ContentPolicy (`answer`)."""
        self.terminator = b"" if operation is RESPONSES else DONE
        """What is supplied where a stream is finished and its terminal event does not come (B27)."""
        self.max_event_bytes = MAX_PICTURE_EVENT_BYTES if operation is RESPONSES else MAX_EVENT_BYTES
        self._operation = operation
        self._choices = choices
        self._hides_usage = hides_usage
        self.dropped = 0
        """Malformed events that were left out."""
        self._strict = strict
        self._solid = True  # the last event was well-formed
        self._tools = False
        self._model_literal = None if requested_model is None else jsonspan.quote(requested_model)
        self._scanner = sse.Scanner()
        self._read = self._response_event if operation is RESPONSES else self._chunk
        self._finish: dict[int, str | None] = {}  # by choice index
        self._reasons: tuple[str, ...] = ()
        self._usage: Usage = usage.NO_USAGE
        self._model: str | None = None
        self._id: str | None = None
        self._created_at = 0
        self._sequence = -1

    def __repr__(self) -> str:
        marks = [name for name in ("committed", "finished", "done", "error", "broken") if getattr(self, name)]
        return f"<StreamReader {self._operation.name}: {self.events} events, {' '.join(marks) or 'preamble'}>"

    @property
    def pending(self) -> int:
        """Bytes of the event that is not whole yet."""
        return self._scanner.pending

    def feed(self, data: bytes) -> bytes:
        """The whole events that may go on. A partial one is kept; nothing comes after the terminal event."""
        if self._ended():
            return b""
        passed: list[bytes] = []
        for event in self._scanner.feed(data):
            passed.append(self._take(event))
            if self._ended():
                return b"".join(passed)
        if self._scanner.pending > self.max_event_bytes:
            self._too_large()
        return b"".join(passed)

    def close(self) -> bytes:
        """The stream has ended: what is left, where it is a whole event that only lacks its line ends."""
        passed = self._rest()
        if not self._ended() and self._finish and all(self._finish.values()):
            self._complete()  # fewer choices than were asked for, and no more will come
        return passed

    def _rest(self) -> bytes:
        event = None if self._ended() else self._scanner.close()
        if event is None or event.comment_only or not event.data or len(event.raw) > self.max_event_bytes:
            return b""
        if not event.data.startswith(b"[DONE]"):
            try:
                jsonspan.decode(event.data)
            except jsonspan.NotJsonError:
                return b""
        return self._take(event)

    def answer(self) -> Answer:
        """What the stream came to so far, and what it told of itself."""
        if self._operation is not RESPONSES:
            self._reasons = tuple(reason for _, reason in sorted(self._finish.items()) if reason)
        return Answer(
            outcome=self._outcome(),
            usage=self._usage,
            model=self._model,
            response_id=self._id,
            finish_reasons=self._reasons,
            error=self.error or NO_ERROR,
            dropped=self.dropped,
        )

    def error_event(self, code: str, message: str) -> bytes:
        """The event that tells the client of a fault after the commit, in the terms of this stream (B25)."""
        seen = ResponseSeen(self._id or "resp_unknown", self._model or "", self._created_at, self._sequence + 1)
        return openai_errors.error_event(self._operation, code, message, seen)

    def _outcome(self) -> Outcome:
        if self.broken is not None:
            return Outcome.BROKEN
        if self.error is not None:
            return Outcome.BROKEN if self.committed else Outcome.EMPTY
        if self.finished:
            return openai_answer.outcome_of(self._reasons)
        # Nothing but preamble of no choice, or an end in the middle.
        return Outcome.BROKEN if self.committed or self._finish else Outcome.EMPTY

    def _ended(self) -> bool:
        return self.done or self.error is not None or self.broken is not None

    def _too_large(self) -> None:
        self.broken = f"an event is larger than {self.max_event_bytes} bytes"

    def _take(self, event: sse.Event) -> bytes:
        """Note what the event says; its bytes, if they may go on."""
        if len(event.raw) > self.max_event_bytes:
            self._too_large()
            return b""
        if event.comment_only:
            return event.raw
        if not event.data:  # no event at all by the specification, yet SDKs try to read it
            return b""
        self.events += 1
        if event.data.startswith(b"[DONE]"):
            if self._operation is RESPONSES:  # whose own terminal event would have come before it
                self.broken = "the stream says that it is done, without the end of the response"
                return b""
            self._end_of_stream()
            return event.raw
        try:
            document = jsonspan.decode(event.data)
        except jsonspan.NotJsonError as exc:
            return self._malformed(event, f"event {self.events} is not valid JSON: {exc}")
        if not isinstance(document, dict):
            return self._malformed(event, f"event {self.events} is not a JSON object")
        self._solid = True
        if event.event == "error":
            self.error = openai_errors.error_of(document)
        else:
            self._read(document)
            if self._hides_usage and openai_usage.is_extra(document):
                return b""
        return event.raw if self._model_literal is None else self._rewritten(event, document, self._model_literal)

    def _malformed(self, event: sse.Event, why: str) -> bytes:
        """Dropped in plain text, once in a row; else the stream cannot be read on. It never goes on to the client.

        After the last finish it is no part of the answer, whatever that is.
        """
        if self.finished:
            self.dropped += 1
            return b""
        plain = self.committed and not self._tools and b"tool" not in event.raw and b"function_call" not in event.raw
        if plain and self._solid and self._strict is not None and not self._strict():
            self.dropped, self._solid = self.dropped + 1, False
        else:
            self.broken = why
        return b""

    def _end_of_stream(self) -> None:
        self.done = True
        if self._finish or self.committed:
            self._complete()

    def _complete(self) -> None:
        self.finished = True
        self.committed = True

    # Chat and text completions

    def _chunk(self, chunk: dict[str, Any]) -> None:
        if chunk.get("error") or chunk.get("object") == "error":
            self.error = openai_errors.error_of(chunk)
            return
        if self._id is None:
            self._id = word(chunk.get("id"))
        if self._model is None:
            self._model = word(chunk.get("model"))
        told = chunk.get("usage")
        if told is None and "x_groq" in chunk:
            told = chunk["x_groq"].get("usage") if isinstance(chunk["x_groq"], dict) else None
        if told is not None:
            self._usage = usage.read(told)
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return
        output = False
        for choice in choices:
            if isinstance(choice, dict):
                output = self._choice(choice) or output
        if output:
            self.tokens_seen += 1
            self.committed = True
        if len(self._finish) >= self._choices and all(self._finish.values()):
            self._complete()
        else:
            self.finished = False

    def _choice(self, choice: dict[str, Any]) -> bool:
        """Note one choice; whether there is output in it."""
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        reason = word(choice.get("finish_reason"))
        known = index in self._finish
        if (known and reason is not None) or (not known and len(self._finish) < _MAX_CHOICES):
            self._finish[index] = reason
        if choice.get("text"):
            return True
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return False
        if delta.get("tool_calls") or delta.get("function_call"):
            self._tools = True
        return any(value and name not in _NOT_OUTPUT for name, value in delta.items())

    # Responses

    def _response_event(self, event: dict[str, Any]) -> None:
        kind = word(event.get("type")) or ""
        sequence = event.get("sequence_number")
        if isinstance(sequence, int):
            self._sequence = sequence
        response, item = event.get("response"), event.get("item")
        if isinstance(response, dict):
            self._response(response)
        if isinstance(item, dict) and item.get("type") not in ("message", "reasoning"):
            self._tools = True
        typed = kind.startswith("response.")
        if kind == "error" or (not typed and event.get("error")):
            self.error = openai_errors.error_of(event)
        elif kind in _TERMINAL:
            self.done = True
            if kind == "response.failed":
                self.error = openai_errors.error_of(response)
            else:
                self._complete()
        elif typed and _shows_output(kind, event):
            self.committed = True
            if self.tokens_seen == 0 or not kind.endswith(".done"):  # those repeat what came before
                self.tokens_seen += 1

    def _response(self, response: dict[str, Any]) -> None:
        self._id = word(response.get("id")) or self._id
        self._model = word(response.get("model")) or self._model
        created = response.get("created_at")
        self._created_at = int(created) if isinstance(created, int | float) else self._created_at
        self._reasons = openai_answer.response_reasons(response)
        if response.get("usage") is not None:
            self._usage = usage.read(response["usage"])

    # The model's name (B41)

    def _rewritten(self, event: sse.Event, document: dict[str, Any], literal: bytes) -> bytes:
        spans: list[tuple[int, int]] = []
        data, raw = event.data, event.raw
        if self._operation is RESPONSES:
            if isinstance(document.get("response"), dict):
                for nested in jsonspan.find(data, "response"):
                    inner = openai_answer.model_spans(data[nested.start : nested.end])
                    spans.extend((nested.start + start, nested.start + end) for start, end in inner)
        elif isinstance(document.get("model"), str):
            quick = jsonspan.sole_string(data, b"model")
            spans = [quick] if quick is not None else openai_answer.model_spans(data)
        for start, end in reversed(spans):
            raw = sse.replace_data(event, start, end, literal)
            event = event._replace(raw=raw)
        return raw


def _shows_output(kind: str, event: dict[str, Any]) -> bool:
    """Whether an event of the Responses API shows anything of the answer. Items begin empty, tool calls do not."""
    if kind in _PREAMBLE:
        return False
    if kind == "response.output_item.added":
        item = event.get("item")
        if isinstance(item, dict) and item.get("type") in ("message", "reasoning"):
            return bool(item.get("content") or item.get("summary"))
    if kind in ("response.content_part.added", "response.reasoning_summary_part.added"):
        part = event.get("part")
        return isinstance(part, dict) and bool(part.get("text") or part.get("refusal"))
    return True
