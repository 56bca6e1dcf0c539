"""The answer of a second target as the rest of the first one's, so that the client sees one (B26).

    catching up --all of the text that was sent is there--> going on --finish or [DONE]--> complete
         |
         +--- differs: another text, or it ended before: nothing of it goes out

Text is compared as text, not by events: two targets cut the same answer differently, also within a surrogate pair.
What goes out has the first stream's id, time, model and fingerprint, no second role, and the tokens of all attempts
together as far as they were told. Reasoning is left out: it belongs before the text that the client has.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from modelpool_sidecar.core import jsonspan, sse
from modelpool_sidecar.dialects.openai_shown import FRAME, REASONING, Shown, delta_of, is_error, read, shown_by

_DROPPED = REASONING | {"role"}


def units(text: str) -> bytes:
    """A text as UTF-16, in which halves of a pair that came apart are the pair again."""
    return text.encode("utf-16-le", "surrogatepass")


class Splice:
    """Reads one recovering attempt. `replay`: it starts anew; else it goes on, and where `echoes` it may repeat the
    whole text first."""

    def __init__(self, shown: Shown, *, replay: bool, echoes: bool = False) -> None:
        self.differs: str | None = None
        """Why it is not the rest of what was sent; nothing goes out any more."""
        self.complete = False
        """Its finish, or its [DONE], has gone out."""
        self.begun = False
        """Something of it has gone out."""
        self._shown, self._scanner = shown, sse.Scanner()
        self._replay = replay
        self._sent = units(shown.text) if replay or echoes else b""
        self._at = 0  # bytes of `_sent` that have come again
        self._behind = bool(self._sent)

    def __repr__(self) -> str:
        state = self.differs or ("complete" if self.complete else "catching up" if self._behind else "going on")
        return f"<Splice {'replay' if self._replay else 'continue'}: {state}>"

    def pass_on(self, data: bytes) -> bytes:
        """What of it may go out."""
        if self.differs is not None:
            return b""
        return b"".join(map(self._event, self._scanner.feed(data)))

    def close(self) -> bytes:
        """The attempt is over: an event that waited for one more byte comes now."""
        rest = self._scanner.close()
        return b"" if rest is None else self._event(rest)

    def _event(self, event: sse.Event) -> bytes:
        if self.differs is not None or self._shown.error:
            return b""
        if event.comment_only:
            return event.raw
        if event.data.startswith(b"[DONE]"):
            if self._held_back():
                return self._differ("it ended before the text that was sent")
            self.complete = True
            return event.raw
        chunk = read(event)
        if chunk is None:
            return b""
        if is_error(event, chunk):
            self._shown.error = event.raw
            return b""
        return self._chunk(event, chunk)

    def _held_back(self) -> bool:
        return self._behind and self._replay

    def _chunk(self, event: sse.Event, chunk: dict[str, Any]) -> bytes:
        choices = chunk.get("choices")
        told = isinstance(chunk.get("usage"), Mapping)
        if told:
            self._shown.usage = chunk["usage"]
        if not isinstance(choices, list) or not choices:
            if not told or self._held_back():
                return b""
            return self._framed(event, list(jsonspan.members(event.data)), None)
        choice = choices[0]
        if len(choices) > 1 or not isinstance(choice, dict) or choice.get("index") not in (0, None):
            return self._differ("it has several answers")
        text, _, others = shown_by(choice)
        finish = bool(choice.get("finish_reason"))
        rest = self._catch_up(text)
        if not self._replay and self._behind and (others or finish):
            rest = self._let_go()
        if self.differs is not None:
            return b""
        if self._held_back():
            if others:
                return self._differ("it has other output than text")
            return self._differ("it ended before the text that was sent") if finish else b""
        if not (rest or others or finish):
            return b""
        self.begun = True
        self.complete = self.complete or finish
        found = list(jsonspan.members(event.data))
        as_it_is = rest == text and not _DROPPED & delta_of(choice).keys()
        spliced = None if as_it_is else _choice(event.data, found, choice, None if rest == text else rest)
        self._shown.note({"choices": [_only(choice, rest)]})
        return self._framed(event, found, spliced)

    # -- the text that the client has

    def _catch_up(self, text: str) -> str:
        """The part of it that is new."""
        if not self._behind or not text:
            return text
        came = units(text)
        known = self._sent[self._at : self._at + len(came)]
        if came[: len(known)] != known:
            if self._replay:
                self._differ("its text is another one")
                return ""
            return self._let_go() + text
        self._at += len(known)
        self._behind = self._at < len(self._sent)
        return came[len(known) :].decode("utf-16-le", "surrogatepass")

    def _let_go(self) -> str:
        """It was no repetition but the beginning of the rest."""
        self._behind = False
        return self._sent[: self._at].decode("utf-16-le", "surrogatepass")

    def _differ(self, why: str) -> bytes:
        self.differs = self.differs or why
        return b""

    # -- its bytes

    def _framed(self, event: sse.Event, found: Sequence[jsonspan.Member], choices: bytes | None) -> bytes:
        """The event with the first stream's frame, these choices (None: as they are), and the sum of the tokens."""
        changed: dict[int, bytes | None] = {}
        for place, member in enumerate(found):
            if member.key in FRAME:
                changed[place] = self._shown.frame.get(member.key)
            elif member.key == "choices" and choices is not None:
                changed[place] = choices
            elif member.key == "usage" and self._shown.earlier and self._shown.usage is not None:
                changed[place] = _total([*self._shown.earlier, self._shown.usage])
        there = {member.key for member in found}
        lacking = [b'"%b":%b' % (name.encode(), text) for name, text in self._shown.frame.items() if name not in there]
        data = jsonspan.rewrite(event.data, found, changed, lacking)
        named = b"" if event.event is None else b"event: %b\n" % event.event.encode()
        return b"%bdata: %b\n\n" % (named, data.replace(b"\n", b" "))


