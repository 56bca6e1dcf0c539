"""Chat completions and legacy completions: the answer as JSON and as events."""

from collections.abc import Iterator, Sequence
from typing import Any

from modelpool_sidecar.fake.question import Question
from modelpool_sidecar.fake.speech import Call, Speech
from modelpool_sidecar.fake.stream import DONE, Event, data


def chat(question: Question, speeches: Sequence[Speech], serial: str, created: int) -> dict[str, Any]:
    """A chat.completion."""
    choices = [
        {
            "index": index,
            "message": {
                "role": "assistant",
                "content": None if speech.calls else speech.text,
                "refusal": None,
                **({"tool_calls": [_call(call) for call in speech.calls]} if speech.calls else {}),
            },
            "logprobs": None,
            "finish_reason": speech.finish,
        }
        for index, speech in enumerate(speeches)
    ]
    return {
        **_frame(question, f"chatcmpl-{serial}", "chat.completion", created),
        "choices": choices,
        "usage": usage(question, speeches),
    }


def chat_events(question: Question, speeches: Sequence[Speech], serial: str, created: int) -> Iterator[Event]:
    """The chat.completion.chunks of a stream, [DONE] at its end."""
    frame = _frame(question, f"chatcmpl-{serial}", "chat.completion.chunk", created)

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data({**frame, "choices": [choice], **({"usage": None} if question.include_usage else {})})

    for index, speech in enumerate(speeches):
        opening = {"role": "assistant", "content": None if speech.calls else "", "refusal": None}
        yield Event(chunk(index, opening))
    for index, speech in enumerate(speeches):
        for token in speech.tokens:
            yield Event(chunk(index, {"content": token}), "token")
        for number, call in enumerate(speech.calls):
            begun = {"index": number, **_call(call), "function": {"name": call.name, "arguments": ""}}
            yield Event(chunk(index, {"tool_calls": [begun]}), "token")
            for piece in call.pieces:
                yield Event(
                    chunk(index, {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}), "token"
                )
    for index, speech in enumerate(speeches):
        yield Event(chunk(index, {}, speech.finish), "last")
    if question.include_usage:
        yield Event(data({**frame, "choices": [], "usage": usage(question, speeches)}), "last")
    yield Event(DONE, "last")


def completion(question: Question, speeches: Sequence[Speech], serial: str, created: int) -> dict[str, Any]:
    """A text_completion: `n` choices for each prompt."""
    return {
        **_frame(question, f"cmpl-{serial}", "text_completion", created),
        "choices": [_text(index, speech.text, speech.finish) for index, speech in enumerate(speeches)],
        "usage": usage(question, speeches),
    }


def completion_events(question: Question, speeches: Sequence[Speech], serial: str, created: int) -> Iterator[Event]:
    """The chunks of a streamed text_completion, [DONE] at its end."""
    frame = _frame(question, f"cmpl-{serial}", "text_completion", created)
    extra = {"usage": None} if question.include_usage else {}
    for index, speech in enumerate(speeches):
        for token in speech.tokens:
            yield Event(data({**frame, "choices": [_text(index, token, None)], **extra}), "token")
    for index, speech in enumerate(speeches):
        yield Event(data({**frame, "choices": [_text(index, "", speech.finish)], **extra}), "last")
    if question.include_usage:
        yield Event(data({**frame, "choices": [], "usage": usage(question, speeches)}), "last")
    yield Event(DONE, "last")


def usage(question: Question, speeches: Sequence[Speech]) -> dict[str, Any]:
    """Tokens in, tokens out, of all choices together."""
    asked, said = question.prompt_tokens, sum(speech.size for speech in speeches)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _frame(question: Question, identity: str, kind: str, created: int) -> dict[str, Any]:
    return {
        "id": identity,
        "object": kind,
        "created": created,
        "model": question.model,
        "system_fingerprint": "fp_fake",
    }


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _text(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
