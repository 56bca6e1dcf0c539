"""What the kernel still holds of a connection's output: bytes that the other side has not acknowledged."""

import fcntl
import struct
import termios


def unsent_bytes(fileno: int) -> int:
    """How many bytes are on their way; 0 where the system does not tell, or the socket is closed."""
    try:
        answer = fcntl.ioctl(fileno, termios.TIOCOUTQ, b"\0\0\0\0")  # SIOCOUTQ is the same number
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", answer)[0])
