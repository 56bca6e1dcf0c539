"""An attempt that is paused, resumed, cancelled, or whose sink fails (B31)."""

import asyncio

import pytest

from edge_support import PROMPTLY_SECONDS, RememberingSink, Wire, raw_server, soon, until, upstream_request
from modelpool_sidecar.ports import ErrorKind, Headers
from modelpool_sidecar.upstream import AiohttpUpstream
from upstream_support import CHUNKED, MIB, OK, answers, ask, connections, says


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
        await until(lambda: any(it.transport and it.transport.get_write_buffer_size() for it in connections(edge)))
        full.set()
        await soon(sink.headed)
        await until(lambda: not connections(edge), PROMPTLY_SECONDS)
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
