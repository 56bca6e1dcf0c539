"""One attempt at a provider, over real sockets: what goes out, and what comes back."""

import asyncio

from edge_support import RememberingSink, Wire, raw_server, soon, upstream_request
from modelpool_sidecar.upstream import AiohttpUpstream
from upstream_support import MIB, OK, answers, ask, says


async def test_an_answer_arrives_whole_with_every_header(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        sink = await ask(edge, server.url)
    assert (sink.status, sink.body, sink.ended, sink.failure) == (200, b"hi", True, None)
    assert sink.headers == (("content-length", "2"), ("x-two", "a"), ("x-two", "b"))


async def test_header_values_survive_in_any_encoding(edge: AiohttpUpstream) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Utf: \xc3\xa9\r\nX-Raw: \xe9\r\n\r\n"
    async with raw_server(says(head)) as server:
        sink = await ask(edge, server.url)
    assert dict(sink.headers)["x-utf"] == "é"
    assert dict(sink.headers)["x-raw"].encode("utf-8", "surrogateescape") == b"\xe9"


async def test_interim_answers_are_swallowed(edge: AiohttpUpstream) -> None:
    async with raw_server(says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, then="wait")) as server:
        sink = await ask(edge, server.url)
    assert (sink.status, sink.ended) == (200, True)


async def test_a_switch_of_protocols_is_no_answer(edge: AiohttpUpstream) -> None:
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    async with raw_server(says(head, then="wait")) as server:
        sink = await ask(edge, server.url)
    assert sink.kind == "malformed"


async def test_redirects_cookies_and_codings_are_left_alone(edge: AiohttpUpstream) -> None:
    seen: list[bytes] = []
    head = (
        b"HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\n"
        b"Content-Length: 3\r\n\r\nraw"
    )

    async def play(wire: Wire) -> None:
        while request := await wire.request():
            seen.append(request)
            await wire.send(head)

    async with raw_server(play) as server:
        sink = await ask(edge, server.url)
        await ask(edge, server.url)
    assert (sink.status, sink.body) == (302, b"raw")
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()


async def test_nothing_is_added_to_the_request_but_host_and_length(edge: AiohttpUpstream) -> None:
    seen: list[bytes] = []

    async def play(wire: Wire) -> None:
        seen.append(await wire.request())
        await wire.send(OK)

    async with raw_server(play) as server:
        await ask(edge, f"{server.url}/v1/a%2Fb?x=%20y&z", body=b'{"a":1}')
        host = f"127.0.0.1:{server.port}".encode()
    head, _, body = seen[0].partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    assert first == b"POST /v1/a%2Fb?x=%20y&z HTTP/1.1"
    assert sorted(line.lower() for line in rest) == sorted(
        [b"host: " + host, b"content-type: application/json", b"x-a: 1", b"x-a: 2", b"content-length: 7"]
    )
    assert body == b'{"a":1}'


async def test_a_large_body_arrives_whole(edge: AiohttpUpstream) -> None:
    body = bytes(range(256)) * 4096 * 3
    seen: list[bytes] = []

    async def play(wire: Wire) -> None:
        seen.append(await wire.request())
        await wire.send(OK)

    async with raw_server(play) as server:
        sink = await ask(edge, server.url, body=body)
    assert sink.ended
    assert seen[0].partition(b"\r\n\r\n")[2] == body


async def test_an_answer_that_comes_before_the_body_was_read_counts(edge: AiohttpUpstream) -> None:
    async def play(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        wire.writer.transport.pause_reading()
        await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await answered.wait()

    answered = asyncio.Event()
    async with raw_server(play) as server:
        sink = await ask(edge, server.url, body=b"x" * (40 * MIB))
        answered.set()
    assert (sink.status, sink.body, sink.ended) == (413, b"no", True)
    assert edge.idle_connections("p") == 0


async def test_nothing_is_called_from_inside_start(edge: AiohttpUpstream) -> None:
    sink = RememberingSink()
    edge.attempt("p", 1.0).start(upstream_request("http://127.0.0.1:1/"), sink)
    assert sink.heard == 0
    await soon(sink.over)
