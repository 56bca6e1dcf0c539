"""Sockets to listen on: one port on several addresses, without IPv6 where the machine has none."""

import errno
import logging
import socket
from collections.abc import Sequence

logger = logging.getLogger(__name__)

_PORT_TRIES = 8
"""A free port of one address may be taken on the other."""


def bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets on one port of all these addresses, 0 = any that is free on all of them.

    An IPv6 address is left out, with a log line, where IPv6 is off. OSError, with a sentence, where it cannot be done.
    """
    for _ in range(_PORT_TRIES if port == 0 else 0):
        try:
            return _bind(hosts, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return _bind(hosts, port)


def _bind(hosts: Sequence[str], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for host in hosts:
            sock = _bound(host, port)
            if sock is None:
                logger.warning("not listening on %s: IPv6 is off", host)
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, f"no address to listen on among {', '.join(hosts)}")
    return sockets


def _bound(host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        if family == socket.AF_INET6 and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return None
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    return sock
