"""One answer to a client over real sockets, as it should be: its framing, its pieces, its end."""

import asyncio
import socket
import struct

import pytest

from edge_support import Client, Fork, chunks, client, data_server, soon
from modelpool_sidecar.relay import HIGH_WATER_BYTES

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENT = b'data: {"error":{}}\n\n'


# -- a clean answer


async def test_an_answer_with_a_length_is_not_chunked_and_keeps_the_connection() -> None:
    async with data_server() as edge, client(edge.port) as it:
        for _ in range(2):
            await it.post()
            fork = await edge.next()
            fork.answer()
            status, headers, body = await it.answer()
            assert (status, body) == (200, b"hi")
            assert "transfer-encoding" not in headers
            assert "connection" not in headers
            await soon(fork.delivered)
            assert fork.told == ["delivered"]


async def test_an_answer_without_a_length_is_chunked() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"data: 1\n\n")
        status, headers = await it.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert await it.exactly(14) == b"9\r\ndata: 1\n\n\r\n"
        fork.downstream.finish()
        assert await it.exactly(5) == b"0\r\n\r\n"
        await soon(fork.delivered)


async def test_the_head_goes_out_before_there_is_a_body() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        (await edge.next()).stream()
        assert (await it.head())[0] == 200


@pytest.mark.parametrize("http", ["1.0", "1.1"])
@pytest.mark.parametrize("body", [b"", b"hi", b"x" * 20_000], ids=len)
@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without"])
async def test_what_is_complete_goes_out_in_one_piece(http: str, body: bytes, length: bool) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(f"GET / HTTP/{http}\r\nHost: localhost\r\n\r\n".encode())
        fork = await edge.next()
        fork.downstream.head(200, (("content-length", str(len(body))),) if length else ())
        if body:
            fork.downstream.write(body)
        fork.downstream.finish()
        await it.head()
        if not length and http == "1.1":
            assert await chunks(it) == body
        else:
            assert await it.exactly(len(body)) == body
        await soon(fork.delivered)
        assert _segments_received(it) == 1


async def test_a_stream_takes_one_piece_for_its_head_and_what_is_there_and_one_for_the_rest_with_its_end() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream(b"1", b"2")
        await it.head()
        assert await it.exactly(7) == b"2\r\n12\r\n"
        fork.downstream.write(b"3")
        fork.downstream.finish()
        assert await chunks(it) == b"3"
        assert _segments_received(it) == 2


async def test_what_does_not_fit_its_length_is_broken_though_its_head_is_out() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.downstream.head(200, (("content-length", "0"),))
        fork.downstream.write(b"too long")
        fork.downstream.finish()
        assert (await it.head())[0] == 200
        assert await it.until_reset() == b""


async def test_headers_go_out_as_often_as_they_stand_there_and_no_server_is_named_but_ours() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.downstream.head(529, (("x-a", "1"), ("x-a", "2"), ("content-length", "0"), ("server", "theirs")))
        fork.downstream.finish()
        head = await it.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 529 ")
        assert head.lower().count(b"x-a: ") == 2
        assert b"aiohttp" not in head
        assert b"theirs" not in head


async def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"GET / HTTP/1.0\r\n\r\n")
        fork = await edge.next()
        assert fork.received.http_version == (1, 0)
        fork.stream(b"one")
        fork.downstream.finish()
        _, headers = await it.head()
        assert "transfer-encoding" not in headers
        assert await it.rest() == b"one"
        await soon(fork.delivered)


async def test_a_body_without_a_length_ends_the_connection_of_http_1_0_even_where_it_would_be_kept() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        fork = await edge.next()
        fork.stream(b"one")
        fork.downstream.finish()
        _, headers = await it.head()
        assert headers.get("connection", "close") == "close"
        assert await it.rest(1.0) == b"one"
        await soon(fork.delivered)


async def test_with_a_length_it_is_kept() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        for _ in range(2):
            await it.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, headers, body = await it.answer()
            assert (status, headers["connection"], body) == (200, "keep-alive", b"hi")


HEAD = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("length", [(), (("content-length", "2"),)], ids=["chunked", "with a length"])
@pytest.mark.parametrize("body", [(b"hi",), (b"h", b"i"), ()], ids=["at once", "in pieces", "unwritten"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("HEAD", 405), ("GET", 204), ("GET", 304)])
async def test_an_answer_that_has_no_body_puts_none_on_the_wire(
    method: str, status: int, body: tuple[bytes, ...], length: tuple[tuple[str, str], ...]
) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(f"{method} / HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        fork = await edge.next()
        fork.downstream.head(status, length)
        for part in body:
            assert fork.downstream.write(part)
            await asyncio.sleep(0)
        fork.downstream.finish()
        got, headers = await it.head()
        assert got == status
        assert "transfer-encoding" not in headers
        await soon(fork.delivered)
        await it.send(GET)
        (await edge.next()).answer(body=b"next")
        assert (await it.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await it.exactly(4) == b"next"


async def test_that_holds_however_much_is_written() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(HEAD)
        fork = await edge.next()
        fork.stream(b"x" * (HIGH_WATER_BYTES + 1))
        await soon(fork.writable)
        fork.downstream.finish()
        await it.head()
        await soon(fork.delivered)
        await it.send(GET)
        (await edge.next()).answer()
        assert (await it.answer())[2] == b"hi"


async def test_a_refusal_of_head_has_none_either() -> None:
    async with data_server(max_body_bytes=1) as edge, client(edge.port) as it:
        await it.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
        assert (await it.head())[0] == 413
        assert await it.rest() == b""


async def test_a_broken_answer_without_a_body_is_reset() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(HEAD)
        fork = await edge.next()
        fork.downstream.head(200, ())
        fork.downstream.fail(EVENT)
        await it.head()
        assert await it.until_reset() == b""


async def test_pipelined_requests_are_answered_in_order_and_nobody_is_gone() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(GET + GET)
        first = await edge.next()
        first.answer(body=b"first")
        second = await edge.next()
        second.answer(body=b"second")
        assert [(await it.answer())[2], (await it.answer())[2]] == [b"first", b"second"]
        await soon(second.delivered)
        assert (first.told, second.told) == (["delivered"], ["delivered"])


def _segments_received(it: Client) -> int:
    """How many TCP segments with data have come: on loopback, what the other side sent at once is one."""
    sock = it.writer.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = struct.unpack_from("I", info, 152)
    return int(count)
