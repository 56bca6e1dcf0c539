"""The body of a request, whole, within bounds: of one body, of all bodies together, of patience."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.room import Lease

_MIB = 1024 * 1024


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
