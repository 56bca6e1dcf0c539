"""One attempt at a provider, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from edge_support import RememberingSink, Wire, raw_server, soon, upstream_request

from modelpool_sidecar.upstream import AiohttpAttempt, AiohttpUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: a\r\nx-two: b\r\n\r\nhi"


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[AiohttpUpstream]:
    upstream = AiohttpUpstream()
    yield upstream
    await upstream.close()


async def ask(upstream: AiohttpUpstream, url: str, *, idle_timeout: float = 60.0, **more: object) -> RememberingSink:
    """One attempt, to its end."""
    sink = RememberingSink()
    upstream.attempt("p", idle_timeout).start(upstream_request(url, **more), sink)  # type: ignore[arg-type]
    await soon(sink.over)
    return sink


async def answers(wire: Wire) -> None:
    while await wire.request():
        await wire.send(OK)


async def test_an_answer_arrives_whole_and_in_order(upstream: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        sink = await ask(upstream, server.url)
    assert (sink.status, sink.body, sink.ended, sink.failure) == (200, b"hi", True, None)
    assert sink.headers == (("content-length", "2"), ("x-two", "a"), ("x-two", "b"))


async def test_a_connection_is_used_again(upstream: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        await ask(upstream, server.url)
        await ask(upstream, server.url)
        assert len(server.wires) == 1


async def test_a_refused_connection_is_connect(upstream: AiohttpUpstream) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sink = await ask(upstream, f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    assert sink.kind == "connect"


async def test_nothing_is_called_from_inside_start(upstream: AiohttpUpstream) -> None:
    sink = RememberingSink()
    attempt: AiohttpAttempt = upstream.attempt("p", 1.0)
    attempt.start(upstream_request("http://127.0.0.1:1/"), sink)
    assert sink.heard == 0
    await soon(sink.over)


@pytest.mark.parametrize("fault", ["close", "reset"])
async def test_a_connection_that_ends_before_the_head_is_reset(upstream: AiohttpUpstream, fault: str) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        if fault == "reset":
            wire.reset()

    async with raw_server(play) as server:
        sink = await ask(upstream, server.url)
    assert sink.kind == "reset"


async def test_a_cancelled_attempt_is_seen_by_the_provider_at_once(upstream: AiohttpUpstream) -> None:
    asked = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.wait_for_end()

    async with raw_server(play) as server:
        sink = RememberingSink()
        attempt = upstream.attempt("p", 60.0)
        attempt.start(upstream_request(server.url), sink)
        await soon(asked)
        attempt.cancel()
        attempt.cancel()
        await soon(server.wires[0].ended, 0.1)
    assert sink.heard == 0
