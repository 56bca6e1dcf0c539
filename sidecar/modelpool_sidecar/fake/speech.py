"""What a fake model says: its tokens, its calls of tools, and why it stopped. Nothing of the prompt comes back."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Literal

from modelpool_sidecar.fake import schema
from modelpool_sidecar.fake.question import Question

GREETING = "I am {name} as {model}."
"""`{name}` is the provider's, `{model}` the model that was asked."""

_MORE = "There is more to say, so I go on for as many tokens as I was told to."
_JSON_TOKEN = 6  # characters


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function; `pieces` joined are its arguments."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """The arguments, as JSON."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Speech:
    """One answer. Either tokens or calls."""

    tokens: tuple[str, ...]
    calls: tuple[Call, ...]
    finish: Literal["stop", "length", "tool_calls"]

    @property
    def text(self) -> str:
        """The tokens as one text."""
        return "".join(self.tokens)

    @property
    def size(self) -> int:
        """How many tokens it took."""
        return len(self.tokens) + sum(len(call.pieces) for call in self.calls)


def speak(question: Question, greeting: str, serial: str, tokens: int | None = None) -> Speech:
    """The answer to this question. `greeting`: with its names filled in; `tokens`: how long plain text is."""
    if question.tools:
        return Speech((), tuple(_calls(question, serial)), "tool_calls")
    if question.schema is not None:
        said = tuple(_cut(_json(schema.minimal(question.schema))))
    else:
        said = _rest(question, plain(greeting, tokens))
    if question.max_tokens is not None and len(said) > question.max_tokens:
        return Speech(said[: question.max_tokens], (), "length")
    return Speech(said, (), "stop")


def begun(question: Question) -> int:
    """How many tokens of a conversation's answer are there already."""
    return len(plain(question.begun, None))


def _rest(question: Question, said: tuple[str, ...]) -> tuple[str, ...]:
    """What is left to say: after as many tokens as were begun with, or after those that a prompt ends with."""
    if question.operation != "completions":
        return said[begun(question) :]
    prompt = question.inputs[0] if question.inputs else ""
    known = max((n for n in range(1, len(said) + 1) if prompt.endswith("".join(said[:n]))), default=0)
    return said[known:]


def greet(greeting: str, name: str, model: str) -> str:
    """The greeting with its names filled in; braces in it are nothing special."""
    return re.sub(r"\{(name|model)\}", lambda found: name if found[1] == "name" else model, greeting)


def plain(text: str, tokens: int | None) -> tuple[str, ...]:
    """This text as tokens: words with the space before them; longer or shorter where `tokens` says so."""
    words = re.findall(r"\s*\S+", text)
    if tokens is None:
        return tuple(words)
    return tuple(islice(chain(words, cycle(" " + word for word in _MORE.split())), tokens))


def _calls(question: Question, serial: str) -> Iterator[Call]:
    for number, tool in enumerate(question.tools, 1):
        value = schema.minimal(tool.schema)
        yield Call(f"call_{serial}_{number}", tool.name, tuple(_cut(_json(value if isinstance(value, dict) else {}))))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cut(text: str) -> Iterator[str]:
    return (text[start : start + _JSON_TOKEN] for start in range(0, len(text), _JSON_TOKEN))
