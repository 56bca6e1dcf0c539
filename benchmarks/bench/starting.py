"""How long it takes from the start of a process to its first answer."""

import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from bench.processes import tail

PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.001
_BODY = b'{"model":"chat","messages":[{"role":"user","content":"ask-0000000000000000-00000000-00000000"}]}'
_REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s"
)


class StartError(RuntimeError):
    """A contender ended, or did not answer in time."""


def first_answer(name: str, process: "subprocess.Popen[str]", port: int, since: float, log: Path) -> float:
    """Seconds from `since` (perf_counter) to the first 200; asks again every millisecond until then."""
    while True:
        status = _ask(port)
        now = time.perf_counter()
        if status == b"200":
            return now - since
        if process.poll() is not None:
            raise StartError(f"{name} ended with {process.returncode} before its first answer:\n{tail(log)}")
        if now - since > PATIENCE_SECONDS:
            last = f"last status {status.decode()}" if status else "no connection"
            raise StartError(f"{name} did not answer within {PATIENCE_SECONDS:.0f} s ({last}):\n{tail(log)}")
        time.sleep(_PAUSE_SECONDS)


def _ask(port: int) -> bytes:
    """The status of one answer; empty when there was none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(_REQUEST % (port, len(_BODY), _BODY))
            head = connection.recv(4096)
    except OSError:
        return b""
    return head[9:12]


def free_port() -> int:
    """A port that nobody listens on at this moment, nor on the two after it."""
    while True:
        with ExitStack() as sockets:
            first = _bind(sockets, 0)
            if first and first <= 65533 and _bind(sockets, first + 1) and _bind(sockets, first + 2):
                return first


def _bind(sockets: ExitStack, port: int) -> int | None:
    try:
        one = sockets.enter_context(socket.socket())
        one.bind(("127.0.0.1", port))
    except OSError:
        return None
    return int(one.getsockname()[1])
