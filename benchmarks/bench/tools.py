"""Where the compiled tools are: built with `cc` at first use, again when a source has changed."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent
CACHE = SOURCES / ".build"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
PROGRAMS = {"upstream": ("upstream.c",), "load": ("load.c", "answer.c")}


class BuildError(RuntimeError):
    """The tools could not be compiled; the message says what is missing or what the compiler said."""


@dataclass(frozen=True, slots=True)
class Tools:
    upstream: Path
    load: Path


def build(cache: Path = CACHE) -> Tools:
    """The two programs, compiled unless the cache has them already."""
    folder = cache / _fingerprint()
    for program, sources in PROGRAMS.items():
        if not (folder / program).exists():
            folder.mkdir(parents=True, exist_ok=True)
            _compile(folder / program, [SOURCES / source for source in sources])
    return Tools(upstream=folder / "upstream", load=folder / "load")


def _fingerprint() -> str:
    text = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(SOURCES.glob("*.[ch]")):
        text.update(path.name.encode() + b"\0" + path.read_bytes())
    return text.hexdigest()[:16]


def _compile(program: Path, sources: list[Path]) -> None:
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise BuildError(f"no C compiler: {compiler!r} is not on PATH (Debian: apt-get install gcc libc6-dev)")
    unfinished = program.with_suffix(f".{os.getpid()}")
    command = [compiler, *FLAGS, "-o", str(unfinished), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(source.name for source in sources)} does not compile:\n{done.stderr.strip()}")
    unfinished.replace(program)
