"""Whether a request is one whose answer may be kept and given again (B53): questions in text that leave no choice.

Never: what acts or is kept at a provider (tools, files, stored responses, B15a), what is not text (pictures and sound,
whose address may show something else tomorrow), what is answered by chance. A request that names no temperature has the
API's own, which is 1. Looked at is the body as each target would get it, with its parameters.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from modelpool_sidecar.core import cachekey, parameters
from modelpool_sidecar.core.catalogue import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Target

OPERATIONS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES)

_ACTS = ("tools", "functions", "web_search_options", "audio")
_TEXT = ("text", "refusal", "input_text", "output_text")


def asked(pool: Pool, request: Request, targets: Iterable[Target]) -> dict[str, Any] | str:
    """What the body says, where its answer may be kept, else why not; `targets`: those that may answer it."""
    ties = request.ties
    if request.operation not in OPERATIONS:
        return "only chat, text completions, embeddings and responses are kept"
    if ties.refers or ties.creates or (request.operation is RESPONSES and ties.kept):
        return "its answer is kept at the provider"
    found = cachekey.document(request.body)
    if found is None:
        return "a key stands twice in its body, or a number in it is too large"
    for change in dict.fromkeys(target.parameters for target in targets):
        why = _unfit(pool, request, found, change)
        if why is not None:
            return why
    return found


def _unfit(pool: Pool, request: Request, found: Mapping[str, Any], change: parameters.Parameters) -> str | None:
    if change:
        changed = cachekey.document(parameters.apply(request.body, request.operation.name, change))
        if changed is None:
            return "the parameters of the pool make a body in which a key stands twice, or a number is too large"
        found = changed
    if request.operation is EMBEDDINGS:
        return None
    acts = next((name for name in _ACTS if found.get(name)), None)
    if acts is not None:
        return f"it has {acts}"
    if found.get("store") is True:
        return "its answer is kept at the provider"
    if found.get("modalities") not in (None, ["text"]) or not _is_text(request, found):
        return "it is not about text alone"
    return None if _is_calm(pool, found) else "its temperature is not 0"


def _is_calm(pool: Pool, found: Mapping[str, Any]) -> bool:
    assert pool.cache is not None, "only a pool with a cache asks"
    temperature = found.get("temperature")
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    return pool.cache.any_temperature or (is_number and temperature == 0)


def _is_text(request: Request, found: Mapping[str, Any]) -> bool:
    if request.operation is CHAT:
        messages = found.get("messages")
        return isinstance(messages, list) and all(map(_is_spoken, messages))
    if request.operation is RESPONSES:
        said = found.get("input")
        entries = said if isinstance(said, list) else [said]
        return not found.get("prompt") and all(isinstance(each, str) or _is_spoken(each) for each in entries)
    return True


def _is_spoken(message: Any) -> bool:
    """Whether a message is words, all of it."""
    if not isinstance(message, dict) or message.get("type", "message") != "message" or message.get("audio"):
        return False
    content = message.get("content")
    if not isinstance(content, list):
        return content is None or isinstance(content, str)
    return all(isinstance(part, dict) and part.get("type") in _TEXT for part in content)
