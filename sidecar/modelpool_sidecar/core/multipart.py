"""Where the fields of a multipart/form-data body stand, so that one can be exchanged without touching another byte.

Strict on purpose: what two readers may take for different things is refused, so that the provider sees the model that
was routed. Lines end in CRLF; a delimiter stands at the start of a line and fills it; each part says its name, once and
plainly. File contents are never looked at, only searched for the boundary.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_PARTS = 512
MAX_HEAD_BYTES = 16 * 1024
"""Of one part."""

_BOUNDARY = re.compile(r';[ \t]*boundary=("[^"\\]*"|[^\s;"]*)', re.IGNORECASE)
_FIT = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PADDING = re.compile(rb"[ \t]*\r\n")
_PARAMETER = re.compile(rb';[ \t]*([!#$%&+.^_`|~0-9A-Za-z*-]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)[ \t]*', re.DOTALL)
_PLAIN_ENCODINGS = (b"7bit", b"8bit", b"binary")


class NotFormError(ValueError):
    """Why a body is no form, as a half-sentence that quotes nothing of it (B44)."""


@dataclass(frozen=True, slots=True)
class Field:
    """One part: its delimiter begins at `begin`, its value stands from `start` to `end`. `is_file`: it has a
    filename."""

    name: str
    is_file: bool
    begin: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a body in order; the last delimiter begins at `last`."""

    boundary: bytes
    fields: tuple[Field, ...]
    last: int

    @property
    def first(self) -> int:
        """Where the first delimiter begins: what is put there stands before all parts."""
        return self.fields[0].begin if self.fields else self.last

    def named(self, name: str) -> list[Field]:
        """Every part of that name."""
        return [field for field in self.fields if field.name == name]


def boundary(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None where it names none that can be used."""
    found = _BOUNDARY.findall(content_type)
    text = found[0].strip('"') if len(found) == 1 else ""
    return text.encode("ascii") if _FIT.fullmatch(text) else None


def parse(body: bytes, mark: bytes) -> Form:
    """The parts of a body with that boundary. Raises NotFormError."""
    delimiter = b"--" + mark
    begin = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    fields: list[Field] = []
    while True:
        at = begin + len(delimiter)
        if body.startswith(b"--", at):
            return Form(mark, tuple(fields), begin)
        padding = _PADDING.match(body, at)
        if padding is None:
            raise NotFormError("a line begins with the boundary and goes on after it")
        if len(fields) == MAX_PARTS:
            raise NotFormError(f"it has more than {MAX_PARTS} parts")
        head, start = _head(body, padding.end())
        following = _next(body, delimiter, start)
        name, is_file = _named(head)
        fields.append(Field(name, is_file, begin, start, following - 2))
        begin = following


def rewrite(form: Form, body: bytes, changed: Sequence[tuple[Field, bytes | None]], added: Sequence[bytes]) -> bytes:
    """The body with other values in some parts (None: the part goes) and more parts before the first.

    `added`: whole parts as `part` makes them. Every other byte stays; the same body comes back where nothing changes.
    """
    if not changed and not added:
        return body
    ends = dict(zip(form.fields, (*(field.begin for field in form.fields), form.last)[1:], strict=True))
    pieces, at = [body[: form.first], *added], form.first
    for field, new in sorted(changed, key=lambda change: change[0].begin):
        if new is None:
            pieces.append(body[at : field.begin])
            at = ends[field]
        else:
            pieces += (body[at : field.start], new)
            at = field.end
    pieces.append(body[at:])
    return b"".join(pieces)


def part(form: Form, name: str, value: bytes) -> bytes:
    """A plain field, ready to be put before another part. `name` is one of ours: a word."""
    quoted = name.encode("utf-8", "replace").replace(b'"', b"%22").replace(b"\r", b"%0D").replace(b"\n", b"%0A")
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (form.boundary, quoted, value)


def breaks(form: Form, value: bytes) -> bool:
    """Whether a value that is put into a part would end it: it holds the delimiter at the start of a line."""
    return (b"\n" + value).find(b"\n--" + form.boundary) >= 0


def _next(body: bytes, delimiter: bytes, start: int) -> int:
    """Where the next delimiter begins: after the first CRLF from `start` on that it follows."""
    found = body.find(b"\n" + delimiter, start)
    if found < 0:
        raise NotFormError("the boundary that Content-Type names does not end it")
    if body.startswith(delimiter, start) or found == 0 or found - 1 < start or body[found - 1 : found] != b"\r":
        raise NotFormError("a delimiter does not stand after a line end of its own")
    return found + 1


def _head(body: bytes, start: int) -> tuple[bytes, int]:
    end = body.find(b"\r\n\r\n", start, start + MAX_HEAD_BYTES)
    if end < 0:
        raise NotFormError(f"a part has no head, or one larger than {MAX_HEAD_BYTES // 1024} KiB")
    return body[start:end], end + 4


def _named(head: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    said: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        word = name.lower()
        if not colon or word != word.strip() or word in said or b"\n" in line or b"\r" in line:
            raise NotFormError("a part has a head that is not plain")
        said[word] = value.strip(b" \t")
    if said.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        raise NotFormError("a part is encoded once more (Content-Transfer-Encoding)")
    disposition = said.get(b"content-disposition", b"")
    kind, _, _ = disposition.partition(b";")
    parameters = _parameters(disposition[len(kind) :])
    if kind.strip(b" \t").lower() != b"form-data" or b"name" not in parameters:
        raise NotFormError("a part does not say its name (Content-Disposition: form-data; name=...)")
    try:
        return parameters[b"name"].decode("utf-8"), bool({b"filename", b"filename*"} & set(parameters))
    except UnicodeDecodeError:
        raise NotFormError("the name of a part is not UTF-8") from None


def _parameters(text: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        one = _PARAMETER.match(text, at)
        if one is None:
            raise NotFormError("a part has a Content-Disposition that cannot be read")
        name, value = one[1].lower(), one[2].strip(b'"')
        if name in found or name == b"name*" or (name == b"name" and b"\\" in value):
            raise NotFormError("a part says its name in more than one way")
        found[name] = value
        at = one.end()
    return found
