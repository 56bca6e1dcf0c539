"""Does a client take anything of what waits for it? Nothing announces it, so somebody looks now and then (B30)."""

import asyncio
from collections.abc import Callable

from modelpool_sidecar.sendqueue import unsent_bytes

STALL_SECONDS = 300.0
"""How long a client may take nothing of what waits for it; then its connection is cut, and it counts as gone (B30)."""
_LOOKS = 5


class Patience:
    """With a client. `look` is called some time after `begin`; it asks `is_spent`, and begins anew while bytes wait."""

    def __init__(self, seconds: float, look: Callable[[], None]) -> None:
        self._seconds, self._look = seconds, look
        self._watch: asyncio.TimerHandle | None = None
        self._taken, self._looks = 0, 0

    def begin(self) -> None:
        """Bytes wait for a client that is slower than they come: look now and then whether it takes any."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._seconds / _LOOKS, self._due)

    def is_spent(self, transport: asyncio.Transport, given: int) -> bool:
        """Whether it has taken nothing for too long. `given`: bytes that the connection was given for it so far."""
        sock = transport.get_extra_info("socket")
        waiting = transport.get_write_buffer_size()
        taken = given - waiting - (unsent_bytes(sock.fileno()) if sock is not None else 0)
        self._looks = 0 if taken != self._taken else self._looks + 1
        self._taken = taken
        return self._looks >= _LOOKS

    def end(self) -> None:
        """Nobody waits any more."""
        if self._watch is not None:
            self._watch.cancel()

    def _due(self) -> None:
        self._watch = None
        self._look()
