"""Which step of a fake provider's script applies now.

Theory: steps follow each other. A step with `requests` ends when it has served that many, a step with `duration` that
long after it began (with both: whichever comes first), a step with neither never. The first begins when the script
begins, every other one at the moment when the one before it ended, whether somebody looked or not. The last one
stays whatever it says. While somebody has broken the provider by hand no step is used up by requests; time goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from modelpool_config.models import FakeStep, Fault

HEALTHY = FakeStep()

FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a request meets: the step, and for how many more seconds it applies where that is known."""

    step: FakeStep
    remaining: float | None = None


def broken_step(fault: str, tokens: int | None = None) -> tuple[str, FakeStep]:
    """The canonical word and the step of a fault as people name it: `Hang`, `hang`, `429`.

    `tokens` go out before a Cut or a Stall. Raises ValueError with a sentence for anything else.
    """
    for word in FAULTS:
        if fault.lower() == word.lower():
            return word, FakeStep(fault=word, tokens=tokens)
    if fault.isascii() and fault.isdigit() and len(fault) == 3 and 300 <= int(fault) <= 599:
        return fault, FakeStep(status=int(fault), tokens=tokens)
    raise ValueError(f"a fault is one of {', '.join(FAULTS)} or a status between 300 and 599, not {fault!r}")


class Script:
    """A script that is being played. `take` and `look` tell the time; nothing here knows a clock."""

    __slots__ = ("_begun", "_broken", "_index", "_served", "_steps")

    def __init__(self, steps: Sequence[FakeStep], now: float) -> None:
        self._broken: tuple[str, FakeStep] | None = None  # set and cleared by a person: break_as, mend
        self._steps: tuple[FakeStep, ...] = ()
        self._index, self._begun, self._served = 0, now, 0  # moved by take and look
        self.replace(steps, now)

    def __repr__(self) -> str:
        where = f"step {self._index + 1} of {len(self._steps)}"
        return f"<Script {where}, broken as {self.broken_as}>" if self._broken else f"<Script {where}>"

    @property
    def broken_as(self) -> str | None:
        """The fault that somebody put over the script, None where the script plays."""
        return self._broken[0] if self._broken else None

    def replace(self, steps: Sequence[FakeStep], now: float) -> None:
        """Play these steps from the first one on, from now on. What a person broke stays broken."""
        self._steps = tuple(steps) or (HEALTHY,)
        self._index, self._begun, self._served = 0, now, 0

    def break_as(self, fault: str, tokens: int | None = None) -> None:
        """Put this fault over the script until `mend`."""
        self._broken = broken_step(fault, tokens)

    def mend(self) -> None:
        """Take the fault away: the script plays on."""
        self._broken = None

    def look(self, now: float) -> Turn:
        """What a request would meet now; uses nothing up."""
        self._pass_time(now)
        if self._broken:
            return Turn(self._broken[1])
        step = self._steps[self._index]
        if step.duration is None or self._is_last:
            return Turn(step)
        return Turn(step, self._begun + step.duration / 1000 - now)

    def take(self, now: float) -> Turn:
        """What this request meets; it counts."""
        turn = self.look(now)
        if self._broken:
            return turn
        self._served += 1
        if turn.step.requests is not None and self._served >= turn.step.requests and not self._is_last:
            self._next(now)
        return turn

    @property
    def _is_last(self) -> bool:
        return self._index == len(self._steps) - 1

    def _pass_time(self, now: float) -> None:
        while not self._is_last:
            duration = self._steps[self._index].duration
            if duration is None or now < self._begun + duration / 1000:
                return
            self._next(self._begun + duration / 1000)

    def _next(self, begun: float) -> None:
        self._index, self._begun, self._served = self._index + 1, begun, 0
