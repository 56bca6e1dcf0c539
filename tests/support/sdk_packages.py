"""The npm packages that tests ask with, installed once by their lock into a cache outside the tree."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from one_builder import CannotBuildError, Say, one_builder

SOURCES = Path(__file__).parent / "sdks"
_LOCKED = ("package.json", "package-lock.json")


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of all that is installed; it may be deleted at any time."""
    if ours := environ.get("MODELPOOL_TEST_CACHE"):
        return Path(ours).absolute() / "sdks"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "modelpool" / "sdks"


def program(say: Say, environ: Mapping[str, str] = os.environ) -> list[str]:
    """What runs `sdks.mjs` with its packages beside it. Raises CannotBuildError."""
    node, npm = (shutil.which(name, path=environ.get("PATH", "")) for name in ("node", "npm"))
    if node is None or npm is None:
        raise CannotBuildError("the npm SDKs need node 20 or later and npm: https://nodejs.org")
    place = cache_dir(environ) / _key()
    script = place / "sdks.mjs"
    if not script.is_file():
        with one_builder(cache_dir(environ), "the npm SDKs", say):
            if not script.is_file():
                say("installing the npm SDKs, once")
                _install(npm, place)
    return [node, str(script)]


def _key() -> str:
    files = (*_LOCKED, "sdks.mjs")
    return hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in files)).hexdigest()[:16]


def _install(npm: str, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=place.parent) as temporary:
        folder = Path(temporary) / "sdks"
        folder.mkdir()
        for name in (*_LOCKED, "sdks.mjs"):
            shutil.copy(SOURCES / name, folder)
        words = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        run = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode:
            raise CannotBuildError(f"npm ci failed: {run.stderr.strip()[-2000:]}")
        folder.rename(place)
