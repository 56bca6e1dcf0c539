"""Whether a target can be asked now, and what stands against it (B5); and taking what an attempt there needs (B11)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from modelpool_sidecar.core import chains
from modelpool_sidecar.core.allowance import Asker, Tokens
from modelpool_sidecar.core.grip import NOTHING, Grip
from modelpool_sidecar.core.limits import Limited
from modelpool_sidecar.core.snapshot import Pool, Secret, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Block


@dataclass(slots=True)
class Openings:
    """For one walk. `missing(target)`: the keys that it needs and that are not mounted (B50)."""

    pool: Pool
    state: State
    operation: str
    missing: Callable[[Target], Sequence[Secret]]
    asker: Asker
    _guessed: tuple[Target, Tokens] | None = None

    def blocked(self, target: Target, now: float) -> Block | None:
        """Why a target can't be tried now; None = available."""
        if target.provider.drained:
            return Block("drained")
        if missing := self.missing(target):
            return Block("pending", detail=" and ".join(secret.source for secret in missing))
        if self.state.unsupported(target.key, self.operation):
            return Block("unsupported")
        spills = self.pool.fallback.spills
        if spills and (target.limits or target.caps or target.gated):
            limited = self._limited(target, now)
            if limited is not None:
                return limited
        health = self.state.health(target)
        if not health.available(now):
            until = health.until(now)
            wait = 0.0 if until is None else max(0.0, until - now)
            return Block("cooling", wait, health.reason, known=health.knows_wait)
        if spills and self._is_full(target):
            return Block("full", 1.0)
        return None

    def take(self, target: Target, now: float) -> tuple[Block | None, Grip]:
        """What an attempt there takes from limits, or what stands against it: nothing is taken then."""
        block = Block("full", 1.0) if self._is_full(target) else None
        full = self._full(target) if target.caps or target.gated else None
        if full is not None:
            block = block or _at_its_limit(full)
        limits = chains.limits(target, self.asker) if target.gated else target.limits
        if not limits or block is not None:
            return block, NOTHING
        found = self.state.levels.find(limits, self.asker, now, self._tokens(target))
        refused = found.refusal()
        return (None, found.take()) if refused is None else (_at_its_limit(refused), NOTHING)

    def waits(self, targets: Iterable[Target], now: float) -> list[float]:
        """Seconds until each that is at a limit is open; those that never will be are left out."""
        bounded = (each for each in targets if each.limits or each.caps or each.gated)
        limited = (self._limited(target, now) for target in bounded)
        return [block.wait for block in limited if block is not None and block.wait < math.inf]

    def _limited(self, target: Target, now: float) -> Block | None:
        """Whether a limit of the target, of its provider or on the way is reached; looking takes nothing (B3)."""
        limits = chains.limits(target, self.asker) if target.gated else target.limits
        refused = self.state.levels.closed(limits, self.asker, now, self._tokens(target)) if limits else None
        full = self._full(target) if target.caps or target.gated else None
        if refused is None and full is None:
            return None
        return _at_its_limit(max((each for each in (refused, full) if each is not None), key=_wait))

    def _full(self, target: Target) -> Limited | None:
        """Whether there is no place for one more attempt there, or on the way."""
        full = self.state.caps.refusal(target) if target.caps else None
        return full or (chains.full(self.state, target, self.asker) if target.gated else None)

    def _is_full(self, target: Target) -> bool:
        """Whether its provider has as many attempts open as it has connections."""
        return self.state.caps.in_flight(target.places[-1]) >= target.provider.max_open

    def _tokens(self, target: Target) -> Tokens:
        """What the request is estimated to take there. Guessed anew where another target was looked at meanwhile."""
        size = self.asker.size
        if size is None:
            return self.asker.tokens
        if self._guessed is None or self._guessed[0] is not target:
            self._guessed = target, self.state.estimates.of_target(self.pool, target, size)
        return self._guessed[1]


def _wait(refused: Limited) -> float:
    return refused.retry_after


def _at_its_limit(refused: Limited) -> Block:
    whose = "its provider's" if refused.level == "provider" else "its"
    if refused.level in ("pool", "caller"):  # a pool on the way
        whose = f"pool {refused.owner.partition('/')[0]}'s"
    if refused.kind == "concurrency":
        kind = "adaptive limit" if refused.adaptive else "limit"
        who = " for the caller" if refused.own else ""
        return Block("limited", refused.retry_after, detail=f"{whose} {kind} of {refused.max} at once{who}")
    unit = "" if refused.kind == "requests" else f" {refused.kind}"
    values = f" for this value of {refused.header}" if refused.header else ""
    asked = f", for about {refused.asked}" if unit else ""
    what = f"{whose} limit {refused.limit!r} of {refused.max}{unit}{values}{asked}"
    return Block("limited", refused.retry_after, detail=what, told=refused.told)
