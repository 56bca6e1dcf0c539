"""Is there room in memory for what is held of requests and answers, of all of them together (B30)?"""

MAX_BYTES = 64 * 1024 * 1024
"""Of a process."""


class Room:
    """How many bytes lie in memory, against the most that may."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.taken_bytes = 0

    def __repr__(self) -> str:
        return f"<Room: {self.taken_bytes} of {self.max_bytes} bytes>"

    def lease(self) -> "Lease":
        """A share of it, empty at first."""
        return Lease(self)


class Lease:
    """One request's share. `release` twice is fine."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.taken_bytes = 0

    def fits(self, count: int) -> bool:
        """Whether there is room for that many bytes more now; takes none."""
        return self._room.taken_bytes + count <= self._room.max_bytes

    def take(self, count: int) -> bool:
        """Room for that many bytes more; False where there is none."""
        if not self.fits(count):
            return False
        self._room.taken_bytes += count
        self.taken_bytes += count
        return True

    def hold(self, count: int) -> bool:
        """So many bytes more lie here, room or not, because they have come already; whether there was room for them."""
        fits = self.fits(count)
        self._room.taken_bytes += count
        self.taken_bytes += count
        return fits

    def give(self, count: int) -> None:
        """So much of it is forgotten."""
        self._room.taken_bytes -= count
        self.taken_bytes -= count

    def release(self) -> None:
        """What lay there is forgotten."""
        self._room.taken_bytes -= self.taken_bytes
        self.taken_bytes = 0
