"""The images as root filesystems: the real Dockerfiles, built by buildah without a container engine, once per key.

The base image is made by debootstrap under the name that the Dockerfiles ask for, so nothing is pulled. Everything lies
in a cache outside the tree; an image is built again where its Dockerfile, its locks or the sources in it have changed.
`python tests/support/image_build.py` builds what is missing.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import image_buildah
from image_buildah import ROOT, Buildah, run
from one_builder import CannotBuildError, Say, one_builder, prepare

TOOLS = ("buildah", "debootstrap", "unshare", "setpriv")
_INSTALL = "apt-get install buildah debootstrap"
_KEPT = 3
"""Builds of each image: of this branch, and of the ones before."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image: its Dockerfile's folder, and what of the checkout it is made of."""

    name: str
    packages: tuple[str, ...]

    @property
    def sources(self) -> list[Path]:
        """The files that decide what is in it."""
        named = [f"{self.name}/Dockerfile", f"requirements/{self.name}.txt", "requirements/build.txt", ".dockerignore"]
        named += ["pyproject.toml", "README.md", "LICENSE"]
        packaged = [path for package in self.packages for path in sorted((ROOT / package).rglob("*")) if path.is_file()]
        return [ROOT / name for name in named] + [path for path in packaged if path.suffix != ".pyc"]

    @property
    def key(self) -> str:
        """Changes with everything that changes the image."""
        digest = hashlib.sha256(image_buildah.base_key().encode())
        for path in self.sources:
            data = path.read_bytes()
            digest.update(b"%s %d:%b" % (str(path.relative_to(ROOT)).encode(), len(data), data))
        return f"{self.name}-{digest.hexdigest()[:16]}"


IMAGES = {
    image.name: image
    for image in (
        Image("sidecar", ("sidecar/modelpool_config", "sidecar/modelpool_sidecar")),
        Image("operator", ("sidecar/modelpool_config", "operator/modelpool_operator")),
    )
}


@dataclass(frozen=True, slots=True)
class Built:
    """An image, unpacked. `config`: what a runtime is told: User, Env, Entrypoint, and so on."""

    root: Path
    config: Mapping[str, Any]
    megabytes: int


def pins(lock: str) -> dict[str, str]:
    """The versions in requirements/LOCK.txt, by name."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the root filesystems lie."""
    if ours := environ.get("MODELPOOL_TEST_CACHE"):
        return Path(ours).absolute() / "images"
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "modelpool" / "images"


def images(
    wanted: Iterable[str] = tuple(IMAGES), *, say: Say, environ: Mapping[str, str] = os.environ
) -> dict[str, Built]:
    """The images by name, built where they are missing. Raises CannotBuildError."""
    keys = {name: IMAGES[name].key for name in wanted}
    cache = cache_dir(environ)
    if any(not _is_built(cache / key) for key in keys.values()):
        _need_tools(say, environ)
        with one_builder(cache, "the images", say):
            missing = [name for name, key in keys.items() if not _is_built(cache / key)]
            if missing:
                _build_all(missing, keys, cache, say)
    for key in keys.values():
        os.utime(cache / key)
    return {name: _load(cache / key) for name, key in keys.items()}


def _is_built(folder: Path) -> bool:
    return (folder / "image.json").is_file()


def _load(folder: Path) -> Built:
    told = json.loads((folder / "image.json").read_text())
    return Built(folder / "root", told["config"], told["megabytes"])


def _need_tools(say: Say, environ: Mapping[str, str]) -> None:
    """In CI what is missing is installed; a test changes nobody's own machine."""
    if os.geteuid() != 0:
        raise CannotBuildError("the images can only be built, unpacked and started by root")
    missing = _missing(environ)
    if missing and environ.get("CI") and shutil.which("apt-get", path=environ.get("PATH")):
        say(f"installing {' and '.join(missing)}")
        quiet = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-qq", "update"], env=quiet)
        run(["apt-get", "-qq", "install", "--no-install-recommends", "buildah", "debootstrap"], env=quiet)
        missing = _missing(environ)
    if missing:
        raise CannotBuildError(
            f"{' and '.join(missing)} missing, to build the images with: {_INSTALL} (Debian, Ubuntu)"
        )


def _missing(environ: Mapping[str, str]) -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool, path=image_buildah.search_path(environ)) is None]


def _build_all(names: list[str], keys: Mapping[str, str], cache: Path, say: Say) -> None:
    for left in cache.glob(".building-*"):  # by a build that was killed
        shutil.rmtree(left, ignore_errors=True)
    base = image_buildah.base(cache, say)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as temporary:
        place = Path(temporary)
        buildah = Buildah(place)
        try:
            buildah.use_base(base, place)
            for number, name in enumerate(names, 1):
                say(f"building the {name}'s image ({number} of {len(names)}), once for these sources")
                started = time.monotonic()
                buildah.build(name)
                made = place / name
                made.mkdir()
                config = buildah.unpack(name, made / "root")
                megabytes = _megabytes(made / "root")
                (made / "image.json").write_text(json.dumps({"config": config, "megabytes": megabytes}, indent=2))
                shutil.rmtree(cache / keys[name], ignore_errors=True)
                made.rename(cache / keys[name])
                _prune(cache, name)
                say(f"built it in {time.monotonic() - started:.0f} s: {megabytes} MB unpacked")
        finally:
            buildah.forget()


def _megabytes(root: Path) -> int:
    return int(run(["du", "-s", "--block-size=1000000", str(root)]).split()[0])


def _prune(cache: Path, name: str) -> None:
    found = sorted(cache.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in found[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def tell(line: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"images: {line}\n")


def main() -> int:
    """Build what is missing. Without the tools: an error in CI, elsewhere a notice; the tests then skip."""
    return prepare(lambda say: images(say=say), tell, "the tests of the images")


if __name__ == "__main__":
    sys.exit(main())
