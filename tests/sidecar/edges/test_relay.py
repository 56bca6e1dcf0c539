"""One answer to a client, over real sockets: how it flows, how it ends, who hears that the client left."""

import asyncio
import contextlib
import socket
import struct

import pytest

from edge_support import PROMPTLY_SECONDS, Client, Edge, Fork, client, data_server, reset, soon, until
from modelpool_sidecar.relay import HIGH_WATER_BYTES
from modelpool_sidecar.sendqueue import unsent_bytes
from stillness import again

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENT = b'data: {"error":{}}\n\n'
MIB = 1024 * 1024


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
            assert await _chunks(it) == body
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
        assert await _chunks(it) == b"3"
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


# -- a slow client


async def test_a_slow_client_is_felt_and_loses_nothing() -> None:
    block = bytes(range(256)) * 64
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream()
        sent = 0
        while fork.downstream.write(block):
            sent += len(block)
            await asyncio.sleep(0)
            assert sent < 32 * MIB
        assert not fork.writable.is_set()
        assert not fork.downstream.write(block)
        fork.downstream.finish()
        await it.head()
        got = await _chunks(it)
        assert got == block * (sent // len(block) + 2)
        await soon(fork.writable)
        await soon(fork.delivered)


@pytest.mark.parametrize("complete", [False, True])
async def test_a_client_that_takes_nothing_for_too_long_is_cut_and_counts_as_gone(complete: bool) -> None:
    """B30: its request would be held for ever."""
    async with data_server(stall_seconds=0.2) as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream()
        while fork.downstream.write(b"x" * 65_536):  # noqa: ASYNC110 - until it is full
            await asyncio.sleep(0)
        if complete:
            fork.downstream.finish()
        await soon(fork.gone)
        assert fork.told[-1] == "gone"


@again
async def test_a_client_that_takes_little_now_and_then_is_not_cut() -> None:
    async with data_server(stall_seconds=0.5) as edge, client(edge.port, receive_buffer=4096) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream()
        while fork.downstream.write(b"x" * 65_536):  # noqa: ASYNC110 - until it is full
            await asyncio.sleep(0)
        for _ in range(8):
            await it.exactly(300_000)
            await asyncio.sleep(0.15)
        assert not fork.gone.is_set()


async def test_what_waits_for_a_client_has_its_room_in_memory_until_it_is_taken() -> None:
    """B30: in the one room, with the bodies of requests."""
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.post(b"x" * 100)
        fork = await edge.next()
        fork.downstream.head(200, (("content-length", str(16 * MIB)),))
        fork.downstream.write(b"x" * (16 * MIB))
        fork.downstream.finish()
        await it.head()
        assert edge.server.buffered_bytes == 100 + 16 * MIB
        await it.exactly(16 * MIB)
        await soon(fork.delivered)
        await _idle(edge)


async def test_what_waits_for_a_client_that_leaves_gives_its_room_back() -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream(b"x" * (16 * MIB))
        await it.head()
        assert edge.server.buffered_bytes == 16 * MIB
        fork.downstream.write(b"x" * 1000)
        reset(it.writer)
        await soon(fork.gone)
        await _idle(edge)


async def test_a_stream_goes_on_without_room_but_nothing_is_read_ahead_of_its_client() -> None:
    """B30: bodies that fill the memory break no answer that flows."""
    async with data_server(max_buffered_bytes=10) as edge, client(edge.port) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream()
        await it.head()
        for _ in range(3):
            fork.writable.clear()
            assert not fork.downstream.write(b"x" * 20)
            assert edge.server.buffered_bytes == 20
            await soon(fork.writable)
        assert fork.downstream.write(b"x" * 5)
        fork.downstream.finish()
        assert await _chunks(it) == b"x" * 65
        await soon(fork.delivered)


async def test_it_is_felt_at_the_high_water_mark() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.downstream.head(200, ())
        assert fork.downstream.write(b"x" * HIGH_WATER_BYTES)
        assert not fork.downstream.write(b"x")
        await soon(fork.writable)
        fork.downstream.finish()
        await it.head()
        assert len(await _chunks(it)) == HIGH_WATER_BYTES + 1


async def test_delivered_is_told_when_the_last_byte_has_left_not_before() -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.answer(body=b"x" * (16 * MIB))
        await it.head()
        assert not fork.delivered.is_set()
        assert await it.exactly(16 * MIB) == b"x" * (16 * MIB)
        await soon(fork.delivered)


@pytest.mark.parametrize("ending", ["finish", "fail"])
async def test_that_holds_for_what_lies_below_every_mark(ending: str) -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        it.reader._transport.pause_reading()
        await it.send(GET)
        fork = await edge.next()
        fork.stream()
        transport = fork.downstream._request.transport
        sent = 0
        while not transport.get_write_buffer_size():
            fork.downstream.write(b"x" * 4096)
            sent += 4096
            await asyncio.sleep(0)
        fork.downstream.finish() if ending == "finish" else fork.downstream.fail(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert fork.told == []
        it.reader._transport.resume_reading()
        await it.head()
        if ending == "finish":
            assert len(await _chunks(it)) == sent
        else:
            assert (await it.rest()).count(b"x") == sent
        await soon(fork.delivered)


# -- a broken answer (B25)


async def test_a_broken_stream_ends_after_its_event_without_the_last_chunk() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"data: 1\n\n")
        fork.downstream.fail(EVENT)
        await it.head()
        rest = await it.rest()
        assert rest == b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in _merged(rest, b"data: 1\n\n", EVENT))
        assert not rest.endswith(b"0\r\n\r\n")
        await soon(fork.delivered)
        assert fork.told == ["delivered"]


