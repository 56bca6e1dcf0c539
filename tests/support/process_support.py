"""The sidecar as a process of its own, the volume that it follows, and a client that looks at both."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp

import modelpool_sidecar
import stillness
from modelpool_config import codec
from modelpool_config.models import Config
from modelpool_config.mount import CREDENTIAL_PREFIX

PATIENCE_SECONDS = 10.0
"""How long a test waits for what must happen; nothing waits this long when all is well."""
FOLLOWED_WITHIN = 2.0
"""What the kubelet has swapped in is in force this soon: B50 polls every second, the rest is for a busy machine."""
_SIDECAR_PATH = str(Path(modelpool_sidecar.__file__).parent.parent)
_NO_ENV: Mapping[str, str] = MappingProxyType({})
_LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+), admin on (\d+) and (\d+)")


async def eventually(
    holds: Callable[[], object] | Callable[[], Awaitable[object]], seconds: float = PATIENCE_SECONDS
) -> None:
    """Ask again and again until it holds; AssertionError at the deadline."""
    await stillness.until(holds, seconds, pause=0.01)


class Volume:
    """A projected volume, filled the way the kubelet does it: a new directory, then one rename of the link to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._version = 0
        self._files: dict[str, bytes] = {}

    def put(
        self,
        config: Config | bytes | None = None,
        keys: Mapping[str, str] | None = None,
        sidecars: int | None = None,
        *,
        gzipped: bool = False,
    ) -> None:
        """Swap in these; what is None stays as it is. `config` as bytes: exactly these."""
        if config is not None:
            data = config if isinstance(config, bytes) else codec.encode(config)
            self._drop("config.json")
            self._files["config.json.gz" if gzipped else "config.json"] = codec.compress(data) if gzipped else data
        if keys is not None:
            self._drop(CREDENTIAL_PREFIX)
            self._files.update({CREDENTIAL_PREFIX + name: value.encode() for name, value in keys.items()})
        if sidecars is not None:
            self._files["sidecars.json"] = b"%d\n" % sidecars
        self.swap()

    def write(self, name: str, data: bytes) -> None:
        """Swap in this file with exactly these bytes."""
        self._files[name] = data
        self.swap()

    def project(self, files: Mapping[str, bytes]) -> None:
        """Swap in exactly these files."""
        self._files = dict(files)
        self.swap()

    def remove_config(self) -> None:
        """Swap in everything but the config."""
        self._drop("config.json")
        self.swap()

    def swap(self) -> None:
        """The same files, in a new directory."""
        self._version += 1
        directory = self.root / f"..2026_11_21_04_00_{self._version:03}.1"
        directory.mkdir(parents=True)
        for name, data in self._files.items():
            (directory / name).write_bytes(data)
        link, temporary = self.root / "..data", self.root / "..data_tmp"
        old = link.readlink() if link.is_symlink() else None
        temporary.symlink_to(directory.name)
        temporary.rename(link)
        if old is not None:
            shutil.rmtree(self.root / old)

    def _drop(self, prefix: str) -> None:
        self._files = {name: data for name, data in self._files.items() if not name.startswith(prefix)}


@dataclass(frozen=True)
class Told:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error of ours."""
        return str(self.json["error"]["code"])


async def fetch(url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: Any = None) -> Told:
    """One request on a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers, json=body) as answer,
    ):
        data = await answer.read()
        return Told(answer.status, {name.lower(): value for name, value in answer.headers.items()}, data)


def question(text: str = "hi", *, model: str = "chat", stream: bool = False) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}


def metric(text: bytes, name: str, **labels: str) -> float:
    """One sample of a Prometheus text."""
    for line in text.decode().splitlines():
        if line.startswith(f"{name}{{") and all(f'{label}="{value}"' in line for label, value in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"there is no {name} with {labels}")


@dataclass
class Process:
    """A running `python -m modelpool_sidecar`. `out` and `err`: its lines so far."""

    process: asyncio.subprocess.Process
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    _readers: list["asyncio.Task[None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            if stream is not None:
                self._readers.append(asyncio.create_task(_collect(stream, lines)))

    @property
    def ports(self) -> tuple[int, int, int]:
        """The data port, that of the probes, the loopback one."""
        for line in self.err:
            if found := _LISTENING.search(line):
                data, public, local = map(int, found.groups())
                return data, public, local
        raise AssertionError("it does not listen yet")

    @property
    def listens(self) -> bool:
        """Whether it has said so."""
        return any(_LISTENING.search(line) for line in self.err)

    def url(self, path: str) -> str:
        """Of the port that serves this path."""
        data, public, local = self.ports
        if path.startswith("/v1"):
            return f"http://127.0.0.1:{data}{path}"
        is_local = path.startswith(("/-/config", "/-/state", "/-/fake"))
        return f"http://127.0.0.1:{local if is_local else public}{path}"

    async def get(self, path: str) -> Told:
        """Look at it."""
        return await fetch(self.url(path))

    async def ask(
        self, text: str = "hi", *, model: str = "chat", stream: bool = False, headers: Mapping[str, str] | None = None
    ) -> Told:
        """One chat request."""
        body = question(text, model=model, stream=stream)
        return await fetch(self.url("/v1/chat/completions"), method="POST", headers=headers, body=body)

    async def is_ready(self) -> bool:
        """What the kubelet asks."""
        return (await self.get("/readyz")).status == 200

    async def reloads(self, result: str) -> float:
        """How many configs were read with this result."""
        text = (await self.get("/metrics")).body
        return metric(text, "modelpool_config_reloads_total", result=result)

    def said(self, word: str) -> list[str]:
        """The lines of its log with this word."""
        return [line for line in self.err if word in line]

    def terminate(self) -> None:
        """What the kubelet sends first."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; the exit code."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await asyncio.gather(*self._readers)
        return code


async def _collect(stream: asyncio.StreamReader, lines: list[str]) -> None:
    async for line in stream:
        lines.append(line.decode().rstrip("\n"))  # noqa: PERF401 - read while it grows


@asynccontextmanager
async def started(
    config_dir: Path, env: Mapping[str, str] = _NO_ENV, *, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[Process]:
    """The process, whether it listens or not; ended where the test leaves it running. `stdout`: a descriptor."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MODELPOOL_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "modelpool_sidecar",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
        env={
            **inherited,
            "PYTHONPATH": _SIDECAR_PATH,
            "MODELPOOL_PORT": "0",
            "MODELPOOL_CONFIG_DIR": str(config_dir),
            **env,
        },
    )
    held = Process(process)
    try:
        yield held
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await held.ended(3.0)
            except TimeoutError:
                process.kill()
        await held.ended()


@asynccontextmanager
async def listening(
    config_dir: Path, env: Mapping[str, str] = _NO_ENV, *, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[Process]:
    """The process, listening."""
    async with started(config_dir, env, stdout=stdout) as process:
        await eventually(lambda: process.listens or process.process.returncode is not None)
        assert process.listens, process.err
        yield process


@asynccontextmanager
async def ready(volume: Volume, **env: str) -> AsyncIterator[Process]:
    """The process with the volume's config in force."""
    async with listening(volume.root, env) as process:
        await eventually(process.is_ready)
        yield process
