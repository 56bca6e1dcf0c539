"""The body of a request, whole, within bounds: of one body, of all bodies together, of patience."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from modelpool_sidecar.core.refusal import Refusal

_MIB = 1024 * 1024


class Room:
    """How many bytes of request bodies lie in memory, against the most that may (B30)."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken_bytes = 0

    def __repr__(self) -> str:
        return f"<Room: {self.taken_bytes} of {self.max_bytes} bytes>"

    def lease(self) -> "Lease":
        """A share of it, empty at first."""
        return Lease(self)


class Lease:
    """One request's share. `release` twice is fine."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.taken_bytes = 0

    def fits(self, count: int) -> bool:
        """Whether there is room for that many bytes more now; takes none."""
        return self._room.taken_bytes + count <= self._room.max_bytes

    def take(self, count: int) -> bool:
        """Room for that many bytes more; False where there is none."""
        if not self.fits(count):
            return False
        self._room.taken_bytes += count
        self.taken_bytes += count
        return True

    def release(self) -> None:
        """The body is forgotten."""
        self._room.taken_bytes -= self.taken_bytes
        self.taken_bytes = 0


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads bodies. `idle_seconds`: how long a client may send nothing in the middle of one."""

    max_bytes: int
    idle_seconds: float

    async def read(self, request: web.BaseRequest, lease: Lease) -> bytes | Refusal:
        """The whole body, its bytes in the lease; or why not.

        Only bytes that came take room: a length is declared at no cost. A body that does not fit as things are is
        refused before it comes, which saves the client's time.
        """
        declared = request.content_length or 0
        if declared > self.max_bytes:
            return self._too_large()
        if not lease.fits(declared):
            return self._overloaded()
        if not request.can_read_body:
            return b""
        if request.version >= (1, 1) and request.headers.get("Expect", "").lower() == "100-continue":
            _continue(request)
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(self.idle_seconds):
                    part = await request.content.readany()
            except TimeoutError:
                return Refusal(
                    "invalid_body",
                    f"the body stopped arriving: {size} bytes came, then nothing for {self.idle_seconds:g} s",
                )
            if not part:
                return b"".join(parts)
            size += len(part)
            if size > self.max_bytes:
                return self._too_large()
            if not lease.take(len(part)):
                return self._overloaded()
            parts.append(part)

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"the body is larger than {_size(self.max_bytes)}, the most that is taken")

    def _overloaded(self) -> Refusal:
        return Refusal("overloaded", "too many request bodies are in memory at once; try again", retry_after=1.0)


def _continue(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _size(count: int) -> str:
    return f"{count // _MIB} MiB" if count % _MIB == 0 and count else f"{count} bytes"
