"""A sidecar holds as many streams as the system lets it: a soft limit of 1,024 files is 500 of them."""

import asyncio
import errno
import subprocess
import sys

import pytest

import held_streams
from modelpool_sidecar import openfiles

SCRIPT = """
import resource
from modelpool_sidecar import openfiles
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
assert openfiles.raise_limit() == hard, openfiles.raise_limit()
assert openfiles.raise_limit() == hard
"""


def test_the_soft_limit_of_files_becomes_the_hard_one() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.slow
def test_a_held_stream_stays_below_64_kib() -> None:
    """B30; `python benchmarks/held_streams.py` holds 2,000 of them."""
    assert asyncio.run(held_streams.measure(300)) < held_streams.MOST_KIB


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.EACCES])
def test_another_failure_to_connect_is_not_for_want_of_files(number: int) -> None:
    assert not openfiles.lacks(OSError(number, "x"))
