"""How an attempt fails, each way with its kind; and addresses that no provider may have."""

import asyncio
import errno
import resource
import socket
import ssl

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from edge_support import RememberingSink, Wire, raw_server, soon, until, upstream_request
from modelpool_sidecar import addresses, upstream
from modelpool_sidecar.ports import ErrorKind
from modelpool_sidecar.upstream import AiohttpUpstream
from stillness import again
from upstream_support import CHUNKED, OK, answers, ask, connections, says


class Names(AbstractResolver):
    """Every name is at this address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class NoNames(Names):
    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        raise OSError(-2, "Name or service not known")


# -- how it fails


async def test_a_refused_connection_is_connect(edge: AiohttpUpstream) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sink = await ask(edge, f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
    assert sink.kind == "connect"
    assert "refused" in (sink.failure or ("", ""))[1].lower()


@again
async def test_a_connection_that_nobody_takes_times_out_when_it_was_told_to(edge: AiohttpUpstream) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        started = asyncio.get_running_loop().time()
        sink = await ask(edge, f"http://127.0.0.1:{full.getsockname()[1]}/", connect_timeout=0.2)
        took = asyncio.get_running_loop().time() - started
        for sock in waiting:
            sock.close()
    assert sink.kind == "connect_timeout"
    assert 0.19 < took < 0.6


async def test_connecting_has_its_exact_time_however_long(edge: AiohttpUpstream) -> None:
    """aiohttp rounds deadlines above 5 s up to whole seconds unless it is told not to."""
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(connect=7.25, ceil_threshold=float("inf"))
    began = loop.time()
    async with aiohttp.helpers.ceil_timeout(timeout.connect, timeout.ceil_threshold) as deadline:
        when = deadline.when()
        assert when is not None
        assert began + 7.25 <= when <= loop.time() + 7.25


async def test_a_name_that_does_not_resolve_is_dns() -> None:
    edge = AiohttpUpstream(resolver=NoNames(""))
    sink = await ask(edge, "http://provider.example/v1")
    await edge.close()
    assert sink.failure == ("dns", "provider.example:80: Name or service not known")


async def test_a_server_without_tls_is_tls(edge: AiohttpUpstream) -> None:
    async def play(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with raw_server(play) as server:
        sink = await ask(edge, server.url.replace("http:", "https:"))
    assert sink.kind == "tls"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_connection_that_ends_before_the_head_is_reset(edge: AiohttpUpstream, then: str) -> None:
    async with raw_server(says(then=then)) as server:
        sink = await ask(edge, server.url)
    assert sink.kind == "reset"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_kept_connection_that_ends_without_a_byte_is_stale(edge: AiohttpUpstream, then: str) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        if then == "reset":
            wire.reset()

    async with raw_server(play) as server:
        assert (await ask(edge, server.url)).ended
        assert (await ask(edge, server.url)).kind == "stale"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_kept_connection_that_ends_within_the_head_is_not_stale(edge: AiohttpUpstream, then: str) -> None:
    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(OK)
        await wire.request()
        (connection,) = connections(edge)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-")
        await until(lambda: connection.heard)
        if then == "reset":
            wire.reset()

    async with raw_server(play) as server:
        assert (await ask(edge, server.url)).ended
        assert (await ask(edge, server.url)).kind == "reset"


async def test_a_fresh_attempt_has_a_connection_of_its_own(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        await ask(edge, server.url)
        await ask(edge, server.url, fresh=True)
        await ask(edge, server.url)
        assert len(server.wires) == 2
    assert edge.idle_connections("p") <= 1


async def test_a_get_is_not_repeated_behind_our_back(edge: AiohttpUpstream) -> None:
    seen: list[bytes] = []

    async def play(wire: Wire) -> None:
        seen.append(await wire.request())

    async with raw_server(play) as server:
        sink = await ask(edge, server.url, method="GET", body=b"")
    assert sink.kind == "reset"
    assert len(seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"220 smtp.example ESMTP\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["smtp", "status", "tls", "endless header"],
)
async def test_an_answer_that_is_not_http_is_malformed(edge: AiohttpUpstream, answer: bytes) -> None:
    async with raw_server(says(answer, then="wait")) as server:
        sink = await ask(edge, server.url)
    assert sink.kind == "malformed"
    assert "smtp" not in (sink.failure or ("", ""))[1]


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
        CHUNKED + b"2\r\nhi\r\n",
        CHUNKED + b"a\r\nhi",
    ],
    ids=["length", "no last chunk", "half a chunk"],
)
async def test_a_body_that_ends_before_its_framing_is_cut(edge: AiohttpUpstream, answer: bytes, then: str) -> None:
    arrived = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(answer)
        await arrived.wait()
        if then == "reset":
            wire.reset()

    async with raw_server(play) as server:
        sink = RememberingSink(on_data=lambda _data: arrived.set())
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.over)
    assert sink.kind == "cut"
    assert sink.body == b"hi"


async def test_a_body_that_ends_with_the_connection_is_whole(edge: AiohttpUpstream) -> None:
    async with raw_server(says(b"HTTP/1.1 200 OK\r\n\r\n", b"hi")) as server:
        sink = await ask(edge, server.url)
    assert (sink.body, sink.ended) == (b"hi", True)


async def test_but_not_if_the_connection_is_reset(edge: AiohttpUpstream) -> None:
    arrived = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nhi")
        await arrived.wait()
        wire.reset()

    async with raw_server(play) as server:
        sink = RememberingSink(on_data=lambda _data: arrived.set())
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.over)
    assert (sink.kind, sink.body) == ("cut", b"hi")


async def test_a_chunk_that_is_none_is_cut(edge: AiohttpUpstream) -> None:
    arrived = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED + b"2\r\nhi\r\n")
        await arrived.wait()
        await wire.send(b"zz\r\n")
        await wire.wait_for_end()

    async with raw_server(play) as server:
        sink = RememberingSink(on_data=lambda _data: arrived.set())
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.over)
    assert (sink.kind, sink.body) == ("cut", b"hi")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (aiohttp.InvalidURL("x"), "connect"),
        (aiohttp.ClientPayloadError("quotes content"), "reset"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "quotes content"), "reset"),
        (ValueError("quotes content"), "reset"),
        (ssl.SSLError(1, "quotes content"), "reset"),
    ],
)
def test_every_foreign_error_has_a_kind_and_none_is_quoted(error: Exception, kind: ErrorKind) -> None:
    found, detail = upstream._translate(error, None, upstream_request("http://h:1/secret"))
    assert found == kind
    assert "secret" not in detail


async def test_where_no_file_is_left_the_provider_is_not_said_to_refuse(edge: AiohttpUpstream) -> None:
    """Names cannot be resolved then either, and the system's words for that do not tell why."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for url in ("http://127.0.0.1:9/v1/x", "http://nobody.invalid/v1/x"):
        sink = RememberingSink()
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            edge.attempt("p", 60.0).start(upstream_request(url), sink)
            await soon(sink.over)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert sink.failure is not None
        assert sink.failure[0] == "no_files"
        assert sink.failure[1].endswith(": this process has no file left to connect with")
    free = RememberingSink()
    edge.attempt("p", 60.0).start(upstream_request("http://nobody.invalid/v1/x"), free)
    await soon(free.over)
    assert free.kind == "dns"


# -- addresses that no provider may have


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_link_local_and_metadata_addresses_are_refused(address: str) -> None:
    assert addresses.refused(address) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "0.0.0.0", "192.168.1.1", "8.8.8.8", "no address"])
def test_all_others_are_not(address: str) -> None:
    assert addresses.refused(address) is None


async def test_a_refused_address_is_never_connected_to(edge: AiohttpUpstream) -> None:
    sink = await ask(edge, "http://169.254.169.254/latest/meta-data")
    assert sink.kind == "connect"
    assert "link-local" in (sink.failure or ("", ""))[1]


async def test_nor_by_a_name_that_resolves_to_it() -> None:
    edge = AiohttpUpstream(resolver=Names("169.254.169.254"))
    sink = await ask(edge, "http://harmless.example/")
    await edge.close()
    assert sink.kind == "connect"
    assert "link-local" in (sink.failure or ("", ""))[1]
