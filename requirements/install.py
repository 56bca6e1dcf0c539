"""Installs a lock file and this checkout with pip, one line of progress: `python requirements/install.py LOCK`.

Standard library only: it runs before anything is there. pip's own words are shown where it fails.
"""

import re
import subprocess
import sys
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]


def install(lock: Path) -> int:
    """pip's exit code."""
    total = len(re.findall(r"^[A-Za-z0-9]", lock.read_text(), re.MULTILINE))
    steps = ([*PIP, "--require-hashes", "-r", str(lock)], [*PIP, "--no-deps", "--no-build-isolation", "-e", "."])
    for step in steps:
        said: list[str] = []
        count = 0
        with subprocess.Popen(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                said.append(line)
                if match := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line):
                    count += 1
                    tell(f"{min(count, total)} of at most {total}: {match[1]}")
                elif line.startswith(("Installing collected", "Building", "Preparing")):
                    tell("unpacking" if "collected" in line else "this checkout")
        if pip.returncode:
            print("".join(said), file=sys.stderr)
            return pip.returncode
    tell("")
    return 0


def tell(text: str) -> None:
    """One line that is written over in a terminal; nothing elsewhere, where it would only fill a log."""
    if sys.stdout.isatty():
        print(f"\r\033[K{'  ' + text if text else ''}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(install(Path(sys.argv[1])))