async def test_a_broken_body_with_a_length_is_reset() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.downstream.head(200, (("content-length", "100"),))
        fork.downstream.write(b"half")
        fork.downstream.fail(None)
        await it.head()
        assert await it.until_reset() == b"half"


async def test_a_broken_body_of_http_1_0_is_reset() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"GET / HTTP/1.0\r\n\r\n")
        fork = await edge.next()
        fork.stream(b"data: 1\n\n")
        fork.downstream.fail(EVENT)
        await it.head()
        assert await it.until_reset() == b"data: 1\n\n" + EVENT


async def test_a_body_shorter_than_its_length_is_broken_too() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.downstream.head(200, (("content-length", "100"),))
        fork.downstream.write(b"half")
        fork.downstream.finish()
        await it.head()
        assert await it.until_reset() == b"half"
        await soon(fork.delivered)


async def test_a_fault_before_the_head_is_a_reset_without_a_byte() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.downstream.fail(EVENT)
        assert await it.until_reset() == b""
        await soon(fork.delivered)


async def test_the_event_reaches_a_slow_client_behind_everything_else() -> None:
    block = b"x" * MIB
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(GET)
        fork = await edge.next()
        fork.stream(*[block] * 8)
        fork.downstream.fail(EVENT)
        await it.head()
        rest = await it.rest()
        assert rest.count(b"x") == 8 * MIB
        assert rest.endswith(EVENT + b"\r\n")
        await soon(fork.delivered)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@again
