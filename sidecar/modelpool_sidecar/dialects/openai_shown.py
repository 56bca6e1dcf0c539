"""What a stream has shown its client so far: the text, how its chunks are framed, and what it told of its tokens (B26).

Kept of streams that may have to be recovered. It reads what goes out, once more: so nothing is kept of a stream whose
pool does not ask for it, and what is kept is what the client has.
"""

from collections.abc import Mapping
from typing import Any

from modelpool_sidecar.core import jsonspan, sse
from modelpool_sidecar.core.recovery import MAX_KEPT_BYTES
from modelpool_sidecar.core.room import Lease, Room

FRAME = ("id", "created", "model", "system_fingerprint")
"""Members of a chunk that are the same in all chunks of a stream."""
REASONING = frozenset({"reasoning", "reasoning_content", "reasoning_details", "thinking"})
_NO_OUTPUT = frozenset({"role", "content", "obfuscation"}) | REASONING


def delta_of(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a choice of a chat's chunk adds; nothing where it is none."""
    delta = choice.get("delta") or choice.get("message")
    return delta if isinstance(delta, Mapping) else {}


def shown_by(choice: Mapping[str, Any]) -> tuple[str, bool, frozenset[str]]:
    """The text that a choice of a chunk adds, whether it adds reasoning, and the names of whatever else it adds."""
    text = choice.get("text")
    if isinstance(text, str) and text:
        return text, False, frozenset()
    delta = delta_of(choice)
    content = delta.get("content")
    others = {name for name, value in delta.items() if value and name not in _NO_OUTPUT}
    if content and not isinstance(content, str):
        others.add("content")
    reasons = any(delta.get(name) for name in REASONING)
    return content if isinstance(content, str) else "", reasons, frozenset(others)


def is_error(event: sse.Event, chunk: Mapping[str, Any]) -> bool:
    """Whether an event tells of a fault."""
    return event.event == "error" or bool(chunk.get("error")) or chunk.get("object") == "error"


def read(event: sse.Event) -> dict[str, Any] | None:
    """The chunk in an event; None where it holds none."""
    if event.comment_only or event.data.startswith(b"[DONE]"):
        return None
    try:
        chunk = jsonspan.decode(event.data)
    except jsonspan.NotJsonError:
        return None
    return chunk if isinstance(chunk, dict) else None


class Shown:
    """What the client has of one answer, whoever it came from. `lost`: why nothing can go on from it any more."""

    def __init__(self, lease: Lease | None = None) -> None:
        """`lease`: where what is kept has its room; without one there is room for it."""
        self.lost: str | None = None
        self.frame: dict[str, bytes] = {}
        """The literals of FRAME, as the first chunk with a choice had them."""
        self.usage: Mapping[str, Any] | None = None
        """What the attempt that runs has told last."""
        self.earlier: list[Mapping[str, Any]] = []
        """What those before it had told last, which is counted in addition."""
        self.tokens = 0
        """Chunks with text in them: about so many tokens."""
        self.error = b""
        """An error event that has not gone out: it is for the client only where nothing else can be done."""
        self._lease = lease or Room().lease()
        self._text = bytearray()
        self._reasons = False
        self._framed = False
        self._scanner = sse.Scanner()

    def __repr__(self) -> str:
        return f"<Shown {self.tokens} chunks of text{f', lost: {self.lost}' if self.lost else ''}>"

    @property
    def text(self) -> str:
        """All of it. Halves of a surrogate pair that came apart stay apart (`openai_splice.units`)."""
        return self._text.decode("utf-8", "surrogatepass")

    @property
    def why_not(self) -> str | None:
        """Why nothing can go on from here, None where something can."""
        return "inside reasoning" if self.lost is None and self._reasons else self.lost

    def pass_on(self, data: bytes) -> bytes:
        """Note what the first attempt says, on its way out. An error event, and what follows it, stays here."""
        if self.error:
            return b""
        passed = -self._scanner.pending
        for event in self._scanner.feed(data):
            if self._note(event):
                return data[: max(0, passed)]
            passed += len(event.raw)
        return data

    def close(self) -> None:
        """The attempt is over: what it told of its tokens counts. Its last event may have waited for one more byte."""
        rest = self._scanner.close()
        if rest is not None:
            self._note(rest)
        if self.usage is not None:
            self.earlier.append(self.usage)
            self.usage = None

    def note(self, chunk: Mapping[str, Any]) -> None:
        """A chunk goes out, or has gone."""
        if isinstance(chunk.get("usage"), Mapping):
            self.usage = chunk["usage"]
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return
        choice = choices[0]
        if len(choices) > 1 or not isinstance(choice, Mapping) or choice.get("index") not in (0, None):
            self._lose("several answers")
            return
        text, reasons, others = shown_by(choice)
        if others:
            self._lose("after a tool call" if "tool_calls" in others else "after output that is no text")
        elif choice.get("logprobs"):
            self._lose("logprobs")
        elif text:
            self.tokens += 1
            self._keep(text)
        if text or reasons:
            self._reasons = not text
        if choice.get("finish_reason"):
            self._lose("after its finish")

    def _note(self, event: sse.Event) -> bool:
        """Whether it is an error event, which then is kept here."""
        chunk = read(event)
        if chunk is None:
            return False
        if is_error(event, chunk):
            self.error = event.raw
            return True
        if not self._framed and chunk.get("choices"):
            self._framed = True
            found = jsonspan.members(event.data)
            self.frame = {each.key: event.data[each.start : each.end] for each in found if each.key in FRAME}
        self.note(chunk)
        return False

    def _keep(self, text: str) -> None:
        if self.lost is None:
            more = text.encode("utf-8", "surrogatepass")
            if len(self._text) + len(more) > MAX_KEPT_BYTES:
                self._lose("longer than what is kept")
            elif not self._lease.take(len(more)):
                self._lose("no room in memory to keep it")
            else:
                self._text += more

    def _lose(self, why: str) -> None:
        if self.lost is None:
            self.lost = why
            self.forget()

    def forget(self) -> None:
        """The text is needed no more. Twice is fine."""
        self._text = bytearray()
        self._lease.release()
