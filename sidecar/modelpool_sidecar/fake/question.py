"""What a client asks of a model, read from the body of its request as the OpenAI API reads it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelpool_sidecar.fake import errors
from modelpool_sidecar.fake.errors import APIError

MAX_CHOICES = 128

PATHS: dict[str, str] = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/responses": "responses",
}
"""Path below /v1 -> operation, all of them POST."""

_NEEDED = {"chat": "messages", "completions": "prompt", "embeddings": "input", "responses": "input"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `schema`: of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a model.

    `inputs`: how many answers the input asks for at once (prompts of a completion, texts of an embedding). `tools`: to
    be called now, in this order, none where text is wanted. `schema`: the JSON that is wanted, None for plain text.
    `begun`: the answer so far, where the last message is the assistant's: it is gone on with.
    """

    operation: str
    model: str
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    schema: object = None
    inputs: tuple[str, ...] = ()
    base64: bool = False
    dimensions: int | None = None
    begun: str = ""
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def prompt_tokens(self) -> int:
        """About four bytes each, at least one: the count is made up, but the same for the same prompt."""
        return max(1, sum(len(text.encode("utf-8", "replace")) for text in self.inputs) // 4)


def peek(body: bytes) -> tuple[str | None, bool]:
    """Model and stream flag of any body, as far as they can be read."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None, False
    if not isinstance(content, dict):
        return None, False
    model = content.get("model")
    return model if isinstance(model, str) else None, content.get("stream") is True


def read(operation: str, raw: bytes) -> Question | APIError:
    """The question in this body, or what the API would say to it."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return errors.invalid("We could not parse the JSON body of your request.")
    if not isinstance(body, dict):
        return errors.invalid("The body of your request must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return errors.invalid("you must provide a model parameter")
    needed = _NEEDED[operation]
    if body.get(needed) in (None, []):
        return errors.missing(needed)
    choices = body.get("n", 1)
    if choices is None:
        choices = 1
    if not _is_count(choices) or not 1 <= choices <= MAX_CHOICES:
        return errors.invalid(f"Invalid value for 'n': must be between 1 and {MAX_CHOICES}.", "n", "invalid_value")
    options = body.get("stream_options")
    return Question(
        operation=operation,
        model=model,
        stream=body.get("stream") is True and operation != "embeddings",
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        choices=choices,
        max_tokens=_first_count(body, ("max_completion_tokens", "max_tokens", "max_output_tokens")),
        tools=_tools(operation, body),
        schema=_schema(body),
        inputs=_inputs(operation, body[needed], body),
        base64=body.get("encoding_format") == "base64",
        dimensions=_first_count(body, ("dimensions",)),
        begun=_begun(operation, body[needed]),
        body=body,
    )


def _begun(operation: str, messages: object) -> str:
    last = messages[-1] if operation == "chat" and isinstance(messages, list) else None
    if not isinstance(last, dict) or last.get("role") != "assistant" or last.get("tool_calls"):
        return ""
    content = last.get("content")
    return content if isinstance(content, str) else ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _first_count(body: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((body[name] for name in names if _is_count(body.get(name)) and body[name] > 0), None)


def _inputs(operation: str, value: object, body: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of the input: one for each prompt or embedding, one for all messages of a conversation."""
    if operation in {"chat", "responses"}:
        return ("".join(_texts([value, body.get("instructions")])),)
    if not isinstance(value, list):
        return (value if isinstance(value, str) else str(value),)
    if all(_is_count(token) for token in value):
        return ("".join(f"<{token}>" for token in value),)  # one input, as tokens
    return tuple(text if isinstance(text, str) else str(text) for text in value)


def _texts(value: object) -> list[str]:
    """All text in messages, wherever it stands."""
    found: list[str] = []
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.get(key) for key in ("content", "text", "output", "arguments"))
    return found


def _schema(body: Mapping[str, Any]) -> object:
    """The schema of the structured output: chat's response_format, responses' text.format."""
    wanted = body.get("response_format")
    text = body.get("text")
    if wanted is None and isinstance(text, dict):
        wanted = text.get("format")
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return {"type": "object"}
    if wanted.get("type") != "json_schema":
        return None
    inner = wanted.get("json_schema")
    return (inner if isinstance(inner, dict) else wanted).get("schema") or {"type": "object"}


def _tools(operation: str, body: Mapping[str, Any]) -> tuple[Tool, ...]:
    """Which functions the model calls now: none once it was told a result, so that a loop of an agent ends.

    Where `parallel_tool_calls` is true it calls all it may, else the first; `tool_choice` may name it.
    """
    choice = body.get("tool_choice")
    offered = [tool for tool in map(_tool, body.get("tools") or ()) if tool is not None]
    if not offered or choice == "none" or _was_told(operation, body):
        return ()
    if isinstance(choice, dict):
        named = choice.get("name") or (choice.get("function") or {}).get("name")
        offered = [tool for tool in offered if tool.name == named] or offered
    return tuple(offered) if body.get("parallel_tool_calls") is True else (offered[0],)


def _tool(entry: object) -> Tool | None:
    if not isinstance(entry, dict) or entry.get("type") != "function":
        return None
    function = entry.get("function") if isinstance(entry.get("function"), dict) else entry
    assert function is not None
    name, schema = function.get("name"), function.get("parameters")
    return Tool(name, schema if isinstance(schema, dict) else {}) if isinstance(name, str) else None


def _was_told(operation: str, body: Mapping[str, Any]) -> bool:
    items = body.get("messages" if operation == "chat" else "input")
    last = items[-1] if isinstance(items, list) else None
    return isinstance(last, dict) and (last.get("role") == "tool" or last.get("type") == "function_call_output")
