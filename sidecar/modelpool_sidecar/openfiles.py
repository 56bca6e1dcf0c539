"""How many files and connections the process may have open: as many as it may ask for. A stream takes two."""

import contextlib
import errno
import os
import resource
import socket


def raise_limit() -> int:
    """Raise the soft limit to the hard one; what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems name a hard limit that they do not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def lacks(error: OSError) -> bool:
    """Whether it failed because no file may be opened. A name that could not be resolved does not say why: look."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    if not isinstance(error, socket.gaierror):
        return False
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno in (errno.EMFILE, errno.ENFILE)
    return False
