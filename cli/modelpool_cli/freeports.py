"""Which ports are free on this machine, three in a row as a sidecar takes them."""

import socket

IN_A_ROW = 3


def free_port(start: int) -> int:
    """The first port from `start` on where three in a row are free now."""
    return next((port for port in range(start, 65_000, 10) if all(_is_free(port + i) for i in range(IN_A_ROW))), start)


def any_port() -> int:
    """A port that the system has free, with the next two."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if all(_is_free(port + i) for i in range(1, IN_A_ROW)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
