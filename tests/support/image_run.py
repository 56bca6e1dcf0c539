"""A container without a container engine: a root filesystem, read-only, as the image's own user and with its own words.

As a runtime under PodSecurity's `restricted` would start it: process 1 of its own, no capability, no new privileges,
nothing of our environment, and of the host only the network and what is mounted.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from image_build import Built
from process_support import Process

_NOTHING: Mapping[str, str] = MappingProxyType({})
_PATH = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_INSIDE = """
root=$1 volume=$2 user=$3 group=$4; shift 4
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -n "$volume" ]; then mount --bind -o ro "$volume" "$root/etc/modelpool"; fi
exec chroot "$root" setpriv --reuid="$user" --regid="$group" --clear-groups --bounding-set=-all --inh-caps=-all \
  --no-new-privs --pdeathsig=KILL env -i "$@"
"""


def command(
    built: Built, words: Sequence[str] | None = None, *, env: Mapping[str, str] = _NOTHING, volume: Path | None = None
) -> list[str]:
    """What starts it: `words`, or the image's entry point. `volume` appears at /etc/modelpool."""
    user, group = built.config["User"].split(":")
    alone = ["unshare", "--mount", "--pid", "--fork", "--propagation=private", "sh", "-euc", _INSIDE]
    variables = [*built.config["Env"], *(f"{name}={value}" for name, value in env.items())]
    inside = [*variables, *(built.config["Entrypoint"] if words is None else words)]
    return [*alone, "sh", str(built.root), str(volume or ""), user, group, *inside]


def run(built: Built, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run something in it to its end; without words the image's entry point."""
    return subprocess.run(
        command(built, words or None, env=env),
        env=_PATH,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class Container(Process):
    """A running image. A signal goes to the process inside, and the exit code is that one's."""

    @property
    def inside(self) -> int:
        """The number that process 1 inside has outside."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def terminate(self) -> None:
        """What the kubelet sends first."""
        os.kill(self.inside, signal.SIGTERM)

    def status(self, field: str) -> list[str]:
        """What its /proc/PID/status says of a field."""
        lines = Path(f"/proc/{self.inside}/status").read_text().splitlines()
        return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


@asynccontextmanager
async def started(built: Built, *, volume: Path, env: Mapping[str, str] = _NOTHING) -> AsyncIterator[Container]:
    """The image's own entry point; killed where the test leaves it running."""
    process = await asyncio.create_subprocess_exec(
        *command(built, env=env, volume=volume),
        env=_PATH,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    container = Container(process)
    try:
        yield container
    finally:
        if process.returncode is None:
            process.kill()  # and with it the process inside:
        await container.ended()
