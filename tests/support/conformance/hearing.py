"""What an SDK makes of the body of an answer: its text, an error that it tells, whether it is told to be whole."""

import json
from dataclasses import dataclass
from typing import Any

from conformance.client import Got
from conformance.speech import Operation, Way, text_of


def heard(way: Way, got: Got) -> "Heard":
    """Of an answer; whether it is read as a stream goes by what was asked."""
    return read_stream(way.operation, bytes(got.body)) if way.stream else read_whole(way.operation, bytes(got.body))


def who_said(text: str, ident: str) -> str | None:
    """Whose whole answer to this very request that is."""
    return next((who for who in ("primary", "backup", "spare") if text == text_of(who, ident)), None)


@dataclass(slots=True)
class Heard:
    """What an SDK makes of the body of a 200: the text; whether an error was told; whether it was told to be whole."""

    text: str = ""
    error: str | None = None
    finished: bool = False
    terminal: bool = False
    usage: bool = False
    after_end: bool = False
    roles: int = 0
    broken: str | None = None


def read_whole(operation: Operation, body: bytes) -> Heard:
    """As an SDK reads a JSON answer."""
    try:
        document = json.loads(body)
        match operation:
            case "chat":
                text, reason = document["choices"][0]["message"]["content"], document["choices"][0]["finish_reason"]
            case "completions":
                text, reason = document["choices"][0]["text"], document["choices"][0]["finish_reason"]
            case "responses":
                text, reason = document["output"][0]["content"][0]["text"], document["status"]
    except (ValueError, LookupError, TypeError) as error:
        return Heard(broken=f"not an answer: {type(error).__name__}")
    return Heard(text, finished=bool(reason), terminal=True, usage=bool(document.get("usage")))


def read_stream(operation: Operation, body: bytes) -> Heard:
    """As an SDK reads a stream: nothing after the terminal event or an error."""
    heard = Heard()
    for event in body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n\n"):
        data = "\n".join(line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:"))
        if not data:
            continue
        if heard.terminal:
            heard.after_end = True
            break
        if data == "[DONE]":
            heard.terminal = True
            continue
        try:
            document = json.loads(data)
        except ValueError:
            heard.broken = "an event is not JSON"
            break
        if heard.error is None:
            _hear(operation, document, heard)
    return heard


def _hear(operation: Operation, document: dict[str, Any], heard: Heard) -> None:
    if document.get("error") or document.get("type") == "error":
        error = document.get("error")
        heard.error = str((error if isinstance(error, dict) else document).get("code"))
        return
    if operation == "responses":
        kind = document["type"]
        if kind == "response.output_text.delta":
            heard.text += document["delta"]
        elif kind == "response.created":
            heard.roles += 1
        elif kind == "response.failed":
            heard.error = str(document["response"]["error"]["code"])
        elif kind in ("response.completed", "response.incomplete"):
            heard.finished = heard.terminal = True
            heard.usage = bool(document["response"].get("usage"))
        return
    heard.usage = heard.usage or bool(document.get("usage"))
    for choice in document.get("choices", ()):
        delta = choice.get("delta", {})
        heard.text += choice.get("text") or delta.get("content") or ""
        heard.roles += "role" in delta
        heard.finished = heard.finished or bool(choice.get("finish_reason"))
