"""One request's walk over its pool's targets: which one is tried next, when, and what is said when none is left.

Theory. A walk alternates between `next(now)` and `observe(failure, now)` until `next` says `Stop` or the caller
commits and calls `complete`. It never sleeps and never sends: `Try` and `Sleep` are orders to the shell.

- An attempt holds a place at its provider and a ticket of its target's health from `next` to the moment it is observed,
  completed or abandoned; each is given back exactly once.
- Going elsewhere costs nothing but the attempt; asking the same target again costs a backoff, a share of the retry
  budget, and is allowed 1 + retries times per target (B18, B19).
- Nothing available: known waits are answered at once, otherwise one request at a time tries the target that recovers
  soonest (B37).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from modelpool_sidecar.core import verdict
from modelpool_sidecar.core.health import Ticket
from modelpool_sidecar.core.outcome import BLAMELESS_STATUSES, RULES, Again, Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.selection import choose
from modelpool_sidecar.core.snapshot import Pool, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

FREE_ATTEMPTS = 2
"""The first attempt and the first fallback are never refused by the retry budget (B18)."""


@dataclass(frozen=True, slots=True)
class Try:
    """Ask this target now. `same_target`: a retry, not a fallback; `probe`: it decides a recovery (B36)."""

    target: Target
    number: int
    same_target: bool
    probe: bool


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing until then (monotonic); the deadline is known to be later."""

    until: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The walk is over without an answer: relay this failure as it came, or refuse."""

    answer: Failure | Refusal


Step = Try | Sleep | Stop


@dataclass(slots=True)
class _Visit:
    """What happened at one target in this walk."""

    attempts: int = 0
    last: Failure | None = None
    tried_in_cascade: bool = False


@dataclass(slots=True)
class _Held:
    """What the running attempt holds."""

    target: Target
    ticket: Ticket
    last_resort: bool


@dataclass(slots=True)
class Dispatch:
    """The walk. `rng` returns [0, 1); `deadline` is monotonic and covers everything (B15).

    `is_ready(target)`: whether the keys it needs are mounted (B50). `repeated`: the client says that this is already
    its own retry, so no target is asked twice (B18). `pinned`: the only target that may be asked (B20).
    """

    pool: Pool
    state: State
    operation: str
    deadline: float
    rng: Callable[[], float]
    is_ready: Callable[[Target], bool]
    repeated: bool = False
    pinned: Target | None = None
    attempts: int = 0
    failures: list[Failure] = field(default_factory=list)
    _visits: dict[str, _Visit] = field(default_factory=dict)
    _held: _Held | None = None
    _again: Target | None = None
    _not_before: float = 0.0
    _over: Failure | Refusal | None = None
    _last: Target | None = None

    def next(self, now: float) -> Step:
        """What to do now. An attempt must not be running."""
        if self._over is not None:
            return Stop(self._over)
        if now >= self.deadline:
            return Stop(verdict.timed_out(self.pool, self.failures))
        if self.attempts >= self.pool.fallback.max_attempts:
            return self._spent()
        if self._again is not None:
            return self._repeat(now)
        if self.attempts == 0:
            return self._first(now)
        return self._further(now)

    def observe(self, failure: Failure, now: float) -> None:
        """The running attempt failed before the content commit; `next` says what follows."""
        held = self._release(failure.outcome, now, failure.retry_after, failure.status)
        self.failures.append(failure)
        visit = self._visits[held.target.name]
        visit.last = failure
        if failure.outcome is Outcome.UNSUPPORTED:
            self.state.mark_unsupported(held.target.key, self.operation)
        if failure.other_credential:
            self._again, self._not_before = held.target, now
        elif not self._may_go_on(failure):
            self._over = verdict.spent(self.pool, self.failures)
        elif self.pool.fallback.retries and self._may_repeat(held.target, now):
            self._plan_repeat(held.target, now)

    def complete(self, outcome: Outcome, now: float) -> None:
        """The committed attempt is over: Ok, or what became of it after the commit (Broken, Stalled, TimedOut)."""
        self._release(outcome, now, None, None)

    def abandon(self, now: float) -> None:
        """The client left, or the walk ends otherwise: what is held is given back, nobody is blamed. Twice is fine."""
        if self._held is not None:
            self._release(Outcome.CANCELLED, now, None, None)

    # -- choosing

    def _targets(self) -> tuple[tuple[Target, ...], ...]:
        return ((self.pinned,),) if self.pinned is not None else self.pool.tiers

    def _blocked(self, target: Target, now: float) -> verdict.Block | None:
        """Why a target can't be tried now; None = available (B5)."""
        provider, health = target.provider, self.state.health(target)
        if provider.drained:
            return verdict.Block("drained")
        if not self.is_ready(target):
            return verdict.Block("pending")
        if self.state.unsupported(target.key, self.operation):
            return verdict.Block("unsupported")
        if not health.available(now):
            until = health.until(now)
            wait = 0.0 if until is None else max(0.0, until - now)
            return verdict.Block("cooling", wait, health.reason, known=health.knows_wait)
        if self._spills and self._is_full(target):
            return verdict.Block("full", 1.0)
        return None

    @property
    def _spills(self) -> bool:
        """Whether a target at its cap is passed over; else the request that was meant for it is refused (B17)."""
        return Outcome.LOCAL_LIMIT in self.pool.fallback.outcomes

    def _is_full(self, target: Target) -> bool:
        return self.state.open_count(target.provider.name) >= target.provider.max_open

    def _pick(self, now: float, wanted: Callable[[Target], bool]) -> Target | None:
        """A target of the first tier that has an available one; drained by weight 0 only where no other is (B2)."""
        idle: Target | None = None
        for tier in self._targets():
            free = [target for target in tier if wanted(target) and self._blocked(target, now) is None]
            chosen = choose(free, lambda target: self.state.health(target).share(now), self.rng)
            if chosen is None:
                continue
            if chosen.weight > 0:
                return chosen
            idle = idle or chosen
        return idle

    def _first(self, now: float) -> Step:
        chosen = self._pick(now, lambda _target: True)
        if chosen is not None:
            return self._begin(chosen, now, same=False)
        return self._last_resort(now)

    def _further(self, now: float) -> Step:
        """Another target that this cascade has not tried; else the same ones again, after a backoff."""
        chosen = self._pick(now, lambda target: self._is_next_in_cascade(target, now))
        if chosen is not None:
            if self.attempts >= FREE_ATTEMPTS and not self._pay(now):
                return self._spent()
            return self._begin(chosen, now, same=False)
        again = self._pick(now, lambda target: self._may_repeat(target, now)) or self._only_one(now)
        if again is None:
            return self._spent()
        for visit in self._visits.values():
            visit.tried_in_cascade = False
        self._plan_repeat(again, now)
        return self._repeat(now)

    def _is_next_in_cascade(self, target: Target, now: float) -> bool:
        visit = self._visit(target)
        return visit.attempts == 0 or (not visit.tried_in_cascade and self._may_repeat(target, now))

    def _only_one(self, now: float) -> Target | None:
        """The last target again although it cools: its own wait, not its health, decides (B17, RateLimited)."""
        target = self._last
        if target is None or not self._may_repeat(target, now):
            return None
        block = self._blocked(target, now)
        return target if block is None or block.kind == "cooling" else None

    def _last_resort(self, now: float) -> Step:
        blocks = [
            (target, block) for tier in self._targets() for target in tier if (block := self._blocked(target, now))
        ]
        soonest = min(
            (
                (block.wait, index)
                for index, (_, block) in enumerate(blocks)
                if block.kind == "cooling" and not block.known
            ),
            default=None,
        )
        if soonest is None or not self.pool.last_resort or not self.state.enter_last_resort(self.pool.name):
            return self._none_available(blocks)
        return self._begin(blocks[soonest[1]][0], now, same=False, last_resort=True)

    def _begin(self, target: Target, now: float, *, same: bool, last_resort: bool = False) -> Step:
        if self._is_full(target):
            if last_resort:
                self.state.leave_last_resort(self.pool.name)
            return self._none_available([(target, verdict.Block("full", 1.0))])
        visit = self._visit(target)
        visit.attempts += 1
        visit.tried_in_cascade = True
        self.attempts += 1
        self._last = target
        ticket = self.state.health(target).begin(now)
        self.state.opened(target.provider.name)
        self._held = _Held(target, ticket, last_resort)
        return Try(target, self.attempts, same, ticket.probe)

    def _release(self, outcome: Outcome, now: float, retry_after: float | None, status: int | None) -> _Held:
        held, self._held = self._held, None
        assert held is not None, "no attempt is running"
        self.state.closed(held.target.provider.name)
        if held.last_resort:
            self.state.leave_last_resort(self.pool.name)
        blameless = status in BLAMELESS_STATUSES
        health = self.state.health(held.target)
        health.end(held.ticket, outcome, now, self.rng, retry_after=retry_after, blameless=blameless)
        return held

    # -- again and elsewhere

    def _visit(self, target: Target) -> _Visit:
        return self._visits.setdefault(target.name, _Visit())

    def _may_go_on(self, failure: Failure) -> bool:
        fallback = self.pool.fallback
        return failure.outcome in fallback.outcomes or fallback.names_status(failure.status)

    def _may_repeat(self, target: Target, now: float) -> bool:
        visit, fallback = self._visit(target), self.pool.fallback
        if visit.last is None or self.repeated:
            return False
        retries = 1 if fallback.retries is None else fallback.retries
        return visit.attempts <= retries and self._wait(visit, now) is not None

    def _wait(self, visit: _Visit, now: float) -> float | None:
        """The longest that a repetition would be waited for; None where it may not be asked again (B17, B19)."""
        failure, fallback = visit.last, self.pool.fallback
        assert failure is not None, "asked of a target that failed"
        again, asked = RULES[failure.outcome].again, failure.retry_after
        if again is Again.NO:
            return None
        backoff = min(fallback.backoff_max, fallback.backoff_initial * 2.0 ** (visit.attempts - 1))
        if asked is None:
            return backoff if now + backoff < self.deadline else None
        patience = fallback.max_retry_after if again is Again.AFTER_WAIT else max(fallback.max_retry_after, backoff)
        longest = max(asked * (1 + verdict.JITTER), backoff)
        return longest if asked <= patience and now + longest < self.deadline else None

    def _plan_repeat(self, target: Target, now: float) -> None:
        """Arrange it: full jitter under the backoff, Retry-After as the floor with 0..20 % on top (B19)."""
        visit = self._visit(target)
        failure, fallback = visit.last, self.pool.fallback
        assert failure is not None, "asked of a target that failed"
        backoff = self.rng() * min(fallback.backoff_max, fallback.backoff_initial * 2.0 ** (visit.attempts - 1))
        floor = 0.0 if failure.retry_after is None else failure.retry_after * (1 + verdict.JITTER * self.rng())
        self._again, self._not_before = target, now + max(backoff, floor)

    def _repeat(self, now: float) -> Step:
        if now < self._not_before:
            return Sleep(self._not_before)
        target, self._again = self._again, None
        assert target is not None, "a repetition was planned"
        block = self._blocked(target, now)
        if block is not None and block.kind != "cooling":
            return self._spent()
        failure = self._visit(target).last
        if not (failure is not None and failure.other_credential) and not self._pay(now):
            return self._further_elsewhere(now)
        return self._begin(target, now, same=True)

    def _further_elsewhere(self, now: float) -> Step:
        """The budget refuses a repetition; a first fallback is still free."""
        chosen = self._pick(now, lambda target: self._visit(target).attempts == 0)
        if chosen is None or self.attempts >= FREE_ATTEMPTS:
            return self._spent()
        return self._begin(chosen, now, same=False)

    def _pay(self, now: float) -> bool:
        budget = self.state.budget(self.pool)
        if not budget.allowed(now):
            return False
        budget.take(now)
        return True

    def _none_available(self, blocks: list[tuple[Target, verdict.Block]]) -> Stop:
        if self.failures:
            return self._spent()
        return Stop(verdict.none_available(self.pool, self.operation, blocks))

    def _spent(self) -> Stop:
        return Stop(verdict.spent(self.pool, self.failures))
