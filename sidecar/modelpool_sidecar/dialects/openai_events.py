"""Streams of typed events without choices: pictures, speech, transcripts; and a response that is told once more.

Each event is one of three: it ends one result (`*.completed`, `*.done`), it tells of an error, or it carries output.
"""

from dataclasses import replace
from typing import Any

from modelpool_sidecar.core import usage
from modelpool_sidecar.core.catalogue import CHAT, RESPONSES, Operation
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.dialects import openai_errors
from modelpool_sidecar.dialects.openai_answer import Answer, word
from modelpool_sidecar.dialects.openai_stream import MAX_PICTURE_EVENT_BYTES, StreamReader

_ENDS = (".completed", ".done")


class TypedReader(StreamReader):
    """Reads a stream of typed events. `choices`: so many results end it, where they come one by one."""

    def __init__(self, operation: Operation, requested_model: str | None = None, choices: int = 1) -> None:
        super().__init__(operation, requested_model, choices)
        self.terminator = b""
        self.max_event_bytes = MAX_PICTURE_EVENT_BYTES
        self._read = self._typed

    def answer(self) -> Answer:
        """As of any stream; its ends are no reasons of a model."""
        return replace(super().answer(), finish_reasons=())

    def _typed(self, event: dict[str, Any]) -> None:
        kind = word(event.get("type")) or ""
        if kind == "error" or event.get("error"):
            self.error = openai_errors.error_of(event)
            return
        self.committed = True
        self.tokens_seen += 1
        if kind.endswith(_ENDS):
            self._usage = usage.read(event.get("usage"))
            self._finish[len(self._finish)] = kind
            if len(self._finish) >= self._choices:
                self._complete()


class RetoldReader(StreamReader):
    """Reads the stream of a response that its provider has kept. Whatever became of it is what was asked for."""

    def __init__(self, operation: Operation, requested_model: str | None = None, choices: int = 1) -> None:
        super().__init__(RESPONSES, requested_model, choices)

    def answer(self) -> Answer:
        """As of any stream; its tokens were counted when it was made."""
        told = super().answer()
        filtered = told.outcome is Outcome.CONTENT_POLICY
        return replace(told, usage=usage.NO_USAGE, outcome=Outcome.OK if filtered else told.outcome)

    def error_event(self, code: str, message: str) -> bytes:
        """Not the end of the response: it goes on at its provider."""
        return openai_errors.error_event(CHAT, code, message)

    def _response_event(self, event: dict[str, Any]) -> None:
        if event.get("type") == "response.failed":
            self.done = True
            self._complete()
        else:
            super()._response_event(event)
