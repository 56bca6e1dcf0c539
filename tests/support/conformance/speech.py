"""What is asked and what is answered, for each operation."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Operation = Literal["chat", "responses", "completions"]
OPERATIONS: tuple[Operation, ...] = ("chat", "responses", "completions")
PATHS: dict[str, Operation] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
}
WORDS = ("one ", "two ", "three ", "four ", "fünf ", "six ", "seven ", "eight")
USAGE = {"prompt_tokens": 3, "completion_tokens": len(WORDS), "total_tokens": 3 + len(WORDS)}
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Way:
    """One operation, as a stream or not."""

    operation: Operation
    stream: bool

    @property
    def path(self) -> str:
        return next(path for path, operation in PATHS.items() if operation == self.operation)

    def body(self, ident: str, model: str = "chat", padding: int = 0, **more: Any) -> bytes:
        """A request that carries its id; `padding`: so many bytes more."""
        prompt = ident + " " + "x" * padding
        asked: dict[str, Any] = {"model": model, "stream": self.stream, **more}
        match self.operation:
            case "chat":
                asked["messages"] = [{"role": "user", "content": prompt}]
            case "responses":
                asked["input"] = prompt
            case "completions":
                asked["prompt"] = prompt
        return json.dumps(asked).encode()

    def __str__(self) -> str:
        return f"{self.operation} {'stream' if self.stream else 'whole'}"


WAYS = tuple(Way(operation, stream) for operation in OPERATIONS for stream in (False, True))


def text_of(who: str, ident: str) -> str:
    """What the provider `who` says to the request `ident`; nobody else says it to anybody else."""
    return f"{who} to {ident}: {''.join(WORDS)}"


class Speech:
    """One answer in the terms of its operation, in the pieces that a fault may come between."""

    def __init__(
        self, operation: Operation, who: str, ident: str, *, usage: bool = False, filtered: bool = False
    ) -> None:
        self.operation, self.who, self.ident = operation, who, ident
        self.words = [f"{who} to {ident}: ", *WORDS]
        self.text = text_of(who, ident)
        self._number = 0
        self._usage, self._filtered = usage, filtered
        self._reason = reason = "content_filter" if filtered else "stop"
        match operation:
            case "chat":
                self.preamble = [self._chunk({"role": "assistant", "content": ""})]
                self.deltas = [self._chunk({"content": word}) for word in self.words]
                self.finish = [self._chunk({}, reason)]
            case "completions":
                self.preamble = []
                self.deltas = [self._text(word) for word in self.words]
                self.finish = [self._text("", reason)]
            case "responses":
                begun = self._response("in_progress")
                self.preamble = [
                    self._event("response.created", response=begun),
                    self._event("response.in_progress", response=begun),
                ]
                self.deltas = [
                    self._event("response.output_text.delta", item_id="m", output_index=0, content_index=0, delta=word)
                    for word in self.words
                ]
                self.finish = [
                    self._event(
                        "response.output_text.done", item_id="m", output_index=0, content_index=0, text=self.text
                    )
                ]
        self.ending = self._ending(usage)

    def go_on(self, given: str) -> None:
        """Only what follows after the text that ends `given`."""
        said = ""
        for count, word in enumerate(self.words, 1):
            said += word
            if given.endswith(said):
                del self.deltas[:count]
                return

    @property
    def events(self) -> list[bytes]:
        """All of a stream."""
        return [*self.preamble, *self.deltas, *self.finish, *self.ending]

    def until(self, phase: str) -> list[bytes]:
        """The events before that point of the stream."""
        match phase:
            case "head":
                return []
            case "preamble":
                return self.preamble or [b": wait\n\n"]
            case "first token":
                return [*self.preamble, *self.deltas[:1]]
            case "middle":
                return [*self.preamble, *self.deltas[:4]]
            case "inside an event":
                return [*self.preamble, *self.deltas[:4], self.deltas[4][: len(self.deltas[4]) // 2]]
            case "finish":
                return [*self.preamble, *self.deltas, *self.finish]
            case _:
                raise ValueError(phase)

    @property
    def whole(self) -> bytes:
        """The answer that is no stream."""
        frame = {"model": f"{self.who}-model", "created": 1, "id": f"id-{self.ident}"}
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._reason, "logprobs": None}
        match self.operation:
            case "chat":
                choice["message"] = {"role": "assistant", "content": self.text, "refusal": None}
                document = {**frame, "object": "chat.completion", "choices": [choice], "usage": USAGE}
            case "completions":
                choice["text"] = self.text
                document = {**frame, "object": "text_completion", "choices": [choice], "usage": USAGE}
            case "responses":
                document = self._response(self._status)
        return json.dumps(document, ensure_ascii=False).encode()

    def error_event(self, code: str = "server_error") -> bytes:
        """How the API itself says in mid-stream that it failed."""
        if self.operation == "responses":
            return self._event("error", code=code, message="it failed", param=None)
        return _data({"error": {"message": "it failed", "type": "server_error", "code": code, "param": None}})

    def filtered(self, *, text: bool) -> "Speech":
        """The same, but that the content filter ended it: after all the `text`, or before any."""
        other = Speech(self.operation, self.who, self.ident, usage=self._usage, filtered=True)
        if not text:
            other.text, other.deltas = "", []
            other.finish = other.finish if self.operation != "responses" else []
            other.ending = other._ending(self._usage)
        return other

    @property
    def _status(self) -> str:
        return "incomplete" if self._filtered else "completed"

    def _ending(self, usage: bool) -> list[bytes]:
        if self.operation == "responses":
            return [self._event(f"response.{self._status}", response=self._response(self._status))]
        frame = {"id": f"id-{self.ident}", "created": 1, "model": f"{self.who}-model"}
        kind = "chat.completion.chunk" if self.operation == "chat" else "text_completion"
        counted = [_data({**frame, "object": kind, "choices": [], "usage": USAGE})] if usage else []
        return [*counted, DONE]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        frame = {"id": f"id-{self.ident}", "object": "chat.completion.chunk", "created": 1}
        return _data({**frame, "model": f"{self.who}-model", "choices": [choice]})

    def _text(self, text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        frame = {"id": f"id-{self.ident}", "object": "text_completion", "created": 1}
        return _data({**frame, "model": f"{self.who}-model", "choices": [choice]})

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._number += 1
        return f"event: {kind}\n".encode() + _data({"type": kind, "sequence_number": self._number, **fields})

    def _response(self, status: str) -> dict[str, Any]:
        part = {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}
        item = {"id": "m", "type": "message", "status": status, "role": "assistant", "content": [part]}
        usage = {"input_tokens": 3, "output_tokens": len(WORDS), "total_tokens": 3 + len(WORDS)}
        return {
            "id": f"id-{self.ident}",
            "object": "response",
            "created_at": 1,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "content_filter"} if status == "incomplete" else None,
            "model": f"{self.who}-model",
            "output": [item] if status != "in_progress" and self.text else [],
            "usage": usage if status != "in_progress" else None,
        }


def _data(document: object) -> bytes:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n".encode()
