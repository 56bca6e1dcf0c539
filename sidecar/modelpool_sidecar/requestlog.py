"""The lines that requests leave on standard output: written together, a moment later, because each write costs.

Where nobody reads them any more, requests go on all the same.
"""

import contextlib
from typing import BinaryIO

from modelpool_sidecar.core.record import Record
from modelpool_sidecar.ports import Clock, Timer
from modelpool_sidecar.telemetry.logline import log_line

WITHIN_SECONDS = 0.1
"""A line is written at most this long after its request's end."""
MAX_BYTES = 64 * 1024
"""So many wait at most: then they are written without waiting for the time."""


class RequestLog:
    """One line of JSON per record. Whoever ends the process calls `flush` last; a terminal gets each line at once."""

    def __init__(self, out: BinaryIO, clock: Clock) -> None:
        self._out, self._clock = out, clock
        self._at_once = out.isatty()
        self._lines: list[bytes] = []
        self._bytes = 0
        self._timer: Timer | None = None

    def __repr__(self) -> str:
        return f"<RequestLog: {len(self._lines)} lines wait>"

    def __call__(self, record: Record) -> None:
        """A request is over."""
        line = log_line(record, trace_id=record.trace_id, ended=self._clock.wall()).encode() + b"\n"
        self._lines.append(line)
        self._bytes += len(line)
        if self._at_once or self._bytes >= MAX_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.call_later(WITHIN_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._bytes = self._lines, [], 0
        with contextlib.suppress(OSError):
            self._out.write(b"".join(lines))
            self._out.flush()
