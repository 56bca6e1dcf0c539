"""A raw HTTP client: exactly what came, and how it ended."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import Literal

End = Literal["complete", "fin", "rst", "hang"]


@dataclass(slots=True)
class Got:
    """An answer. `end`: complete as its framing promised; ended (fin) or reset before; nothing for too long (hang)."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    end: End = "hang"
    seconds: float = 0.0


class Client:
    """One connection to the sidecar, made anew where it has ended."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self._port, self._receive_buffer = port, receive_buffer
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Where it is not."""
        if self.writer is not None and not self.writer.transport.is_closing() and not self.reader.at_eof():
            return
        sock = socket.socket()
        sock.setblocking(False)
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        except BaseException:
            sock.close()
            raise
        limit = 1 << 16 if self._receive_buffer is None else self._receive_buffer
        self.reader, self.writer = await asyncio.open_connection(sock=sock, limit=limit)

    async def post(self, path: str, body: bytes, *more: str, version: str = "1.1") -> None:
        """Send a request."""
        await self.connect()
        lines = [f"POST {path} HTTP/{version}", "host: localhost", "content-type: application/json"]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", *more, "", ""]).encode()
        with contextlib.suppress(ConnectionError):
            self.writer.write(head + body)
            await self.writer.drain()

    async def answer(self, patience: float = 10.0) -> Got:
        """The next answer; what came of it where it does not end well."""
        got, began = Got(), asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(patience):
                await self._read(got)
            got.end = "complete"
        except TimeoutError:
            self.close()
        except asyncio.IncompleteReadError as error:
            got.body += error.partial
            got.end = "fin"
            self.close()
        except ConnectionError:
            got.end = "rst"
            self.close()
        got.seconds = asyncio.get_running_loop().time() - began
        return got

    async def ask(self, path: str, body: bytes, *more: str, patience: float = 10.0, version: str = "1.1") -> Got:
        """Both."""
        await self.post(path, body, *more, version=version)
        return await self.answer(patience)

    def close(self) -> None:
        """At once."""
        if self.writer is not None:
            self.writer.transport.abort()
            self.reader = self.writer = None

    def half_close(self) -> None:
        """Nothing more will be sent."""
        self.writer.write_eof()

    async def _read(self, got: Got) -> None:
        assert self.reader is not None
        while got.status is None or got.status == 100:
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").rstrip().split("\r\n")
            got.status = int(first.split()[1])
            pairs = (line.partition(":") for line in lines)
            got.headers = {name.lower(): value.strip() for name, _, value in pairs}
        if got.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                await self._exactly(got, size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        elif "content-length" in got.headers:
            await self._exactly(got, int(got.headers["content-length"]))
        else:
            while data := await self.reader.read(65536):
                got.body += data
        if got.headers.get("connection") == "close":
            self.close()

    async def _exactly(self, got: Got, count: int) -> None:
        """Keeps what came, also where less came than was promised."""
        while count:
            data = await self.reader.read(min(count, 1 << 20))
            if not data:
                raise asyncio.IncompleteReadError(b"", count)
            got.body += data
            count -= len(data)
