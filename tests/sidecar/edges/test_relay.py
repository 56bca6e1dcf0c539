"""One answer to a client, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from edge_support import soon

from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.ports import Downstream
from modelpool_sidecar.server import Accept, DataServer, Received


def refusal_body(refusal: Refusal) -> bytes:
    return json.dumps({"error": {"message": refusal.message, "code": refusal.code}}).encode()


@asynccontextmanager
async def data_server(accept: Accept, **options: object) -> AsyncIterator[tuple[DataServer, int]]:
    server = DataServer(accept, refusal_body=refusal_body, **options)  # type: ignore[arg-type]
    sockets = await server.start(["127.0.0.1"], 0)
    try:
        yield server, sockets[0].getsockname()[1]
    finally:
        await server.close()


async def test_an_answer_with_a_length_is_not_chunked() -> None:
    delivered = asyncio.Event()

    def accept(received: Received, downstream: Downstream) -> None:
        downstream.on_delivered = delivered.set
        downstream.head(200, (("content-length", "2"), ("content-type", "text/plain")))
        downstream.write(b"hi")
        downstream.finish()

    async with data_server(accept) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/x?y=%20z HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"chunked" not in head
        assert await reader.readexactly(2) == b"hi"
        await soon(delivered)
        writer.close()


async def test_a_fault_in_a_chunked_body_ends_without_the_last_chunk() -> None:
    def accept(received: Received, downstream: Downstream) -> None:
        downstream.head(200, (("content-type", "text/event-stream"),))
        downstream.write(b"data: 1\n\n")
        downstream.fail(b"data: error\n\n")

    async with data_server(accept) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = await reader.read()
        assert got.endswith(b"data: error\n\n\r\n")
        writer.close()


async def test_a_client_that_leaves_is_told() -> None:
    gone = asyncio.Event()

    def accept(received: Received, downstream: Downstream) -> None:
        downstream.on_gone = gone.set

    async with data_server(accept) as (server, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        writer.write_eof()
        await soon(gone)
        writer.close()
