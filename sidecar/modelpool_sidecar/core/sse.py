"""Where the events of an event stream begin and end, however its bytes are cut (B29).

The framing of the WHATWG specification: lines end in LF, CR or CRLF, a blank line ends an event, a byte order mark may
open the stream, `data` may take several lines. Every byte belongs to exactly one event, so what is relayed is what
came (B40). An event whose blank line ends in CR waits for one more byte: it may be half of a CRLF.

Each byte is looked at once, whatever the size of the pieces: a search goes on where the last one stopped.
"""

import re
from typing import NamedTuple

_END = re.compile(rb"\r\n(?:\r\n?|\n)|\n(?:\r\n?|\n)|\r\r\n?")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `raw`: all its bytes, its blank line too. `comment_only`: it has no data, so no client sees it."""

    raw: bytes
    event: str | None
    data: bytes
    comment_only: bool


class Scanner:
    """Cuts a stream into events. The same bytes give the same events, in whatever pieces they are fed."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0  # bytes of the rest in which no event can end any more
        self._returns = False  # a CR was seen: events may end otherwise than in two LF
        self._first = True

    def __repr__(self) -> str:
        return f"<Scanner {self.pending} bytes pending>"

    @property
    def pending(self) -> int:
        """Bytes of the event that is not complete yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete now."""
        start = 0
        if not self._returns and b"\r" in data:
            self._returns = True
        if self._rest:
            self._rest += data
            if not self._cut(self._rest, 0, self._searched):
                self._searched = max(0, len(self._rest) - 3)
                return []
            start, data = self._searched, bytes(self._rest)
            self._rest = bytearray()
        events: list[Event] = []
        at = 0
        while end := self._cut(data, at, max(at, start)):
            events.append(self._event(data[at:end]))
            at = end
        self._searched = 0
        if at < len(data):
            self._rest += data[at:]
            self._searched = max(0, len(data) - at - 3)
        return events

    def close(self) -> Event | None:
        """The stream has ended: the last event, its missing line ends supplied; None where nothing is left."""
        if not self._rest:
            return None
        raw = bytes(self._rest)
        self._rest = bytearray()
        if not (raw.endswith(b"\r") and _END.search(raw + b".")):
            raw += b"\n" if raw.endswith(b"\n") else b"\n\n"
        return self._event(raw)

    def _cut(self, data: bytes | bytearray, at: int, start: int) -> int:
        """Where the event that begins at `at` ends, 0 where it does not end yet. Nothing ends before `start`."""
        if data[at : at + 1] in (b"\r", b"\n"):
            end = at + (2 if data[at : at + 2] == b"\r\n" else 1)
        elif self._returns:
            found = _END.search(data, start)
            end = found.end() if found else 0
        else:
            found_at = data.find(b"\n\n", start)
            return found_at + 2 if found_at >= 0 else 0
        return 0 if end == len(data) and data[end - 1 : end] == b"\r" else end

    def _event(self, raw: bytes) -> Event:
        if raw.startswith(b"data: ") and raw.find(b"\n", 6) == len(raw) - 2 and b"\r" not in raw:
            self._first = False
            return Event(raw, None, raw[6:-2], False)
        name: str | None = None
        data: list[bytes] = []
        for line in _LINE.finditer(raw, len(_BOM) if self._first and raw.startswith(_BOM) else 0):
            field, start = _field(line[1])
            if field == b"data":
                data.append(line[1][start:])
            elif field == b"event":
                name = line[1][start:].decode("utf-8", "replace")
        self._first = False
        return Event(raw, name, b"\n".join(data), not data)


def replace_data(event: Event, start: int, end: int, new: bytes) -> bytes:
    """The event's bytes with a span of its data exchanged. The span must lie within one line of it."""
    if event.raw.startswith(b"data: ") and event.raw.startswith(event.data, 6):
        return b"%b%b%b" % (event.raw[: 6 + start], new, event.raw[6 + end :])
    before = 0  # bytes of data in the lines above, their joining LF included
    for line in _LINE.finditer(event.raw, len(_BOM) if event.raw.startswith(_BOM) else 0):
        field, offset = _field(line[1])
        if field != b"data":
            continue
        length = len(line[1]) - offset
        if start >= before and end <= before + length:
            at = line.start() + offset - before
            return b"%b%b%b" % (event.raw[: at + start], new, event.raw[at + end :])
        before += length + 1
    return event.raw


def _field(line: bytes) -> tuple[bytes, int]:
    """The name of a line's field and where its value starts; a comment has no name."""
    name, colon, _ = line.partition(b":")
    after = len(name) + len(colon)
    return name, after + 1 if line[after : after + 1] == b" " else after
