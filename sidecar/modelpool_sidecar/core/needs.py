"""What a request needs of a model, and which targets have it (B6).

Only what is declared counts: a model that says nothing of its capabilities, its context or its output is taken to be
able to do everything, and is asked. Looked at is the body as the target would get it, with its parameters.

Tokens are estimated, a quarter of the bytes of text, so that a request is turned away only where it is clearly too
long; pictures, sound and files count nothing, because nobody knows what a provider makes of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelpool_sidecar.core import jsonspan, parameters
from modelpool_sidecar.core.operations import BY_WORD, COMPLETIONS, EMBEDDINGS, RESPONSES
from modelpool_sidecar.core.parameters import OUTPUT_LIMITS, Parameters
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Target

Tiers = tuple[tuple[Target, ...], ...]

BYTES_PER_TOKEN = 4

_WORDS = {operation.name: word for word, operations in BY_WORD.items() for operation in operations}

_PARTS = {
    "image_url": "Vision",
    "input_image": "Vision",
    "input_audio": "Audio",
    "file": "Documents",
    "input_file": "Documents",
}
"""By the type of a content part, what it takes to read it."""
_TOKENS_OF = {"Vision": 800, "Audio": 600, "Documents": 2000}
"""Of one such part, where a limit counts tokens: a picture of middle size, a minute of sound, a few pages."""
_TOKENS_OF_TYPE = {kind: _TOKENS_OF[ability] for kind, ability in _PARTS.items()}
_OF_PROMPTS = {COMPLETIONS.name: "prompt", EMBEDDINGS.name: "input"}
_TEXTS = ("messages", "input", "instructions", "tools", "functions")
_OPAQUE = frozenset({"image_url", "input_audio", "file", "file_data", "audio", "data"})
"""Members that hold no text, or none that is tokens."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one body asks for. `output`: the most tokens of an answer, None where it sets no limit. `most_tokens`: more
    than these cannot be in so many bytes, so that most bodies are known to fit without a look at their text."""

    capabilities: frozenset[str]
    output: int | None
    most_tokens: int
    document: dict[str, Any] = field(repr=False)
    operation: str

    def input_tokens(self) -> int:
        """At least about so many."""
        return _text_bytes(self.document, self.operation) // BYTES_PER_TOKEN


def document(body: bytes) -> dict[str, Any]:
    """What a body says; it is known to be a JSON object."""
    said: dict[str, Any] = jsonspan.decode(body)
    return said


def output(document: Mapping[str, Any], operation: str) -> int | None:
    """The most tokens of an answer that it asks for; None where it sets no limit."""
    most = None
    for name in OUTPUT_LIMITS.get(operation, ()):
        limit = document.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool) and (most is None or limit > most):
            most = limit
    return most


def text_bytes(document: Mapping[str, Any], operation: str) -> int:
    """Of all text, of all prompts where there are several."""
    if operation in _OF_PROMPTS:
        prompts = document.get(_OF_PROMPTS[operation])
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            return sum(_prompt_bytes(each) for each in prompts)
        return _prompt_bytes(prompts)
    return _text_bytes(document, operation)


def fixed_tokens(document: Mapping[str, Any]) -> int:
    """Of pictures and sounds: a constant for each, because what is made of them nobody knows before."""
    kinds = (part.get("type") for part in _parts(document.get("messages") or document.get("input")))
    return sum(_TOKENS_OF_TYPE.get(kind, 0) for kind in kinds if isinstance(kind, str))


def read(body: bytes, operation: str) -> Needs:
    """What a body needs; it is known to be a JSON object."""
    said = document(body)
    shortest = 2 if operation in _OF_PROMPTS else BYTES_PER_TOKEN  # a digit and a comma is a token of a prompt
    needed = frozenset(_capabilities(said, operation))
    return Needs(needed, output(said, operation), len(body) // shortest, said, operation)


def fitting(pool: Pool, request: Request, tiers: Tiers) -> Tiers | Refusal:
    """The tiers without the targets that cannot serve the request; a 400 that says what is lacking where none can."""
    if not pool.selective:
        return tiers
    lacking = lacks(request, (target for tier in tiers for target in tier))
    if not lacking:
        return tiers
    left = tuple(tier for tier in (tuple(t for t in tier if t.name not in lacking) for tier in tiers) if tier)
    return left or _refusal(pool, lacking)


def lacks(request: Request, targets: Iterable[Target]) -> dict[str, str]:
    """What each target that cannot serve the request lacks, by its name: the end of a sentence that begins with it."""
    known: dict[Parameters, Needs] = {}
    told = ((target.name, _lack(target, request, known)) for target in targets)
    return {name: lack for name, lack in told if lack is not None}


def _refusal(pool: Pool, lacking: dict[str, str]) -> Refusal:
    told = "; ".join(f"{name} {lack}" for name, lack in lacking.items())
    too_long = all(lack.startswith(_CONTEXT) for lack in lacking.values())
    code = "context_length_exceeded" if too_long else "capability_missing"
    return Refusal(code, f"pool {pool.name}: no target can serve this request: {told}")


_CONTEXT = "has a context of"


def _lack(target: Target, request: Request, known: dict[Parameters, Needs]) -> str | None:
    """What the target cannot do, as the end of a sentence that begins with its name; None where it can."""
    provider, operation = target.provider, request.operation.name
    if provider.operations is not None and operation not in provider.operations:
        return f"does not take {_WORDS.get(operation, operation)}"
    model = provider.models.get(target.model or request.model or "")
    if model is None or request.operation.answer != "model":  # what pictures and sound need is not declared
        return None
    needs = known.get(target.parameters)
    if needs is None:
        changed = parameters.apply(request.body, operation, target.parameters) if target.parameters else request.body
        needs = known[target.parameters] = read(changed, operation)
    if model.capabilities is not None and (missing := needs.capabilities - model.capabilities):
        return f"lacks {' and '.join(sorted(missing))}"
    if model.output is not None and needs.output is not None and needs.output > model.output:
        return f"answers with at most {model.output} tokens, not {needs.output}"
    output, tokens = needs.output or 0, needs.most_tokens
    if model.context is None or tokens + output <= model.context:
        return None
    if (tokens := needs.input_tokens()) + output <= model.context:
        return None
    asked = f"about {tokens} are sent" + (f" and {output} asked for" if output else "")
    return f"{_CONTEXT} {model.context} tokens, and {asked}"


def _capabilities(document: dict[str, Any], operation: str) -> Iterator[str]:
    if operation == EMBEDDINGS.name:
        yield "Embeddings"
        return
    if document.get("tools") or document.get("functions"):
        yield "Tools"
        if document.get("parallel_tool_calls") is True:
            yield "ParallelTools"
    wanted = _member(document, "text", "format") if operation == RESPONSES.name else document.get("response_format")
    if _member(wanted, "type") == "json_schema":
        yield "JSONSchema"
    effort = document.get("reasoning_effort") or _member(document, "reasoning", "effort")
    if effort and effort != "none":
        yield "Reasoning"
    modalities = document.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        yield "Audio"
    for part in _parts(document.get("messages") or document.get("input")):
        needed = _PARTS.get(str(part.get("type")))
        if needed is not None:
            yield needed


def _parts(items: Any) -> Iterator[dict[str, Any]]:
    """The parts of messages: items themselves, their contents, and what tools returned."""
    for item in _objects(items):
        yield item
        for name in ("content", "output"):
            inner = item.get(name)
            if isinstance(inner, list):
                yield from _objects(inner)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _member(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text_bytes(document: Mapping[str, Any], operation: str) -> int:
    """The bytes of text; of several prompts those of the longest one: each has the context to itself."""
    if operation in _OF_PROMPTS:
        prompts = document.get(_OF_PROMPTS[operation])
        if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
            return max(_prompt_bytes(each) for each in prompts)
        return _prompt_bytes(prompts)
    return sum(_bytes(document[name]) for name in _TEXTS if name in document)


def _prompt_bytes(prompt: Any) -> int:
    """A prompt may be a list of tokens, each of which counts as its usual bytes."""
    return len(prompt) * BYTES_PER_TOKEN if isinstance(prompt, list) else _bytes(prompt)


def _bytes(value: Any) -> int:
    """Of every string in a value, keys left out; without recursion, however deep it is."""
    total, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            total += len(each) if each.isascii() else len(each.encode("utf-8", "replace"))
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += [inner for name, inner in each.items() if name not in _OPAQUE]
    return total
