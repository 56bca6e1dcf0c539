"""Holds streams that say nothing for a while, and tells what memory a sidecar takes for each.

    python benchmarks/held_streams.py [STREAMS]

The sidecar is a process of its own, `modelpool run`, so its resident memory is its own. Provider and clients live in
this one: each stream gets its head and one token, and then silence. The exit status is 1 where a stream takes MOST_KIB
or more.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STREAMS = 2_000
MOST_KIB = 64
WARM = 100
"""So many are held before anything is measured: what the first ones cost is the sidecar's own."""
AT_ONCE = 50

MANIFESTS = """\
apiVersion: modelpool.dev/v1alpha1
kind: Provider
metadata: {{name: silent}}
spec:
  dialect: OpenAI
  baseURL: http://127.0.0.1:{port}/v1
  connections: {{maxOpen: 65535}}
---
apiVersion: modelpool.dev/v1alpha1
kind: ModelPool
metadata: {{name: chat}}
spec:
  targets: [{{name: silent, providerRef: {{name: silent}}, model: silent}}]
"""
MESSAGES = [{"role": "user", "content": "Tell me something about ponds. " * 30}]
BODY = json.dumps({"model": "chat", "stream": True, "messages": MESSAGES}).encode()
ASK = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Silent(asyncio.Protocol):
    """A provider that says one token and no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._asked = transport, b""

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self._asked.endswith(b"}"):
            self._asked = b""
            self._transport.write(HEAD + b"%x\r\n%b\r\n" % (len(TOKEN), TOKEN))


async def hold(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One stream, whose token has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2048)
    writer.write(ASK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    await asyncio.wait_for(reader.readuntil(TOKEN), 60)
    return reader, writer


async def held(port: int, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many streams."""
    there: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    while len(there) < count:
        there += await asyncio.gather(*(hold(port) for _ in range(min(AT_ONCE, count - len(there)))))
    return there


def resident_kib(pid: int) -> int:
    """Memory of a process that is in use."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


def free_ports() -> int:
    """The first of three ports in a row that nobody has."""
    first = 20_000 + os.getpid() % 1_000 * 10
    for port in range(first, first + 10_000, 3):
        with contextlib.ExitStack() as held:
            try:
                for each in range(port, port + 3):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", each))
            except OSError:
                continue
            return port
    raise SystemExit("no ports are free")


async def measure(streams: int) -> float:
    """KiB that each stream takes."""
    loop = asyncio.get_running_loop()
    provider = await loop.create_server(Silent, "127.0.0.1", 0)
    port = free_ports()
    with tempfile.TemporaryDirectory() as folder:
        manifests = MANIFESTS.format(port=provider.sockets[0].getsockname()[1])
        (Path(folder) / "all.yaml").write_text(manifests, encoding="utf-8")
        command = (sys.executable, "-m", "modelpool_cli", "run", "-f", folder, "--port", str(port))
        paths = os.pathsep.join(str(ROOT / part) for part in ("cli", "operator", "sidecar"))
        sidecar = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "PYTHONPATH": paths}, stdout=asyncio.subprocess.DEVNULL
        )
        there = []
        try:
            there = await _warm(port)
            before = resident_kib(sidecar.pid)
            there += await held(port, streams)
            await asyncio.sleep(1)
            after = resident_kib(sidecar.pid)
        finally:
            for _, writer in there:
                writer.transport.abort()
            if sidecar.returncode is None:
                sidecar.send_signal(signal.SIGINT)
            await sidecar.wait()
            provider.close()
    return (after - before) / streams


async def _warm(port: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Wait until it listens; hold the first ones."""
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return await held(port, WARM)
    raise SystemExit("the sidecar does not listen")


def main() -> int:
    """Measure and tell."""
    from modelpool_sidecar import openfiles  # noqa: PLC0415 - found by the path that the script itself sets

    openfiles.raise_limit()
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    kib = asyncio.run(measure(streams))
    print(f"{streams} streams held: {kib:.1f} KiB each")
    return int(kib >= MOST_KIB)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "sidecar")]
    sys.exit(main())
