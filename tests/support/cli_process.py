"""A `modelpool` command in a process of its own: started, watched, asked, ended."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 20.0


def clean_env(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without what changes a command's mind."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "MODELPOOL_", "OTEL_"))}
    path = os.pathsep.join(str(ROOT / part) for part in ("operator", "sidecar", "cli"))
    return {**kept, "PYTHONPATH": path, **(more or {})}


def modelpool(*words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "modelpool_cli", *words],
        env=clean_env(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Running:
    """A command that goes on. What it prints is kept, line by line."""

    def __init__(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "modelpool_cli", *words],
            env=clean_env(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        with suppress(OSError):
            assert self.process.stdout is not None
            self.process.stdout.close()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a new line in which the pattern is found."""
        while True:
            try:
                line = self._new.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AssertionError(f"nothing like {pattern!r} in:\n" + "\n".join(self.lines)) from None
            if line is None:
                raise AssertionError(f"ended without {pattern!r}:\n" + "\n".join(self.lines))
            match = re.search(pattern, line)
            if match:
                return match

    def port(self) -> int:
        """The data port, once it answers."""
        return int(self.until(r"answers on http://127\.0\.0\.1:(\d+)/v1").group(1))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._new.put(self.lines[-1])
        self._new.put(None)


def chat(port: int, model: str = "chat", **more: object) -> tuple[int, dict[str, str], Any]:
    """One question: status, headers in lower case, the JSON of the body."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hello"}], **more}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {key.lower(): value for key, value in error.headers.items()}, json.load(error)


def admin(port: int, what: str) -> Any:
    """`/-/state` or `/-/config` of the sidecar with this data port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port + 2}/-/{what}", timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)
