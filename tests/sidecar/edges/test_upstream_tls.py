"""Attempts over TLS, against a certificate made for the test."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from edge_support import PROMPTLY_SECONDS, RememberingSink, Wire, raw_server, soon, upstream_request
from modelpool_sidecar.upstream import AiohttpUpstream

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


async def answers(wire: Wire) -> None:
    while await wire.request():
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")


async def ask(edge: AiohttpUpstream, url: str) -> RememberingSink:
    sink = RememberingSink()
    edge.attempt("p", 60.0).start(upstream_request(url), sink)
    await soon(sink.over)
    return sink


async def test_a_trusted_certificate_is_answered_and_the_connection_kept(
    serving: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    edge = AiohttpUpstream(ssl_context=trusting)
    async with raw_server(answers, ssl=serving) as server:
        assert [(await ask(edge, server.url)).body for _ in range(2)] == [b"hi", b"hi"]
        assert len(server.wires) == 1
        await edge.close()


async def test_a_certificate_that_nobody_signed_is_tls(serving: ssl.SSLContext) -> None:
    edge = AiohttpUpstream()
    async with raw_server(answers, ssl=serving) as server:
        sink = await ask(edge, server.url)
        await edge.close()
    assert sink.kind == "tls"
    assert sink.status is None


async def test_a_certificate_for_another_name_is_tls(serving: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    edge = AiohttpUpstream(ssl_context=trusting)
    async with raw_server(answers, ssl=serving) as server:
        sink = await ask(edge, server.url.replace("127.0.0.1", "localhost"))
        await edge.close()
    assert sink.kind == "tls"


async def test_a_handshake_that_is_never_answered_counts_as_connecting(trusting: ssl.SSLContext) -> None:
    async def silent(wire: Wire) -> None:
        await wire.wait_for_end()

    edge = AiohttpUpstream(ssl_context=trusting)
    async with raw_server(silent) as server:
        sink = RememberingSink()
        request = upstream_request(server.url.replace("http:", "https:"), connect_timeout=0.1)
        edge.attempt("p", 60.0).start(request, sink)
        await soon(sink.over, 1.0)
        await soon(server.wires[0].ended)
        await edge.close()
    assert sink.kind == "connect_timeout"


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_handshake_that_is_broken_off_reached_nobody(trusting: ssl.SSLContext, then: str) -> None:
    async def rude(wire: Wire) -> None:
        await wire.reader.read(1)
        if then == "reset":
            wire.reset()

    edge = AiohttpUpstream(ssl_context=trusting)
    async with raw_server(rude) as server:
        sink = await ask(edge, server.url.replace("http:", "https:"))
        await edge.close()
    assert sink.kind in ("tls", "connect")


async def test_a_cancelled_attempt_is_seen_within_100_ms_through_tls_too(
    serving: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    asked = asyncio.Event()

    async def play(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.wait_for_end()

    edge = AiohttpUpstream(ssl_context=trusting)
    async with raw_server(play, ssl=serving) as server:
        attempt, sink = edge.attempt("p", 60.0), RememberingSink()
        attempt.start(upstream_request(server.url), sink)
        await soon(asked)
        attempt.cancel()
        await soon(server.wires[0].ended, PROMPTLY_SECONDS)
        await edge.close()
    assert sink.heard == 0
