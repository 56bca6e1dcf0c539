"""What every request works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.record import Record
from modelpool_sidecar.core.room import Room
from modelpool_sidecar.core.state import State
from modelpool_sidecar.ports import Clock, Credentials, Telemetry, Upstream


@dataclass(frozen=True, slots=True)
class Services:
    """One set in a process. `rng` returns [0, 1). `on_record` hears of every request once."""

    upstream: Upstream
    credentials: Credentials
    clock: Clock
    rng: Callable[[], float]
    state: State
    telemetry: Telemetry
    on_record: Callable[[Record], None]
    callers: Register = field(default_factory=Register)
    room: Room = field(default_factory=Room)
    """For all that is held in memory of requests and answers (B30)."""
