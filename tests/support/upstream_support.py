"""An attempt at a raw provider, to its end; what the provider plays."""

from edge_support import RememberingSink, Wire, soon, upstream_request
from modelpool_sidecar.connections import ProviderConnection
from modelpool_sidecar.upstream import AiohttpUpstream

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Two: a\r\nx-two: b\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1024 * 1024


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


def connections(edge: AiohttpUpstream) -> list[ProviderConnection]:
    return [connection for link in edge._links.values() for connection in link._connections]