def _only(choice: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The choice as it goes out, to be noted."""
    if "text" in choice and not choice.get("delta"):
        return {**choice, "text": text}
    delta = delta_of(choice)
    return {
        **choice,
        "delta": {**{name: value for name, value in delta.items() if name not in _DROPPED}, "content": text},
    }


def _choice(data: bytes, members: Sequence[jsonspan.Member], choice: Mapping[str, Any], text: str | None) -> bytes:
    """The literal of a chunk's only choice, in its array: without role and reasoning, with `text` where it is one."""
    array = next(data[each.start : each.end] for each in members if each.key == "choices")
    inner = array[array.index(b"{") : array.rindex(b"}") + 1]
    found = list(jsonspan.members(inner))
    changed: dict[int, bytes | None] = {}
    added: list[bytes] = []
    if isinstance(choice.get("delta") or choice.get("message"), Mapping) or "text" not in choice:
        name = "message" if "message" in choice and "delta" not in choice else "delta"
        _put(found, name, lambda literal: _delta(literal, text), changed, added, inner)
    elif text is not None:
        _put(found, "text", lambda _literal: dump(text), changed, added, inner)
    return b"[%b]" % jsonspan.rewrite(inner, found, changed, added)


def _delta(literal: bytes, text: str | None) -> bytes:
    whole = literal if literal.startswith(b"{") else b"{}"
    found = list(jsonspan.members(whole))
    changed: dict[int, bytes | None] = {place: None for place, each in enumerate(found) if each.key in _DROPPED}
    added: list[bytes] = []
    if text:
        _put(found, "content", lambda _literal: dump(text), changed, added, whole)
    elif text is not None:
        changed |= {place: dump(text) for place, each in enumerate(found) if each.key == "content"}
    return jsonspan.rewrite(whole, found, changed, added)


def _put(
    found: Sequence[jsonspan.Member],
    name: str,
    new: Callable[[bytes], bytes],
    changed: dict[int, bytes | None],
    added: list[bytes],
    inside: bytes,
) -> None:
    """Note the new value of a member, wherever it stands, or that it has to be added."""
    there = [place for place, each in enumerate(found) if each.key == name]
    changed.update({place: new(inside[found[place].start : found[place].end]) for place in there})
    if not there:
        added.append(b"%b:%b" % (dump(name), new(b"")))


def dump(value: object) -> bytes:
    """A value as JSON; its texts may hold halves of surrogate pairs."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def _total(told: list[Mapping[str, Any]]) -> bytes:
    """The tokens of several attempts together; what is no number is the last one's."""
    total: dict[str, Any] = {}
    for usage in told:
        total = _sum(total, usage)
    return dump(total)


def _sum(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(first)
    for name, value in second.items():
        before = first.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            total[name] = _sum(before, value)
        elif _is_number(value) and _is_number(before):
            total[name] = before + value
        elif value is not None or before is None:
            total[name] = value
    return total


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