async def test_a_client_that_reads_nothing_is_cut_off_after_two_seconds(version: str) -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        await it.send(f"GET / HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        fork = await edge.next()
        fork.stream(b"x" * (16 * MIB))
        it.reader._transport.pause_reading()
        started = asyncio.get_running_loop().time()
        fork.downstream.fail(EVENT)
        await soon(fork.delivered)
        assert 1.9 < asyncio.get_running_loop().time() - started < 2.5
        it.reader._transport.resume_reading()
        got = b""
        with contextlib.suppress(ConnectionResetError):
            got = await it.rest()
        assert not got.endswith(b"0\r\n\r\n")
        assert fork.told == ["delivered"]


async def test_after_the_end_nothing_more_is_said() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.answer()
        await it.answer()
        await soon(fork.delivered)
        fork.downstream.fail(EVENT)
        assert fork.downstream.write(b"more")
        await it.post()
        (await edge.next()).answer(body=b"next")
        assert (await it.answer())[2] == b"next"


def test_a_closed_socket_holds_nothing() -> None:
    assert unsent_bytes(-1) == 0


# -- a client that leaves (B31)


LEAVING = ["closes", "half-closes", "resets"]


async def _leave(it: Client, how: str) -> None:
    if how == "closes":
        it.writer.close()
    elif how == "half-closes":
        it.writer.write_eof()
    else:
        reset(it.writer)


@pytest.mark.parametrize("how", LEAVING)
async def test_a_client_that_leaves_before_the_head_is_told_within_100_ms(how: str) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        await _leave(it, how)
        await soon(fork.gone, PROMPTLY_SECONDS)
        fork.answer()
        fork.downstream.fail(EVENT)
        await _idle(edge)
        assert fork.told == ["gone"]


@pytest.mark.parametrize("how", LEAVING)
async def test_in_the_middle_of_a_stream_too(how: str) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"data: 1\n\n")
        await it.head()
        await it.exactly(14)
        await _leave(it, how)
        await soon(fork.gone, PROMPTLY_SECONDS)
        await _idle(edge)
        assert fork.told == ["gone"]


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("ended", [False, True], ids=["in the body", "after its end"])
async def test_and_while_it_has_not_read_what_we_sent(how: str, ended: bool) -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        it.reader._transport.pause_reading()
        await it.post()
        fork = await edge.next()
        fork.stream(b"x" * (16 * MIB))
        if ended:
            fork.downstream.finish()
        await asyncio.sleep(0)
        await _leave(it, how)
        await soon(fork.gone, PROMPTLY_SECONDS)
        await _idle(edge)
        assert fork.told == ["gone"]


@pytest.mark.parametrize("how", LEAVING)
async def test_a_client_that_leaves_during_a_fault_is_gone(how: str) -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        it.reader._transport.pause_reading()
        await it.post()
        fork = await edge.next()
        fork.stream(b"x" * (16 * MIB))
        fork.downstream.fail(EVENT)
        await _leave(it, how)
        await soon(fork.gone, PROMPTLY_SECONDS)
        await _idle(edge)
        assert fork.told == ["gone"]


@pytest.mark.parametrize("how", LEAVING)
async def test_a_client_that_leaves_in_its_own_body_was_never_there(how: str) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await until(lambda: edge.server.in_flight)
        await _leave(it, how)
        await _idle(edge)
        assert edge.accepted.empty()


async def test_a_client_of_http_1_0_that_half_closes_does_not_take_half_for_all() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"GET / HTTP/1.0\r\n\r\n")
        fork = await edge.next()
        fork.stream(b"half")
        await it.head()
        it.writer.write_eof()
        await soon(fork.gone, PROMPTLY_SECONDS)
        await it.until_reset()


async def test_a_client_that_leaves_after_everything_was_delivered_is_not_gone() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.answer()
        await it.answer()
        await soon(fork.delivered)
        it.writer.close()
        await it.writer.wait_closed()
        await _idle(edge)
        assert fork.told == ["delivered"]


async def _idle(edge: Edge) -> None:
    """Until no request runs and no byte is held."""
    await until(lambda: not (edge.server.in_flight or edge.server.buffered_bytes))


def _segments_received(it: Client) -> int:
    """How many TCP segments with data have come: on loopback, what the other side sent at once is one."""
    sock = it.writer.get_extra_info("socket")
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (count,) = struct.unpack_from("I", info, 152)
    return int(count)


async def _chunks(it: Client) -> bytes:
    """A chunked body, to its last chunk."""
    got = []
    async with asyncio.timeout(10):
        while size := int(await it.reader.readline(), 16):
            got.append(await it.reader.readexactly(size))
            await it.reader.readexactly(2)
        await it.reader.readexactly(2)
    return b"".join(got)


def _merged(rest: bytes, *parts: bytes) -> list[bytes]:
    """The parts, each in its chunk or all in one: both are right."""
    return list(parts) if rest.count(b"\r\n") == 2 * len(parts) else [b"".join(parts)]
