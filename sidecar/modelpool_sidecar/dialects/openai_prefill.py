"""The request once more, to be gone on with from a text: how servers of the OpenAI dialect are told so (B26).

None of it is in OpenAI's own API. A text completion just has a longer prompt. Of a chat the text so far is a last
message of the assistant, which a server takes as the beginning of its own by itself or when it is told to:

- Message: by itself (llama.cpp, Ollama, SGLang, OpenRouter and many gateways).
- Prefix: with `"prefix": true` on that message (Mistral, DeepSeek's beta API). Some answer with the whole text again.
- Partial: with `"partial": true` on it (Moonshot, DashScope).
- ContinueFinal: with `continue_final_message` and without `add_generation_prompt` (vLLM).
"""

from collections.abc import Mapping
from typing import Any

from modelpool_config.models import Prefill
from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.operations import COMPLETIONS, Operation
from modelpool_sidecar.core.parameters import OUTPUT_LIMITS
from modelpool_sidecar.dialects.openai_splice import dump

ECHOES: frozenset[Prefill] = frozenset({"Prefix"})
"""Where an answer may begin with the text that it was to go on from."""

_MARKS: Mapping[Prefill, str] = {"Prefix": "prefix", "Partial": "partial"}
_FINAL = {"continue_final_message": b"true", "add_generation_prompt": b"false"}


def body(operation: Operation, asked: bytes, text: str, way: Prefill, tokens: int) -> bytes | None:
    """The body that asks for the rest after `text`, which took about `tokens`; None where it cannot be asked for."""
    document = jsonspan.decode(asked)
    if not _is_whole(text):
        return None  # half a surrogate pair at its end: no server reads that
    changed = _prompt(document, text) if operation is COMPLETIONS else _messages(asked, document, text, way)
    if changed is None:
        return None
    for name in OUTPUT_LIMITS[operation.name]:
        limit = document.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool):
            changed[name] = b"%d" % max(1, limit - tokens)
    found = list(jsonspan.members(asked))
    there = {each.key for each in found}
    added = [b"%b:%b" % (dump(name), value) for name, value in changed.items() if name not in there]
    places = {place: changed[each.key] for place, each in enumerate(found) if each.key in changed}
    return jsonspan.rewrite(asked, found, places, added)


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return False
    return True


def _whole(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _prompt(document: Mapping[str, Any], text: str) -> dict[str, bytes] | None:
    prompt = document.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    return {"prompt": dump(prompt + _whole(text))} if isinstance(prompt, str) else None


def _messages(asked: bytes, document: Mapping[str, Any], text: str, way: Prefill) -> dict[str, bytes] | None:
    """With the text as the last message; where the client's own last one is an assistant's, at its end."""
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    last, more = messages[-1], _FINAL if way == "ContinueFinal" else {}
    mark = _MARKS.get(way)
    flag = {} if mark is None else {mark: True}
    if isinstance(last, dict) and last.get("role") == "assistant":
        content = last.get("content")
        if last.get("tool_calls") or not isinstance(content, str):
            return None
        return {"messages": dump([*messages[:-1], {**last, "content": _whole(content + text), **flag}]), **more}
    array = next(asked[each.start : each.end] for each in jsonspan.members(asked) if each.key == "messages")
    said = dump({"role": "assistant", "content": _whole(text), **flag})
    return {"messages": b"%b,%b]" % (array[: array.rindex(b"]")], said), **more}
