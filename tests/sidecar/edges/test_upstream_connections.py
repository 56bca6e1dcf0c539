"""Which connection an attempt has, and how long one is kept."""

import asyncio

from edge_support import RememberingSink, Wire, raw_server, soon, upstream_request
from modelpool_sidecar.connections import ProviderConnection
from modelpool_sidecar.upstream import AiohttpUpstream
from upstream_support import CHUNKED, OK, answers, ask, says


async def test_a_connection_is_used_again(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        await ask(edge, server.url)
        assert edge.idle_connections("p") == 1
        await ask(edge, server.url)
        assert len(server.wires) == 1


async def test_an_idle_connection_is_closed_after_its_time(edge: AiohttpUpstream) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.wait_for_end()

    async with raw_server(play) as server:
        await ask(edge, server.url, idle_timeout=0.05)
        await soon(server.wires[0].ended, 1.0)


async def test_none_is_kept_where_the_idle_timeout_is_zero(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        await ask(edge, server.url, idle_timeout=0)
        await ask(edge, server.url, idle_timeout=0)
        assert len(server.wires) == 2


async def test_bytes_that_nobody_asked_for_close_the_connection_and_answer_nobody(edge: AiohttpUpstream) -> None:
    spoke = asyncio.Event()

    async def play(wire: Wire) -> None:
        if len(server.wires) > 1:
            await answers(wire)
            return
        await wire.request()
        await wire.send(OK)
        await spoke.wait()
        await wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 5\r\n\r\nwrong")
        await wire.wait_for_end()

    async with raw_server(play) as server:
        await ask(edge, server.url)
        spoke.set()
        await soon(server.wires[0].ended)
        sink = await ask(edge, server.url)
        assert (sink.status, sink.body) == (200, b"hi")


async def test_two_answers_to_one_request_are_never_given_to_two(edge: AiohttpUpstream) -> None:
    async with raw_server(says(OK + OK.replace(b"hi", b"no"), then="wait")) as server:
        first = await ask(edge, server.url)
        await soon(server.wires[0].ended)
    assert first.body in (b"hi", b"")


async def test_a_provider_that_is_gone_loses_its_idle_connections_at_once(edge: AiohttpUpstream) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.wait_for_end()

    async with raw_server(play) as server:
        await ask(edge, server.url)
        edge.retain(["p", "other"])
        assert edge.idle_connections("p") == 1
        edge.retain(["other"])
        await soon(server.wires[0].ended)
    assert edge.idle_connections("p") == 0


async def test_its_running_attempts_go_on_to_their_end(edge: AiohttpUpstream) -> None:
    go_on = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"2\r\nhi\r\n")
        await go_on.wait()
        await wire.send(b"1\r\n!\r\n0\r\n\r\n")
        await wire.wait_for_end()

    async with raw_server(play) as server:
        sink = RememberingSink()
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.headed)
        edge.retain([])
        go_on.set()
        await soon(sink.over)
        assert (sink.body, sink.ended) == (b"hi!", True)
        await soon(server.wires[0].ended)


async def test_another_idle_timeout_is_another_set_of_connections(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        await ask(edge, server.url, idle_timeout=60.0)
        await ask(edge, server.url, idle_timeout=30.0)
        assert len(server.wires) == 2
    assert "1 providers" in repr(edge)


async def test_the_private_names_of_aiohttp_that_are_used_are_there(edge: AiohttpUpstream) -> None:
    edge.attempt("p", 1.0)
    session = edge._links["p"].session(fresh=False)
    assert session._retry_connection is False
    assert session.connector is not None
    assert isinstance(session.connector._factory(), ProviderConnection)
