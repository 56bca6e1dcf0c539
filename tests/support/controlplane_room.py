"""The folder and the ports of a control plane: taken while its process lives, swept up after a killed one."""

import contextlib
import fcntl
import random
import shutil
import socket
import tempfile
from pathlib import Path

_PORTS = range(20000, 32000)
"""Below those that systems give to outgoing connections: nobody takes one while the API is away."""
_PREFIX = "modelpool-controlplane-"


class Room:
    """A temporary folder that is marked as in use."""

    def __init__(self) -> None:
        starting = Path(tempfile.mkdtemp(prefix="modelpool-starting-"))
        self._held = (starting / "held").open("w")
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self.dir = starting.rename(starting.with_name(starting.name.replace("modelpool-starting-", _PREFIX)))

    def close(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.dir, ignore_errors=True)
        self._held.close()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("there is no free port")


def sweep() -> None:
    """Remove what was left behind by processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "held").open() as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
