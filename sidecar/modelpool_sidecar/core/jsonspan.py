"""Where in a JSON text a top-level member stands, so that it can be exchanged without touching another byte (B40).

`decode` answers whether a text is JSON and what it says. orjson is quick and a little stricter than the standard: it
refuses lone surrogates and numbers beyond a double, both of which RFC 8259 allows and both of which occur (a stream
may cut an emoji between two chunks). What it refuses gets a second opinion from the standard library.

`members` walks the top level only, and exactly: escaped keys are decoded, duplicates are all told, nested values are
skipped without recursion. It may rely on the text being JSON; where it is not, it raises NotJsonError, never guesses.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

# Possessive (`*+`), and in a nested value the closing quote may be missing: a string that does not end is looked at
# once, not once for each quote in it. `_NESTED` runs to the next bracket that matters: whole arrays and objects without
# another one inside are passed over in one go, so that no byte is looked at more than twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^\s,\[\]{}\":]+")
_SPACE = re.compile(rb"[ \t\n\r]*")
_FLAT = rb'[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_NESTED = re.compile(rb"(?:%b|[\[{](?:%b)*+[\]}])*+([\[\]{}])" % (_FLAT, _FLAT), re.DOTALL)
_COLON = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")

_BOM = b"\xef\xbb\xbf"


class NotJsonError(ValueError):
    """Why a text is not JSON, as a half-sentence that quotes nothing of it (B44)."""


class Member(NamedTuple):
    """One top-level member: its decoded key, where its value starts and ends, and where the key itself begins."""

    key: str
    start: int
    end: int
    begin: int


def decode(text: bytes) -> Any:
    """What the text says. Numbers beyond a double come as 0: nobody here calculates with them."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return _second_opinion(text)


def _second_opinion(text: bytes) -> Any:
    if not text.strip(b" \t\r\n"):
        raise NotJsonError("it is empty")
    if text.startswith(_BOM):
        raise NotJsonError("it starts with a byte order mark")
    try:
        return _LENIENT.decode(text.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise NotJsonError(f"byte {exc.start} is not UTF-8") from exc
    except json.JSONDecodeError as exc:
        raise NotJsonError(f"{exc.msg} at line {exc.lineno} column {exc.colno}".replace(" at at ", " at ")) from exc
    except RecursionError:
        raise NotJsonError("it is nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise NotJsonError(f"{name} is not a JSON value")


_LENIENT = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=lambda _digits: 0, parse_float=lambda _digits: 0)


def quote(text: str) -> bytes:
    """The JSON string literal of a text."""
    return orjson.dumps(text)


def members(text: bytes | bytearray, start: int = 0) -> Iterator[Member]:
    """The members of the object that begins at `start` (white space before it is fine), in order."""
    at = _space(text, start)
    if text[at : at + 1] != b"{":
        raise NotJsonError("it is not an object")
    at = _space(text, at + 1)
    if text[at : at + 1] == b"}":
        return
    while True:
        key = _STRING.match(text, at)
        colon = _COLON.match(text, key.end()) if key else None
        if key is None or colon is None:
            raise NotJsonError(f"a key was expected at byte {at}")
        end = _value_end(text, colon.end())
        yield Member(_key(key[0]), colon.end(), end, key.start())
        at = _space(text, end)
        if text[at : at + 1] == b"}":
            return
        if text[at : at + 1] != b",":
            raise NotJsonError(f"a comma was expected at byte {at}")
        at = _space(text, at + 1)


def find(text: bytes, key: str) -> list[Member]:
    """Every top-level member of that name: none, one, or the duplicates."""
    return [member for member in members(text) if member.key == key]


def sole_string(text: bytes, key: bytes) -> tuple[int, int] | None:
    """The span of the string value of a top-level `key` (a plain word) that is known to be there; None: walk instead.

    A literal `"key"` can stand in a text as a key anywhere, as a value, or at the end of a string that quotes it. Where
    it stands exactly once and no ASCII letter is written as an escape, that one place is the top-level key.
    """
    quoted = b'"%b"' % key
    first = text.find(quoted)
    if first < 0 or text.find(quoted, first + 1) >= 0 or escapes_letters(text):
        return None
    colon = _COLON.match(text, first + len(quoted))
    value = _STRING.match(text, colon.end()) if colon else None
    return value.span() if value else None


def escapes_letters(text: bytes) -> bool:
    """Whether an ASCII letter may be written as an escape somewhere, so that a key may hide from a search of bytes."""
    return b"\\u006" in text or b"\\u007" in text


def splice(text: bytes, start: int, end: int, new: bytes) -> bytes:
    """The text with the span exchanged."""
    return b"%b%b%b" % (text[:start], new, text[end:])


def rewrite(
    text: bytes, found: Sequence[Member], changed: Mapping[int, bytes | None], added: Sequence[bytes] = ()
) -> bytes:
    """The object `text`, whose members are `found`, with other values at some places and more members at its start.

    `changed`: by the number of the member its new value, None = the member goes, together with one comma. `added`:
    whole members, `"key":value`. Every other byte stays, in order; the same object comes back where nothing changes.
    """
    if not changed and not added:
        return text
    first = found[0].begin if found else text.index(b"{") + 1
    kept = [place for place in range(len(found)) if changed.get(place, b"") is not None]
    parts = [text[:first], b",".join(added), b"," if added and kept else b""]
    for number, place in enumerate(kept):
        member, new = found[place], changed.get(place)
        if number:
            parts.append(text[found[place - 1].end : member.begin])
        parts.append(text[member.begin : member.end if new is None else member.start])
        if new is not None:
            parts.append(new)
    parts.append(text[found[-1].end if found else first :])
    return b"".join(parts)


def _space(text: bytes | bytearray, at: int) -> int:
    matched = _SPACE.match(text, at)
    assert matched is not None  # it matches the empty string too
    return matched.end()


def _key(literal: bytes) -> str:
    if b"\\" not in literal:
        return literal[1:-1].decode("utf-8", "replace")
    try:
        return str(json.loads(literal))
    except ValueError as exc:
        raise NotJsonError("a key is not a JSON string") from exc


def _value_end(text: bytes | bytearray, at: int) -> int:
    first = text[at : at + 1]
    if first not in (b"{", b"["):
        value = (_STRING if first == b'"' else _SCALAR).match(text, at)
        if value is None:
            raise NotJsonError(f"a value was expected at byte {at}")
        return value.end()
    depth, token = 1, _NESTED.match(text, at + 1)
    while token is not None:
        depth += 1 if token[1] in (b"{", b"[") else -1
        if depth == 0:
            return token.end()
        token = _NESTED.match(text, token.end())
    raise NotJsonError(f"the value at byte {at} does not end")
