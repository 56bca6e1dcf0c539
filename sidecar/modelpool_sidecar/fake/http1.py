"""HTTP/1.1 as a server reads it: bytes in, whole requests out. No I/O.

The order on a connection: head, then the body by content-length or chunks, then the next head. What is not HTTP
raises MalformedError, which carries the status to answer with; the connection is over then.
"""

from dataclasses import dataclass

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
    """One connection's incoming bytes. `head` then `body`, each None until it is there whole."""

    __slots__ = ("_body", "_buffer", "_in_body", "_left", "_trailers")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._in_body = False
        self._left: int | None = 0  # bytes missing of the body or the chunk; None: a chunk-size line is next
        self._body: list[bytes] | None = None  # the chunks so far; None: the body has a content-length
        self._trailers = False

    def feed(self, data: bytes) -> None:
        """More bytes came."""
        self._buffer += data

    def head(self) -> Head | None:
        """The next request's head, once it is there; its body is read before the next one."""
        while self._buffer[:2] == b"\r\n":
            del self._buffer[:2]  # RFC 9112 2.2: an empty line before a request is ignored
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
            raise MalformedError(431, "the head of the request is too large")
        if end < 0:
            return None
        head = _parse_head(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._in_body = True
        self._trailers = False
        if head.all("transfer-encoding"):
            if head.all("transfer-encoding") != ["chunked"]:
                raise MalformedError(501, "the only transfer encoding is chunked")
            self._body, self._left = [], None
            return head
        lengths = set(head.all("content-length"))
        if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
            raise MalformedError(400, "the content-length is not a number")
        self._body, self._left = None, int(lengths.pop()) if lengths else 0
        if self._left > MAX_BODY_BYTES:
            raise MalformedError(413, "the body is too large")
        return head

    def body(self) -> bytes | None:
        """The body of the request whose head was read, once it is there whole."""
        assert self._in_body, "the head comes first"
        if self._body is None:
            assert self._left is not None
            if len(self._buffer) < self._left:
                return None
            return self._finish(self._take(self._left))
        while not self._trailers:
            if self._left is None and not self._chunk_size():
                return None
            if self._trailers:
                break
            assert self._left is not None
            if len(self._buffer) < self._left + 2:
                return None
            self._body.append(self._take(self._left))
            if self._take(2) != b"\r\n":
                raise MalformedError(400, "a chunk is longer than it says")
            self._left = None
        return self._after_chunks()

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(b";")[0].strip()
        try:
            self._left = int(size, 16) if size.isalnum() else -1
        except ValueError:
            self._left = -1
        if self._left < 0:
            raise MalformedError(400, "the size of a chunk is not a number")
        assert self._body is not None
        if sum(map(len, self._body)) + self._left > MAX_BODY_BYTES:
            raise MalformedError(413, "the body is too large")
        self._trailers = self._left == 0
        return True

    def _after_chunks(self) -> bytes | None:
        while True:
            line = self._line()
            if line is None:
                return None
            if not line:
                assert self._body is not None
                return self._finish(b"".join(self._body))

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
            raise MalformedError(431, "a line is too long")
        if end < 0:
            return None
        line = self._take(end)
        self._take(2)
        return line

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _finish(self, body: bytes) -> bytes:
        self._in_body, self._body = False, None
        return body


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
