"""An answer that was kept, given again: as a stream or not, as it is asked for (B53).

What came as it is asked for goes out byte for byte. Else it is read into the one form, the object that is the answer
without a stream, and written in the other: of a stream one chunk with the role, one with the content of a choice, one
with its finish reason, the usage where it is asked for, `[DONE]`. Id and time are those of the answer that was kept.
Only what can be read completely is kept at all: a member of a delta that we do not know how to put together, a tool
call, an answer that was cut off or is empty is not. The events of the Responses API tell more than their end does, so
that its streams are given again as streams only.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from modelpool_sidecar.core import cachekey, sse
from modelpool_sidecar.core import usage as tokens
from modelpool_sidecar.core.cache import Entry
from modelpool_sidecar.core.catalogue import CHAT, EMBEDDINGS, RESPONSES, Operation
from modelpool_sidecar.core.record import Usage

_DONE = b"data: [DONE]\n\n"
_TOLD = ("id", "created", "model", "system_fingerprint", "service_tier")
"""What each chunk says of the whole answer."""
_WHOLE = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn"})
"""Finish reasons of an answer that nobody cut off and that asks for nothing."""
_SPOKEN = ("message", "reasoning")
_TEXTS = frozenset({"content", "refusal", "reasoning", "reasoning_content", "thinking"})
"""Members of a delta that come piece by piece."""


def kept(operation: Operation, body: bytes, *, stream: bool) -> bytes | None:
    """What is kept of an answer: all of it, of a stream without the comments that passed the time; None where it is no
    whole answer in words that can be read and given again."""
    events = [event for event in _events(body) if not event.comment_only] if stream else []
    found = _assembled(operation, events) if stream else _decoded(body)
    if found is None or not _is_kept(operation, found):
        return None
    return b"".join(event.raw for event in events) if stream else body


def replay(operation: Operation, entry: Entry, *, stream: bool, include_usage: bool) -> bytes | None:
    """The answer as it is asked for now; None where that would tell a usage that nobody knows."""
    if entry.stream == stream and (not stream or entry.include_usage == include_usage):
        return entry.body
    found = _assembled(operation, _events(entry.body)) if entry.stream else _decoded(entry.body)
    if found is None or operation is RESPONSES:
        return None
    if "usage" not in found and (told := _usage(entry.usage)) is not None:
        found["usage"] = told
    if (include_usage or not stream) and not found.get("usage"):
        return None
    return b"".join(_chunks(operation, found, include_usage)) if stream else _dumps(found)


def _is_kept(operation: Operation, found: dict[str, Any]) -> bool:
    if found.get("error"):
        return False
    if operation is EMBEDDINGS:
        return bool(found.get("data"))
    if operation is RESPONSES:
        return found.get("status") == "completed" and _says_something(found.get("output"))
    choices = found.get("choices")
    return isinstance(choices, list) and bool(choices) and all(_is_whole(operation, choice) for choice in choices)


def _is_whole(operation: Operation, choice: Any) -> bool:
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    if not isinstance(reason, str) or reason not in _WHOLE:
        return False
    if operation is not CHAT:
        return bool(choice.get("text"))
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("tool_calls") or message.get("function_call"):
        return False
    return bool((message.get("content") or message.get("refusal")) and not message.get("audio"))


def _says_something(output: Any) -> bool:
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        return False
    kinds = [item.get("type") for item in output]
    return "message" in kinds and all(kind in _SPOKEN for kind in kinds)


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:  # half a surrogate pair: JSON all the same
        return cachekey.document(body)
    return found if isinstance(found, dict) else None


def _events(body: bytes) -> Iterable[sse.Event]:
    scanner = sse.Scanner()
    events = scanner.feed(body)
    last = scanner.close()
    return events if last is None else [*events, last]


# From a stream


def _assembled(operation: Operation, events: Iterable[sse.Event]) -> dict[str, Any] | None:
    """The object of a stream; None where it cannot be put together."""
    found: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        if event.data.startswith(b"[DONE]"):
            continue
        chunk = _decoded(event.data)
        if chunk is None or chunk.get("error") or event.event == "error":
            return None
        if operation is RESPONSES:
            if chunk.get("type") == "response.completed":
                response = chunk.get("response")
                return response if isinstance(response, dict) else None
            continue
        for name in (*_TOLD, "usage"):
            if chunk.get(name) is not None:
                found[name] = chunk[name]
        more = chunk.get("choices") or []
        if not isinstance(more, list) or not all(_add(operation, choices, choice) for choice in more):
            return None
    kind = "chat.completion" if operation is CHAT else "text_completion"
    told = {name: found[name] for name in _TOLD if name in found}
    whole = {"object": kind, **told, "choices": [choices[index] for index in sorted(choices)]}
    return whole if "usage" not in found else {**whole, "usage": found["usage"]}


def _add(operation: Operation, choices: dict[int, dict[str, Any]], choice: Any) -> bool:
    """One piece of a choice; whether we know how."""
    index = choice.get("index", 0) if isinstance(choice, dict) else None
    if not isinstance(index, int):
        return False
    known = choices.get(index)
    if known is None:
        known = choices[index] = {"index": index, "finish_reason": None, "logprobs": None}
        known["message" if operation is CHAT else "text"] = {"role": "assistant"} if operation is CHAT else ""
    if choice.get("finish_reason") is not None:
        known["finish_reason"] = choice["finish_reason"]
    if choice.get("logprobs") is not None:
        known["logprobs"] = joined = _joined(known["logprobs"] or {}, choice["logprobs"])
        if joined is None:
            return False
    if operation is not CHAT:
        text = choice.get("text") or ""
        known["text"] += text if isinstance(text, str) else ""
        return isinstance(text, str)
    delta = choice.get("delta") or {}
    return isinstance(delta, dict) and all(_speak(known["message"], name, delta[name]) for name in delta)


def _speak(message: dict[str, Any], name: str, piece: Any) -> bool:
    if name == "obfuscation" or piece is None or piece == []:
        return True
    if name == "role":
        message["role"] = piece
    elif name == "annotations" and isinstance(piece, list):
        message[name] = [*message.get(name, ()), *piece]
    elif isinstance(piece, str) and name in _TEXTS:
        message[name] = message.get(name, "") + piece
    else:  # a word that some say in each chunk is one word
        return isinstance(piece, str) and message.setdefault(name, piece) == piece
    return True


def _joined(before: dict[str, Any], more: Any) -> dict[str, Any] | None:
    """The probabilities of the tokens so far."""
    if not isinstance(more, dict) or not all(value is None or isinstance(value, list) for value in more.values()):
        return None
    names = dict.fromkeys((*before, *more))
    return {
        name: None
        if before.get(name) is None and more.get(name) is None
        else [*(before.get(name) or ()), *(more.get(name) or ())]
        for name in names
    }


# To a stream


def _chunks(operation: Operation, found: dict[str, Any], include_usage: bool) -> Iterator[bytes]:
    kind = "chat.completion.chunk" if operation is CHAT else "text_completion"
    told = {"object": kind, **{name: found[name] for name in _TOLD if found.get(name) is not None}}
    for choice in found["choices"]:
        for piece in _pieces(operation, choice):
            yield _event({**told, "choices": [{"index": choice.get("index", 0), **piece}]})
    if include_usage:
        yield _event({**told, "choices": [], "usage": found["usage"]})
    yield _DONE


def _pieces(operation: Operation, choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    reason, logprobs = choice["finish_reason"], choice.get("logprobs")
    if operation is not CHAT:
        yield {"text": choice["text"], "logprobs": logprobs, "finish_reason": None}
        yield {"text": "", "logprobs": None, "finish_reason": reason}
        return
    message = choice["message"]
    said = {name: value for name, value in message.items() if name != "role" and value is not None and value != []}
    yield {"delta": {"role": message.get("role", "assistant"), "content": ""}, "logprobs": None, "finish_reason": None}
    yield {"delta": said, "logprobs": logprobs, "finish_reason": None}
    yield {"delta": {}, "logprobs": None, "finish_reason": reason}


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _dumps(chunk)


def _dumps(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:  # as above
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def _usage(told: Usage) -> dict[str, Any] | None:
    """As the API writes it, of what is known; None where the totals are not."""
    if told == tokens.NO_USAGE or told.input_tokens is None or told.output_tokens is None:
        return None
    written: dict[str, Any] = {
        "prompt_tokens": told.input_tokens,
        "completion_tokens": told.output_tokens,
        "total_tokens": told.input_tokens + told.output_tokens,
    }
    if told.cached_tokens is not None:
        written["prompt_tokens_details"] = {"cached_tokens": told.cached_tokens}
    if told.reasoning_tokens is not None:
        written["completion_tokens_details"] = {"reasoning_tokens": told.reasoning_tokens}
    return written
