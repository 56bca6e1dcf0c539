"""HTTP/1.1 as a server reads it: bytes in, whole requests out. No I/O.

The order on a connection: head, then the body by content-length or chunks, then the next head. What is not HTTP
raises MalformedError, which carries the status to answer with; the connection is over then.
"""

from dataclasses import dataclass
from typing import Literal

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024


class MalformedError(Exception):
    """The peer does not speak HTTP/1.1, or sends too much. `status`: what a server answers."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """Request line and headers. Names are lower case, `target` is raw."""

    method: str
    target: str
    version: tuple[int, int]
    headers: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """All comma-separated values of this header, in lower case."""
        values = ",".join(value for key, value in self.headers if key == name)
        return [part.strip().lower() for part in values.split(",") if part.strip()]

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants the connection to stay."""
        return self.version >= (1, 1) and "close" not in self.all("connection")

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends the body."""
        return self.version >= (1, 1) and "100-continue" in self.all("expect")


class RequestReader:
    """One connection's incoming bytes. `head`, then `body`, each None until it is there whole."""

    __slots__ = ("_buffer", "_chunks", "_due", "_missing")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._due: Literal["head", "body", "size", "chunk", "trailers"] = "head"  # what the next bytes are
        self._missing = 0  # bytes of the body or of the chunk
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """More bytes came."""
        self._buffer += data

    def head(self) -> Head | None:
        """The next request's head, once it is there; its body is read before the next one."""
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]  # RFC 9112 2.2: an empty line before a request is ignored
        raw = self._until(b"\r\n\r\n")
        if raw is None:
            return None
        head = _parse_head(raw)
        if head.all("transfer-encoding"):
            if head.all("transfer-encoding") != ["chunked"]:
                raise MalformedError(501, "the only transfer encoding is chunked")
            self._due, self._chunks = "size", []
            return head
        lengths = set(head.all("content-length")) or {"0"}
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()):
            raise MalformedError(400, "the content-length is not a number")
        self._due, self._missing = "body", int(length)
        if self._missing > MAX_BODY_BYTES:
            raise MalformedError(413, "the body is too large")
        return head

    def body(self) -> bytes | None:
        """The body of the request whose head was read, once it is there whole."""
        if self._due == "body":
            body = self._take(self._missing)
        else:
            while self._due != "trailers":
                if not (self._size() if self._due == "size" else self._chunk()):
                    return None
            body = self._after_chunks()
        if body is not None:
            self._due = "head"
        return body

    def _size(self) -> bool:
        """Read the line before a chunk."""
        line = self._until(b"\r\n")
        if line is None:
            return False
        size = line.partition(b";")[0].strip()
        if not size or len(size) > 16 or size.strip(b"0123456789abcdefABCDEF"):
            raise MalformedError(400, "the size of a chunk is not a number")
        self._missing = int(size, 16)
        if sum(map(len, self._chunks)) + self._missing > MAX_BODY_BYTES:
            raise MalformedError(413, "the body is too large")
        self._due = "chunk" if self._missing else "trailers"
        return True

    def _chunk(self) -> bool:
        """Read a chunk and the line break behind it."""
        chunk = self._take(self._missing + 2)
        if chunk is None:
            return False
        if not chunk.endswith(b"\r\n"):
            raise MalformedError(400, "a chunk is longer than it says")
        self._chunks.append(chunk[:-2])
        self._due = "size"
        return True

    def _after_chunks(self) -> bytes | None:
        while (line := self._until(b"\r\n")) is not None:
            if not line:
                return b"".join(self._chunks)
        return None

    def _until(self, mark: bytes) -> bytes | None:
        """What comes before this mark, which is dropped."""
        end = self._buffer.find(mark)
        if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
            raise MalformedError(431, "the head of the request is too large")
        if end < 0:
            return None
        taken = bytes(self._buffer[:end])
        del self._buffer[: end + len(mark)]
        return taken

    def _take(self, count: int) -> bytes | None:
        if len(self._buffer) < count:
            return None
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


def _parse_head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[0].isalpha() or parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise MalformedError(400, "this is not an HTTP/1.1 request")
    headers: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedError(400, "a header has no name")
        headers.append((name.lower(), value.strip()))
    return Head(parts[0], parts[1], (1, int(parts[2][-1])), tuple(headers))
