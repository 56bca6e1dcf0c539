"""What is built once on a machine and kept in a cache: of all processes one builds, the others wait for it."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Say = Callable[[str], None]


class CannotBuildError(Exception):
    """Something is missing and cannot be made here; the message says what to do."""


@contextmanager
def one_builder(folder: Path, what: str, say: Say) -> Iterator[None]:
    """Of all processes of this user, one builds; the others wait and find everything built."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that builds {what}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def prepare(build: Callable[[Say], object], say: Say, skipped: str) -> int:
    """Build what is missing; an exit code. What it takes is not here: an error in CI, elsewhere a notice.

    `skipped`: the tests that are left out then.
    """
    try:
        build(say)
    except CannotBuildError as error:
        in_ci = bool(os.environ.get("CI"))
        say(str(error))
        if not in_ci:
            say(f"{skipped} will be skipped")
        return int(in_ci)
    return 0
