"""buildah and debootstrap, as far as the images need them: a base image of our own, and builds that pull nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from one_builder import CannotBuildError, Say

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
SUITE = "bookworm"
_SLIM = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*")
_LEFT_BY_APT = ("var/cache/apt", "var/lib/apt/lists", "var/log")
_PATIENCE_SECONDS = 900
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE")
_PIP_CONFIGS = ("~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf")


def base_key() -> str:
    """Changes with everything that changes the base image."""
    return "base-" + hashlib.sha256(repr((SUITE, _SLIM, _LEFT_BY_APT)).encode()).hexdigest()[:16]


def base(cache: Path, say: Say) -> Path:
    """Debian as the base image has it: minimal, without manuals."""
    place = cache / base_key()
    if not place.is_dir():
        say("making the base image with debootstrap, once")
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as temporary:
            root = Path(temporary) / "base" / "root"
            root.parent.mkdir()
            run(["debootstrap", "--variant=minbase", SUITE, str(root)])
            _slim(root)
            root.parent.rename(place)
        say(f"made it in {time.monotonic() - started:.0f} s")
    return place / "root"


def _slim(root: Path) -> None:
    """No manuals now, nor with packages that are installed later."""
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(f"path-exclude {pattern}\n" for pattern in _SLIM))
    for left in (*(pattern.strip("/*") for pattern in _SLIM), *_LEFT_BY_APT):
        shutil.rmtree(root / left, ignore_errors=True)
        (root / left).mkdir(parents=True, exist_ok=True)


class Buildah:
    """buildah with a storage of its own, which goes with the folder. Overlay where the kernel lets us, else copies."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._driver = "overlay"

    def use_base(self, root: Path, place: Path) -> None:
        """Let this be the base image, under its real name."""
        recipe = place / "Base"
        recipe.write_text(f'FROM scratch\nADD {root.name} /\nCMD ["bash"]\n')
        try:
            self._call("build", "-q", "-f", str(recipe), "-t", BASE, str(root.parent))
            self._call("rm", self._call("from", "--pull-never", BASE))
        except CannotBuildError:
            if self._driver != "overlay":
                raise
            self._driver = "vfs"
            self.use_base(root, place)

    def build(self, name: str) -> None:
        """The real Dockerfile, unchanged, in the real context."""
        secrets = [f"--secret=id={each},src={path}" for each, path in _secrets().items()]
        layers = ["--layers"] if self._driver == "overlay" else []  # with copies, each layer is one
        words = ["--pull-never", "--network=host", *layers, *secrets, f"--build-arg=VERSION={version()}"]
        self._call("build", "-q", *words, "-f", str(ROOT / name / "Dockerfile"), "-t", f"modelpool-{name}", str(ROOT))

    def unpack(self, name: str, root: Path) -> Mapping[str, Any]:
        """Copy what is in the image to `root`; what a runtime is told about it."""
        told = json.loads(self._call("inspect", "--type=image", f"modelpool-{name}"))
        container = self._call("from", "--pull-never", f"modelpool-{name}")
        run(["cp", "-a", self._call("mount", container), str(root)])
        self._call("rm", container)
        (root / "etc" / "modelpool").mkdir()  # a runtime makes the places where it mounts something
        config: Mapping[str, Any] = told["OCIv1"]["config"]
        return config

    def forget(self) -> None:
        """Unmount what a failed build left, so that its folder can go."""
        for words in (("umount", "-a"), ("rm", "-a")):
            subprocess.run(self._command(*words), capture_output=True, env=_env(), check=False)

    def _call(self, *words: str) -> str:
        return run(self._command(*words), env=_env())

    def _command(self, *words: str) -> list[str]:
        storage = [f"--root={self._place / 'storage'}", f"--runroot={self._place / 'run'}"]
        return ["buildah", *storage, f"--storage-driver={self._driver}", *words]


def _env() -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot"}


def _secrets() -> dict[str, Path]:
    """This machine's own pip configuration and certificate authorities, where it has some."""
    config = os.environ.get("PIP_CONFIG_FILE")
    configs = [Path(each).expanduser() for each in ([config] if config else _PIP_CONFIGS)]
    authorities = [Path(os.environ[name]) for name in _CERTIFICATES if os.environ.get(name)]
    found = {"pip": configs, "ca": authorities}
    return {name: path for name, paths in found.items() for path in paths[::-1] if path.is_file()}


def version() -> str:
    """The version that `make images` gives to the images."""
    line = next(line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version = "))
    return line.split('"')[1]


def search_path(environ: Mapping[str, str]) -> str:
    """Where programs are looked for: debootstrap lies where only root's own PATH leads."""
    return os.pathsep.join((environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def run(command: list[str], env: Mapping[str, str] = os.environ) -> str:
    """What it printed. Raises CannotBuildError with its complaint."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**env, "PATH": search_path(env)},
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuildError(f"{' '.join(command)}\ndid not end within {_PATIENCE_SECONDS} s") from error
    if done.returncode != 0:
        words = " ".join(command)
        raise CannotBuildError(f"{words}\nended with {done.returncode}:\n{(done.stderr + done.stdout).strip()[-3000:]}")
    return done.stdout.strip()
