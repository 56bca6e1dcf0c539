"""The data port, over real sockets: what it hands on, what it refuses, how it drains."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable

import pytest

from edge_support import Edge, Fork, client, data_server, soon, until
from modelpool_sidecar import faults, listening
from modelpool_sidecar.core.room import Room

GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENT = b'data: {"error":{}}\n\n'
MIB = 1024 * 1024


# -- what is handed on


async def test_a_request_is_handed_on_as_it_came() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.post(b'{"a": 1}', "/v1/../a%2Fb//c?x=%20y&&z#", "X-Two: a\r\nx-two:  b \r\nX-Utf: \xe9\r\n")
        received = (await edge.next()).received
        assert (received.method, received.target) == ("POST", "/v1/../a%2Fb//c?x=%20y&&z#")
        assert received.headers == (
            ("host", "localhost"),
            ("x-two", "a"),
            ("x-two", "b"),
            ("x-utf", "é"),
            ("content-length", "8"),
        )
        assert (received.body, received.http_version, received.loopback) == (b'{"a": 1}', (1, 1), True)


async def test_a_chunked_body_is_handed_on_whole() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        await it.send(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
        assert (await edge.next()).received.body == b"hello"


async def test_a_coded_body_is_not_decoded() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.post(b"\x1f\x8bnot really", more="Content-Encoding: gzip\r\n")
        assert (await edge.next()).received.body == b"\x1f\x8bnot really"


async def test_a_large_header_passes() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.post(more=f"X-Large: {'y' * 30_000}\r\n")
        assert (await it.answer())[0] == 200
        await edge.next()


async def test_a_client_that_asks_is_told_to_go_on() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await it.exactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await it.send(b"hello")
        assert (await edge.next()).received.body == b"hello"
        assert (await it.answer())[0] == 200


@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("::1",)])
async def test_it_listens_on_ipv6_too(hosts: tuple[str, ...]) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no ::1")
    async with data_server(hosts, Fork.answer) as edge:
        for host in hosts:
            async with client(edge.port, host) as it:
                await it.post()
                assert (await it.answer())[0] == 200
                assert (await edge.next()).received.loopback


# -- what is refused


async def _refused(edge: Edge, request: bytes) -> tuple[int, str, str, dict[str, str]]:
    async with client(edge.port) as it:
        await it.send(request)
        status, headers, body = await it.answer()
        error = json.loads(body)["error"]
        assert headers["content-type"] == "application/json"
        assert headers.get("connection", "close") == "close"
        assert await it.rest() == b""
        return status, error["code"], error["message"], headers


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\nhello world",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
    ],
    ids=["declared", "asked first", "sent", "chunked"],
)
async def test_a_body_that_is_too_large_is_refused(request_bytes: bytes) -> None:
    async with data_server(max_body_bytes=10) as edge:
        async with client(edge.port) as it:
            await it.send(request_bytes)
            status, _, body = await it.answer()
        assert status == 413
        assert json.loads(body)["error"] == {
            "message": "the body is larger than 10 bytes, the most that is taken",
            "type": "invalid_request_error",
            "code": "body_too_large",
        }
        assert edge.accepted.empty()


async def test_the_default_bound_is_32_mib() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (32 * MIB + 1))
        status, _, body = await it.answer()
        assert (status, json.loads(body)["error"]["message"][:34]) == (413, "the body is larger than 32 MiB, th")


@pytest.mark.parametrize(
    "second",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n",
    ],
    ids=["declared", "chunked"],
)
async def test_all_bodies_together_are_bounded_and_given_back(second: bytes) -> None:
    async with data_server(max_buffered_bytes=10) as edge, client(edge.port) as it:
        await it.post(b"1234567")
        fork = await edge.next()
        assert edge.server.buffered_bytes == 7
        async with client(edge.port) as other:
            await other.send(second)
            status, headers, body = await other.answer()
            assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
            assert headers["retry-after"] == "1"
        fork.answer()
        await it.answer()
        await until(lambda: edge.server.buffered_bytes == 0)
        async with client(edge.port) as other:
            await other.post(b"12345678")
            (await edge.next()).answer()
            assert (await other.answer())[0] == 200


async def test_a_body_that_is_only_declared_takes_no_room() -> None:
    async with data_server(max_buffered_bytes=10) as edge, client(edge.port) as one, client(edge.port) as two:
        for idle in (one, two):
            await idle.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        await until(lambda: edge.server.in_flight == 2)
        assert edge.server.buffered_bytes == 0
        async with client(edge.port) as third:
            await third.post(b"1234567890")
            (await edge.next()).answer()
            assert (await third.answer())[0] == 200


async def test_a_body_takes_room_for_what_has_come_of_it() -> None:
    async with data_server(max_buffered_bytes=10) as edge, client(edge.port) as it, client(edge.port) as other:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n123")
        await until(lambda: edge.server.buffered_bytes == 3)
        await it.send(b"45")
        await until(lambda: edge.server.buffered_bytes == 5)
        await other.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n1234")
        await until(lambda: edge.server.buffered_bytes == 9)
        await it.send(b"678")
        status, _, body = await it.answer()
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        await until(lambda: edge.server.buffered_bytes == 4)
        await other.send(b"5")
        (await edge.next()).answer()
        assert (await other.answer())[0] == 200


def test_a_lease_is_given_back_once() -> None:
    room = Room(10)
    lease, other = room.lease(), room.lease()
    assert lease.take(6)
    assert not other.take(5)
    assert other.fits(4)
    assert other.take(4)
    assert not lease.fits(1)
    lease.release()
    lease.release()
    assert room.taken_bytes == 4
    assert repr(room) == "<Room: 4 of 10 bytes>"


async def test_a_body_that_stops_is_refused_after_a_while() -> None:
    async with data_server(body_idle_seconds=0.05) as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
        status, _, body = await it.answer()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_body")
        assert "4 bytes came" in json.loads(body)["error"]["message"]


async def test_a_body_whose_framing_breaks_is_refused_at_once() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
        await until(lambda: edge.server.in_flight)
        await it.send(b"zz\r\nllo")
        status, _, body = await it.answer()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_body")


@pytest.mark.parametrize(
    ("request_bytes", "sentence"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "the request is not well-formed HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n", "the request is not well-formed HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "the request is not well-formed HTTP/1.1"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "the request is not well-formed HTTP/1.1",
        ),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n", "the request line, or a header, is longer than 32 KiB"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, "the request line, or a header, is longer than 32 KiB"),
    ],
    ids=["tls", "no colon", "length", "smuggling", "line", "header"],
)
async def test_what_is_not_http_is_answered_in_json(request_bytes: bytes, sentence: str) -> None:
    async with data_server() as edge:
        status, code, message, _ = await _refused(edge, request_bytes)
    assert (status, code, message) == (400, "invalid_request", sentence)


SECRET = "a secret"


def _fails(_fork: Fork) -> None:
    raise ValueError(SECRET)


def _fails_after_its_head(fork: Fork) -> None:
    fork.stream(b"data: 1\n\n")
    raise ValueError(SECRET)


def _fails_after_its_end(fork: Fork) -> None:
    fork.answer()
    raise TimeoutError(SECRET)


def _answers_what_cannot_be_written(fork: Fork) -> None:
    fork.downstream.head(200, (("x-a", f"{SECRET}\nx-b: 1"),))
    fork.downstream.write(b"data: 1\n\n")


@pytest.mark.parametrize(
    "fault", [_fails, _fails_after_its_head, _fails_after_its_end, _answers_what_cannot_be_written]
)
async def test_a_fault_of_ours_is_answered_and_logged_without_its_words(
    fault: Callable[[Fork], None], caplog: pytest.LogCaptureFixture
) -> None:
    forks: list[Fork] = []

    def fails(fork: Fork) -> None:
        forks.append(fork)
        fault(fork)

    async with data_server(at_once=fails) as edge, client(edge.port) as it:
        await it.post()
        status, headers, body = await it.answer()
        assert (status, json.loads(body)["error"]["code"]) == (500, "internal_error")
        assert headers["content-type"] == "application/json"
        assert await it.rest() == b""
        assert (edge.server.in_flight, edge.server.buffered_bytes) == (0, 0)
        assert forks[0].told == ["gone"]
    assert "Error at" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_fault_of_ours_in_the_middle_of_a_body_does_not_look_like_its_end(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise ValueError(SECRET)

    async with data_server() as edge, client(edge.port) as it:
        await it.send(f"GET / HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        fork = await edge.next()
        fork.downstream.on_writable = fails
        fork.stream(b"x" * MIB)
        await it.head()
        if version == "1.0":
            await it.until_reset()
        else:
            assert not (await it.rest()).endswith(b"0\r\n\r\n")
        await soon(fork.gone)
        assert fork.told == ["gone"]
    assert "ValueError at" in caplog.text
    assert SECRET not in caplog.text


def test_a_fault_without_an_error_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    faults.log(logging.getLogger("t"), "it failed", None)
    assert caplog.messages == ["it failed"]


# -- listening


async def test_a_taken_port_is_named() -> None:
    async with data_server() as edge:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {edge.port}: Address already in use"):
            listening.bind(["127.0.0.1"], edge.port)


def test_without_ipv6_only_ipv4_is_listened_on(caplog: pytest.LogCaptureFixture) -> None:
    sockets = listening.bind(["127.0.0.1", "2001:db8::1"], 0)
    assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    assert caplog.messages == ["not listening on 2001:db8::1: IPv6 is off"]
    sockets[0].close()


def test_no_address_at_all_is_an_error() -> None:
    with pytest.raises(OSError, match="no address to listen on among 2001:db8::1"):
        listening.bind(["2001:db8::1"], 0)


def test_a_failed_address_leaves_no_socket_open() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1"):
        listening.bind(["127.0.0.1", "192.0.2.1"], 0)


# -- drain (B51)


async def test_drain_refuses_connections_closes_idle_ones_and_finishes_what_runs() -> None:
    async with data_server() as edge, client(edge.port) as idle, client(edge.port) as busy, client(edge.port) as new:
        await idle.post()
        (await edge.next()).answer()
        await idle.answer()
        await busy.post()
        fork = await edge.next()
        draining = asyncio.create_task(edge.server.drain(5.0))
        assert await idle.rest() == b""
        assert await new.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", edge.port)
        assert "draining" in repr(edge.server)
        fork.answer()
        status, headers, body = await busy.answer()
        assert (status, headers["connection"], body) == (200, "close", b"hi")
        assert await busy.rest() == b""
        await draining
        assert fork.told == ["delivered"]


async def test_drain_ends_as_soon_as_nothing_runs() -> None:
    async with data_server() as edge:
        async with asyncio.timeout(10.0):
            await edge.server.drain(60.0)


async def test_a_body_on_its_way_is_read_to_its_end_while_draining() -> None:
    async with data_server(at_once=Fork.answer) as edge, client(edge.port) as it:
        await it.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf+")
        await until(lambda: edge.server.in_flight)
        draining = asyncio.create_task(edge.server.drain(5.0))
        await until(lambda: "draining" in repr(edge.server))
        await it.send(b"half.")
        assert (await it.answer())[2] == b"hi"
        await draining


async def test_a_stream_that_began_before_ends_its_connection_when_it_ends() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"x")
        await it.head()
        draining = asyncio.create_task(edge.server.drain(5.0))
        await until(lambda: "draining" in repr(edge.server))
        fork.downstream.finish()
        assert await it.rest() == b"1\r\nx\r\n0\r\n\r\n"
        await draining


async def test_a_stream_that_outlives_the_grace_period_is_ended_by_its_leader() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"x")
        fork.downstream.on_drain_deadline = lambda: fork.downstream.fail(EVENT)
        await it.head()
        await edge.server.drain(0.05)
        rest = await it.rest()
        assert rest.endswith(EVENT + b"\r\n")
        assert fork.told == ["delivered"]


async def test_and_by_us_where_nobody_leads_it() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"x")
        await it.head()
        await edge.server.drain(0.05)
        assert await it.rest() == b"1\r\nx\r\n"
        assert fork.told == ["delivered"]


async def test_closing_ends_everything_at_once() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.post()
        fork = await edge.next()
        fork.stream(b"x")
        await it.head()
        await edge.server.close()
        await soon(fork.gone)
        assert fork.told == ["gone"]
        assert not (await it.rest()).endswith(b"0\r\n\r\n")


async def test_a_client_of_http_1_0_cannot_take_what_was_closed_for_all() -> None:
    async with data_server() as edge, client(edge.port) as it:
        await it.send(b"GET / HTTP/1.0\r\n\r\n")
        fork = await edge.next()
        fork.stream(b"half")
        await it.head()
        await it.exactly(4)
        await edge.server.close()
        assert await it.until_reset() == b""


async def test_an_answer_that_a_client_will_not_take_does_not_hold_up_the_end() -> None:
    async with data_server() as edge, client(edge.port, receive_buffer=8192) as it:
        it.reader._transport.pause_reading()
        await it.send(GET)
        fork = await edge.next()
        fork.answer(body=b"x" * (16 * MIB))
        async with asyncio.timeout(10.0):
            await edge.server.drain(0.05)
        assert fork.told == ["gone"]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True
