"""One attempt at a provider, over real sockets."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver, ResolveResult

from edge_support import PROMPTLY_SECONDS, RememberingSink, Wire, raw_server, soon, until, upstream_request
from modelpool_sidecar import addresses, upstream
from modelpool_sidecar.connections import ProviderConnection
from modelpool_sidecar.ports import ErrorKind, Headers
from modelpool_sidecar.upstream import AiohttpUpstream
from stillness import again

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: a\r\nx-two: b\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


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


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[AiohttpUpstream]:
    edge = AiohttpUpstream()
    yield edge
    await edge.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def ask(edge: AiohttpUpstream, url: str, *, idle_timeout: float = 60.0, **more: object) -> RememberingSink:
    """One attempt, to its end."""
    sink = RememberingSink()
    edge.attempt("p", idle_timeout).start(upstream_request(url, **more), sink)
    await soon(sink.over)
    return sink


async def answers(wire: Wire) -> None:
    while await wire.request():
        await wire.send(OK)


def says(*parts: bytes, then: str = "close") -> object:
    """Answers one request with these bytes, then closes, resets or waits."""

    async def play(wire: Wire) -> None:
        await wire.request()
        for part in parts:
            await wire.send(part)
        if then == "reset":
            wire.reset()
        elif then == "wait":
            await wire.wait_for_end()

    return play


# -- what comes back


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
        (connection,) = _connections(edge)
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


# -- connections


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


# -- pause, resume, cancel


async def test_a_paused_attempt_stops_the_provider_and_loses_nothing(edge: AiohttpUpstream) -> None:
    total = 64 * MIB
    block = bytes(range(256)) * 1024
    sent = 0
    stuck = asyncio.Event()

    async def play(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            wire.writer.write(block)
            sent += len(block)
            try:
                async with asyncio.timeout(0.3):
                    await wire.writer.drain()
            except TimeoutError:
                stuck.set()
                await wire.writer.drain()

    async with raw_server(play) as server:
        count = 0

        def taken(data: bytes) -> None:
            nonlocal count
            count += len(data)
            sink.body = b""
            if not stuck.is_set():
                attempt.pause()

        sink = RememberingSink(on_data=taken)
        attempt = edge.attempt("p", 60.0)
        attempt.start(upstream_request(server.url), sink)
        await soon(stuck)
        assert count <= 256 * 1024
        assert sent < 32 * MIB
        attempt.resume()
        attempt.resume()
        await soon(sink.over)
    assert sink.ended
    assert count == total


@pytest.mark.parametrize("phase", ["waiting for the head", "in the body", "paused", "uploading"])
async def test_a_cancelled_attempt_is_seen_by_the_provider_within_100_ms(edge: AiohttpUpstream, phase: str) -> None:
    ready = asyncio.Event()

    async def play(wire: Wire) -> None:
        if phase == "uploading":
            await wire.reader.readuntil(b"\r\n\r\n")
            wire.writer.transport.pause_reading()
            ready.set()
            await cancelled.wait()
            wire.writer.transport.resume_reading()
        else:
            await wire.request()
        if phase in ("in the body", "paused"):
            await wire.send(CHUNKED + b"2\r\nhi\r\n")
        if phase == "waiting for the head":
            ready.set()
        await wire.wait_for_end()

    cancelled = asyncio.Event()
    async with raw_server(play) as server:
        attempt = edge.attempt("p", 60.0)
        sink = RememberingSink(on_data=lambda _data: ready.set())
        body = b"x" * (40 * MIB) if phase == "uploading" else b"{}"
        attempt.start(upstream_request(server.url, body=body), sink)
        await soon(ready)
        if phase == "paused":
            attempt.pause()
        heard = sink.heard
        attempt.cancel()
        attempt.cancel()
        cancelled.set()
        await soon(server.wires[0].ended, PROMPTLY_SECONDS if phase != "uploading" else 2.0)
    assert sink.heard == heard
    assert edge.idle_connections("p") == 0


async def test_an_attempt_can_be_cancelled_while_it_connects_or_before(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        attempt, sink = edge.attempt("p", 60.0), RememberingSink()
        attempt.cancel()
        attempt.start(upstream_request(server.url), sink)
        attempt.cancel()
        other, heard = edge.attempt("p", 60.0), RememberingSink()
        other.start(upstream_request(server.url), heard)
        await asyncio.sleep(0)
        other.cancel()
        assert (await ask(edge, server.url)).ended
    assert sink.heard == heard.heard == 0


async def test_an_attempt_can_be_cancelled_from_inside_its_own_call(edge: AiohttpUpstream) -> None:
    async with raw_server(says(CHUNKED + b"2\r\nhi\r\n", b"2\r\nho\r\n", then="wait")) as server:
        attempt = edge.attempt("p", 60.0)
        sink = RememberingSink(on_data=lambda _data: attempt.cancel())
        attempt.start(upstream_request(server.url), sink)
        await soon(sink.fed)
        await soon(server.wires[0].ended, PROMPTLY_SECONDS)
    assert sink.heard == 2


async def test_cancelling_a_finished_attempt_leaves_the_connection_to_the_next(edge: AiohttpUpstream) -> None:
    async with raw_server(answers) as server:
        attempt, sink = edge.attempt("p", 60.0), RememberingSink()
        attempt.start(upstream_request(server.url), sink)
        await soon(sink.over)
        second = RememberingSink()
        edge.attempt("p", 60.0).start(upstream_request(server.url), second)
        attempt.cancel()
        await soon(second.over)
        assert second.ended
        assert len(server.wires) == 1


SECRET = "a secret"


class FailingSink(RememberingSink):
    """Remembers, and fails at one of its calls."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at

    def head(self, status: int, headers: Headers) -> None:
        super().head(status, headers)
        self._fail("head")

    def data(self, data: bytes) -> None:
        super().data(data)
        self._fail("data")

    def end(self) -> None:
        super().end()
        self._fail("end")

    def error(self, kind: ErrorKind, detail: str) -> None:
        super().error(kind, detail)
        self._fail("error")

    def _fail(self, where: str) -> None:
        if where == self._at:
            raise ValueError(SECRET)


