"""A client that shows exactly what a server sent: the bytes, and how the connection ended."""

import asyncio
import json
from dataclasses import dataclass
from typing import Literal

from modelpool_sidecar.fake import FakeProvider

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(slots=True)
class Got:
    """What came: all bytes, and `open` where the connection stayed."""

    raw: bytes
    end: Literal["fin", "rst", "open"]

    @property
    def head(self) -> str:
        return self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.head.split(" ", 2)[1])

    def header(self, name: str) -> str | None:
        lines = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return next((value.strip() for key, _, value in lines if key.lower() == name), None)


def post(path: str, body: object, *headers: str, version: str = "1.1") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", f"Content-Length: {len(raw)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + raw


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


async def ask(provider: FakeProvider, request: bytes, *, until: bytes | None = None) -> Got:
    """Send this on a connection of its own and read to its end, or until the bytes `until` came."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    except ConnectionError:
        return Got(b"", "rst")
    got = bytearray()
    try:
        writer.write(request)
        while data := await reader.read(65536):
            got += data
            if until is not None and until in got:
                return Got(bytes(got), "open")
    except ConnectionError:
        return Got(bytes(got), "rst")
    else:
        return Got(bytes(got), "fin")
    finally:
        writer.close()
