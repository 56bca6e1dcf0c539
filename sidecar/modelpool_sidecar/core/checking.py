"""What an active check asks, when the next one is due, and what its answer means (B38)."""

from dataclasses import dataclass

from modelpool_config import models as contract
from modelpool_sidecar.core.outcome import Outcome

JITTER = 0.2
"""Each wait is up to this part longer: a thousand sidecars must not ask at the same moment."""
MAX_BODY_BYTES = 1 << 16
"""An answer is read to its end, so that the connection serves again; a longer one is left."""


@dataclass(frozen=True, slots=True)
class Check:
    """GET `url` each `period` seconds; `statuses` with `x` for any digit."""

    url: str
    period: float
    timeout: float
    statuses: tuple[str, ...]

    @property
    def hold(self) -> float:
        """Seconds in which the next check is over for certain."""
        return self.period * (1 + JITTER) + self.timeout

    def first(self, chance: float) -> float:
        """Seconds until the first check: anywhere within a period. `chance`: in [0, 1)."""
        return self.period * chance

    def next(self, chance: float) -> float:
        """Seconds from the end of one to the next."""
        return self.period * (1 + JITTER * chance)

    def judge(self, status: int) -> Outcome:
        """What an answer of that status means."""
        digits = str(status)
        well = any(all(want in ("x", have) for want, have in zip(each, digits, strict=True)) for each in self.statuses)
        return Outcome.OK if well else Outcome.FAILED


def compiled(raw: contract.ActiveCheck, root: str) -> Check:
    """`root`: scheme and authority of the base URL; a check's path begins there."""
    return Check(root + raw.path, raw.period / 1000, raw.timeout / 1000, raw.statuses)
