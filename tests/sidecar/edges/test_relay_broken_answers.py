"""An answer that breaks is never taken for a whole one, and a slow client loses nothing (B25, B30)."""

import asyncio
import contextlib

import pytest

from edge_support import chunks, client, data_server, idle, reset, soon
from modelpool_sidecar.relay import HIGH_WATER_BYTES
from modelpool_sidecar.sendqueue import unsent_bytes
from stillness import again

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENT = b'data: {"error":{}}\n\n'
MIB = 1024 * 1024


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
        got = await chunks(it)
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
        await idle(edge)


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
        await idle(edge)


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
        assert await chunks(it) == b"x" * 65
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
        assert len(await chunks(it)) == HIGH_WATER_BYTES + 1


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
            assert len(await chunks(it)) == sent
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


def _merged(rest: bytes, *parts: bytes) -> list[bytes]:
    """The parts, each in its chunk or all in one: both are right."""
    return list(parts) if rest.count(b"\r\n") == 2 * len(parts) else [b"".join(parts)]
