"""Headless Chromium, driven through its DevTools protocol: Debian's package, no driver and no download of a browser."""

import asyncio
import fcntl
import itertools
import os
import shutil
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_SECONDS = 30.0
_PACKAGE = "chromium"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # it runs as root in CI, and shows nothing but our own page
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--remote-debugging-port=0",
)


class NoBrowserError(Exception):
    """There is none, and none may be installed here; the message says what to do."""


def find(environ: Mapping[str, str] = os.environ, say: Callable[[str], None] = lambda _line: None) -> str:
    """The browser's program. In CI it is installed where it is missing; a test changes nobody's own machine."""
    if environ.get("CI") and os.geteuid() == 0 and shutil.which("apt-get", path=environ.get("PATH")):
        with (Path(tempfile.gettempdir()) / "modelpool-browser.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another test worker may be about it
            if _there(environ) is None:
                say(f"installing {_PACKAGE}")
                _install(environ)
    found = _there(environ)
    if found is None:
        raise NoBrowserError(f"no browser is here to look at the status page: apt-get install {_PACKAGE}")
    return found


def _install(environ: Mapping[str, str]) -> None:
    quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--no-install-recommends", _PACKAGE]):
        run = subprocess.run(["apt-get", "-qq", *words], env=quiet, capture_output=True, text=True, check=False)
        if run.returncode:
            raise NoBrowserError(f"apt-get {' '.join(words)} failed: {run.stderr.strip()[-2000:]}")


def _there(environ: Mapping[str, str]) -> str | None:
    paths = (shutil.which(name, path=environ.get("PATH")) for name in _NAMES)
    return next((path for path in paths if path), None)


class Tab:
    """One page. What its console said, and what it asked the network for, is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def open(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show this address in a window of this size."""
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            await self.call(f"{domain}.enable")
        await self.look_as(width=width, height=height, dark=dark)
        await self.call("Page.navigate", url=url)

    async def look_as(self, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Another window, or another taste."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **size)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await future
        assert "error" not in answer, answer
        return dict[str, Any](answer["result"])

    async def value(self, script: str) -> Any:
        """What an expression comes to in the page."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def text(self) -> str:
        """What a person can read."""
        return str(await self.value("document.body ? document.body.innerText : ''"))

    async def shows(self, *words: str) -> str:
        """Wait until all of this can be read at once; the text."""
        text = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not all(word in text for word in words):
                    await asyncio.sleep(0.05)  # the page announces nothing to us
                    text = await self.text()
                return text
        raise AssertionError(f"{[word for word in words if word not in text]} cannot be read in:\n{text}")

    async def spoken(self) -> list[tuple[str, str]]:
        """Roles and names, as a screen reader gets them."""
        nodes = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        kept = (node for node in nodes if not node.get("ignored"))
        return [(node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")) for node in kept]

    async def screenshot(self) -> bytes:
        """The whole page as a PNG."""
        size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return b64decode(shot["data"])

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
                continue
            parameters = told.get("params", {})
            if told["method"] == "Network.requestWillBeSent":
                self.asked_for.append(parameters["request"]["url"])
            elif told["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{parameters['entry']['source']}: {parameters['entry']['text']}")


@asynccontextmanager
async def a_tab(program: str) -> AsyncIterator[Tab]:
    """A browser of its own with one empty tab; nothing is left of it."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *_FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort", process)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    targets = await answer.json()
                address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
                async with session.ws_connect(address, max_msg_size=64 * 1024 * 1024) as socket:
                    tab = Tab(socket)
                    try:
                        yield tab
                    finally:
                        await tab.close()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """Where it listens: it writes that down when it does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if process.returncode is not None:
                raise AssertionError(f"the browser ended with {process.returncode}")
            told = _read(file)
            if told.count("\n"):
                return int(told.splitlines()[0])
            await asyncio.sleep(0.05)
