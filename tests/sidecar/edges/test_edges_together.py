"""Both edges joined by the thinnest proxy there is: nobody gets another's answer, and nothing is left behind."""

import asyncio
import contextlib
import random

import pytest

from edge_support import Client, Fork, Wire, client, data_server, raw_server, reset, until
from modelpool_sidecar.ports import ErrorKind, Headers, UpstreamRequest
from modelpool_sidecar.upstream import AiohttpUpstream


class Pipe:
    """A request passed on as it came, an answer passed back as it came."""

    def __init__(self, edge: AiohttpUpstream, url: str, fork: Fork) -> None:
        self._downstream = fork.downstream
        self._attempt = edge.attempt("p", 60.0)
        self._downstream.on_gone = self._attempt.cancel
        self._downstream.on_writable = self._attempt.resume
        number = dict(fork.received.headers)["x-number"]
        self._attempt.start(UpstreamRequest("POST", url, (("x-number", number),), b"{}", 5.0), self)

    def head(self, status: int, headers: Headers) -> None:
        kept = tuple(pair for pair in headers if pair[0] in ("content-length", "x-number"))
        self._downstream.head(status, kept)

    def data(self, data: bytes) -> None:
        if not self._downstream.write(data):
            self._attempt.pause()

    def end(self) -> None:
        self._downstream.finish()

    def error(self, kind: ErrorKind, detail: str) -> None:
        self._downstream.fail(None)


async def _provide(wire: Wire) -> None:
    """Answers with the request's own number: whole, in pieces, or not at all."""
    while request := await wire.request():
        number = request.partition(b"x-number: ")[2][:6]
        head = b"HTTP/1.1 200 OK\r\nx-number: %b\r\n" % number
        if int(number) % 5 == 0:
            return
        if int(number) % 5 == 1:
            await wire.send(head + b"Content-Length: 6\r\n\r\n" + number)
            continue
        await wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(10):
            await wire.send(b"258\r\n%b\r\n" % (number * 100))
            await asyncio.sleep(0)
        await wire.send(b"0\r\n\r\n")


async def _body(it: Client, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await it.exactly(int(headers["content-length"]))
    got = b""
    while size := int(await it.reader.readuntil(b"\n"), 16):
        got += await it.exactly(size)
        await it.exactly(2)
    await it.exactly(2)
    return got


@pytest.mark.parametrize("seed", range(4))
async def test_every_answer_belongs_to_its_request_while_clients_come_and_go(seed: int) -> None:
    rng = random.Random(seed)
    numbers = iter(range(100_000, 200_000))
    whole = 0

    async def visit(port: int) -> None:
        nonlocal whole
        async with client(port) as it:
            for _ in range(rng.randint(1, 4)):
                number, mood = str(next(numbers)), rng.random()
                await it.post(more=f"X-Number: {number}\r\n")
                if mood < 0.2:
                    return
                status, headers = await it.head()
                assert (status, headers["x-number"]) == (200, number)
                if mood < 0.3:
                    reset(it.writer)
                    return
                if mood < 0.4:
                    return
                body = await _body(it, headers)
                assert body == number.encode() * (len(body) // 6)
                whole += 1

    async def visitor(port: int) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the provider hung up, and we said so
            await visit(port)

    edge = AiohttpUpstream()
    url = ""
    async with data_server(at_once=lambda fork: _join(edge, url, fork)) as front, raw_server(_provide) as provider:
        url = provider.url
        for _ in range(4):
            await asyncio.gather(*(visitor(front.port) for _ in range(64)))
        await until(lambda: front.server.in_flight == 0)
        await edge.close()
    assert whole > 100


def _join(edge: AiohttpUpstream, url: str, fork: Fork) -> None:
    Pipe(edge, url, fork)
