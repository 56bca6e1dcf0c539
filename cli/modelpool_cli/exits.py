"""With which code a command ends, and how it says why."""

import sys

from modelpool_cli import printing

OK = 0
NO = 1
"""The answer is no: problems were found, a request failed, nothing is running, a port is held."""
WRONG_USE = 2
"""The command line is wrong, or names what is not there."""
INTERRUPTED = 130
"""Ctrl-C, as a shell tells it."""


def fail(message: str, code: int = NO) -> int:
    """Say on standard error why, and return the code."""
    print(printing.text(f"modelpool: {message}"), file=sys.stderr)
    return code