@pytest.mark.parametrize(("at", "heard"), [("head", 1), ("data", 2)])
async def test_a_fault_of_the_sink_ends_the_attempt_and_its_connection_at_once(
    edge: AiohttpUpstream, at: str, heard: int, caplog: pytest.LogCaptureFixture
) -> None:
    full = asyncio.Event()

    async def takes_nothing(wire: Wire) -> None:
        wire.reader._transport.pause_reading()
        await soon(full)
        await wire.send(CHUNKED + b"2\r\nhi\r\n")
        await asyncio.Event().wait()

    async with raw_server(takes_nothing) as server:
        sink = FailingSink(at)
        edge.attempt("p", 60.0).start(upstream_request(server.url, body=b"x" * (32 * MIB)), sink)
        await until(lambda: any(it.transport and it.transport.get_write_buffer_size() for it in _connections(edge)))
        full.set()
        await soon(sink.headed)
        await until(lambda: not _connections(edge), PROMPTLY_SECONDS)
    assert sink.heard == heard
    assert "ValueError at" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(("at", "bytes_sent"), [("end", OK), ("error", b"")])
async def test_a_fault_of_the_sink_at_the_end_harms_no_other(
    edge: AiohttpUpstream, at: str, bytes_sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_server(says(bytes_sent)) as server:
        sink = FailingSink(at)
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.over)
        await until(lambda: "ValueError at" in caplog.text)
        assert sink.heard == (3 if at == "end" else 1)
    assert SECRET not in caplog.text


async def test_closing_ends_running_attempts_without_a_word() -> None:
    edge = AiohttpUpstream()
    async with raw_server(says(CHUNKED, then="wait")) as server:
        sink = RememberingSink()
        edge.attempt("p", 60.0).start(upstream_request(server.url), sink)
        await soon(sink.headed)
        await edge.close()
        await soon(server.wires[0].ended, PROMPTLY_SECONDS)
    assert sink.heard == 1


def _connections(edge: AiohttpUpstream) -> list[ProviderConnection]:
    return [connection for link in edge._links.values() for connection in link._connections]
