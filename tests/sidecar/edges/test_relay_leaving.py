"""Who hears that the client left, and how soon (B31)."""

import asyncio

import pytest

from edge_support import PROMPTLY_SECONDS, Client, client, data_server, idle, reset, soon, until

EVENT = b'data: {"error":{}}\n\n'
MIB = 1024 * 1024


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
        await idle(edge)
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
        await idle(edge)
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
        await idle(edge)
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
        await idle(edge)
        assert fork.told == ["gone"]


@pytest.mark.parametrize("how", LEAVING)
async def test_a_client_that_leaves_in_its_own_body_was_never_there(how: str) -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await until(lambda: edge.server.in_flight)
        await _leave(it, how)
        await idle(edge)
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
        await idle(edge)
        assert fork.told == ["delivered"]
