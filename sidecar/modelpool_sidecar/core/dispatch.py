"""One request's walk over its pool's targets: which one is tried next, when, and what is said when none is left.

Theory. A walk alternates between `next(now)` and `observe(failure, now)` until `next` says `Stop` or the caller
commits. It never sleeps and never sends: `Try` and `Sleep` are orders to the shell.

- An attempt holds a place at its provider and a ticket of its target's health from `next` to the moment it is observed,
  completed or abandoned; each is given back exactly once.
- Going elsewhere comes first and costs no wait, unless the pool sets retries at the same target. The first fallback is
  free; every further target and every repetition is paid from the retry budget, before anything is slept (B12, B18).
- A second attempt may run beside the first (B23). What is observed, committed or settled is then the one that was
  begun or turned to last, and when it is given back the other one remains.
- A target that cools is asked only where no other is left, and only by who gets the probe's place of its health: so one
  request at a time does (B36, B37). Known waits are answered at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from modelpool_sidecar.core import chains, nesting, repeating, verdict
from modelpool_sidecar.core.allowance import NOBODY, NONE, Asker, Tokens
from modelpool_sidecar.core.caps import Place
from modelpool_sidecar.core.catalogue import EMBEDDINGS
from modelpool_sidecar.core.grip import NOTHING, Grip
from modelpool_sidecar.core.health import Stance, Ticket
from modelpool_sidecar.core.latency import Wait
from modelpool_sidecar.core.limits import Told
from modelpool_sidecar.core.nesting import Turns
from modelpool_sidecar.core.openings import Openings
from modelpool_sidecar.core.outcome import BLAMELESS_STATUSES, Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.repeating import Visit
from modelpool_sidecar.core.selection import choose
from modelpool_sidecar.core.snapshot import Pool, Secret, Target, TargetKey
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.strategies import Asking, Turn
from modelpool_sidecar.core.verdict import Block, Failure


@dataclass(frozen=True, slots=True)
class Try:
    """Ask this target now. `same_target`: a retry, not a fallback; `probe`: it decides a recovery (B36)."""

    target: Target
    number: int
    same_target: bool
    probe: bool
    name: str
    """The target's, as it is told: with its pool before it where that is not the pool that was asked."""
    hedge: bool = False
    """Another attempt is out, and the first of the two that answers wins (B23)."""


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
class _Held:
    """What the running attempt holds, since when; `committed` once its answer has begun."""

    target: Target
    ticket: Ticket
    since: float
    place: Place
    grip: Grip = NOTHING
    committed: bool = False
    hedge: bool = False
    places: tuple[chains.Held, ...] = ()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A repetition that is paid for: where, and not before when."""

    target: Target
    not_before: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """`blocks`: why each target cannot be tried, None where it can. `priority`: of the tier that is asked first."""

    blocks: Mapping[str, Block | None]
    priority: int | None


@dataclass(slots=True)
class Dispatch:
    """The walk. `rng` returns [0, 1); `deadline` is monotonic and covers everything (B15).

    `missing(target)`: the keys that it needs and that are not mounted (B50). `repeated`: the client says that this is
    already its own retry, so no target is asked twice (B18). `tiers`: the targets that
    take this request, where that is not all of them (B6, B20). `stream`, `key`, `model`: what strategies
    look at; `inner_keys`: by pool behind this one.
    `asker`: what limits are divided by. `used`: tokens of all attempts that are over, where a limit counts them.
    `observed`: which limits of targets and providers that only observe would have refused.
    `once`: what was sent is never sent again, because it may have made something (B15a).
    `earlier`: attempts that other pools made before (B20). `last_resort`: a target that cools may be asked (B37).
    `prefix`: what stands before the names of its targets where they are told. `hedged`: a second target may be asked
    while the first one is (B23). `hurry`: the client's own timeout in seconds, where that made the deadline (B15).
    """

    pool: Pool
    state: State
    operation: str
    deadline: float
    rng: Callable[[], float]
    missing: Callable[[Target], Sequence[Secret]]
    repeated: bool = False
    tiers: tuple[tuple[Target, ...], ...] | None = None
    stream: bool = False
    key: int | None = None
    model: str = ""
    inner_keys: Mapping[str, int | None] = field(default_factory=dict)
    asker: Asker = NOBODY
    once: bool = False
    earlier: int = 0
    last_resort: bool = True
    prefix: str = ""
    hedged: bool = False
    hurry: float | None = None
    attempts: int = 0
    used: Tokens = NONE
    observed: tuple[str, ...] = ()
    failures: list[Failure] = field(default_factory=list)
    _visits: dict[str, Visit] = field(default_factory=dict)
    _asked: set[TargetKey] = field(default_factory=set)
    _other_keys: int = 0
    _held: _Held | None = None
    _other: _Held | None = None
    _plan: _Plan | None = None
    _over: Failure | Refusal | None = None
    _last: Target | None = None
    _turn: Turn[Target] | Turns | None = None
    _freed: list[tuple[Pool, float]] = field(default_factory=list)
    _took: Grip = NOTHING
    _shut: tuple[Told, ...] = ()
    _openings: Openings = field(init=False)

    def __post_init__(self) -> None:
        self._openings = Openings(self.pool, self.state, self.operation, self.missing, self.asker)

    @property
    def told(self) -> tuple[Told, ...]:
        """The tightest limits of the target and the provider that were asked last, as they were right after; of those
        that let nobody be asked, the one that opens first (B12)."""
        return self._took.told or self._shut

    def next(self, now: float) -> Step:
        """What to do now. No attempt must be running."""
        if self._over is not None:
            return Stop(self._over)
        if now >= self.deadline:
            return Stop(verdict.timed_out(self.pool, self.failures, self.hurry))
        if not self._has_attempts:
            return self._spent(now)
        if self._last is None:
            return self._first(now)
        if self._plan is None:
            return self._further(now)
        if now < self._plan.not_before:
            return Sleep(self._plan.not_before)
        plan, self._plan = self._plan, None
        return self._carry_out(plan.target, now)

    def observe(self, failure: Failure, now: float) -> None:
        """The running attempt failed before the content commit; `next` says what follows."""
        outcome = Outcome.CANCELLED if failure.other_credential else failure.outcome
        extra = self._other is not None and self._held is not None and self._held.hedge
        target = self._last = self._release(outcome, now, failure)
        self.failures.append(failure)
        self._visit(target).fail(failure, now)
        if failure.outcome is Outcome.UNSUPPORTED and failure.whole:
            self.state.mark_unsupported(target.key, self.operation)
        if failure.other_credential:  # no verdict on the target yet, and no attempt that counts
            self._other_keys += 1
            self._plan = _Plan(target, now)
        elif not extra and ((self.once and not failure.unsent) or not self.may_go_on(failure)):
            self._over = verdict.spent(self.pool, self.failures)

    def commit(self, now: float, begun: float | None = None) -> None:
        """The running attempt's answer goes out: that is what a probe was to show (B36). `begun`: when its first token
        came, where it was held after it (B24)."""
        held = self._held
        assert held is not None, "no attempt is running"
        self.state.health(held.target).commit(held.ticket, now)
        if not held.committed:
            held.committed = True
            if self._measures(held.target):
                self._wait(held.target).sample((now if begun is None else begun) - held.since, now)
            if self.hedged:
                self._time(held, now)
                self._took = held.grip
            if self.stream:
                held.place.first_token(now if begun is None else begun)

    def recover(self, now: float, wanted: Callable[[Target], bool]) -> Try | None:
        """After the commit the answer broke: another target to go on with it (B26), at once, or None. Not by `total`,
        which ended at the commit, but by attempts and budget."""
        if not self._has_attempts:
            return None
        fresh = self._pick(now, lambda target: self._visit(target).attempts == 0 and wanted(target))
        if fresh is None or not (self._is_first_fallback or self._pay(now)):
            return None
        step = self._begin(fresh, now)
        return step if isinstance(step, Try) else None

    def settle(self, tokens: Tokens, now: float) -> None:
        """The running attempt ends and used so many tokens: its limits count these, not the estimate (B10)."""
        if self._held is not None:
            self._held.grip.settle(tokens, now)
            self.used += tokens

    def complete(self, outcome: Outcome, now: float) -> None:
        """The committed attempt is over: Ok, or what became of it after the commit (Broken, Stalled)."""
        self._release(outcome, now)

    def abandon(self, now: float) -> None:
        """The client left, or the walk ends otherwise: what is held is given back, nobody is blamed. Twice is fine."""
        while self._held is not None:
            self._release(Outcome.CANCELLED, now)

    # -- two at once (B23)

    def hedge_at(self) -> float | None:
        """The moment (monotonic) at which a second target may be asked beside the running one; None: never.

        A probe is not disturbed: whoever outran it would take its verdict away (B36).
        """
        held, hedging = self._held, self.pool.hedging
        if held is None or hedging is None or not self.hedged or held.hedge or held.ticket.probe:
            return None
        if not self._has_attempts:
            return None
        wait = self.state.hedges.of(self.pool.name).delay(hedging, self.operation, stream=self.stream)
        return None if wait is None or held.since + wait >= self.deadline else held.since + wait

    def hedge(self, now: float) -> Try | None:
        """That moment has come: another target that serves, where the pool has a hedge and a retry left (B18)."""
        hedges, budget = self.state.hedges.of(self.pool.name), self.state.budget(self.pool)
        if hedges.left == 0 or not budget.allowed(now):
            return None
        running, target = self._held, self._pick(now, lambda each: self._may_hedge(each, now))
        step = None if target is None else self._begin(target, now, hedge=True)
        if not isinstance(step, Try):
            return None
        self._other = running
        hedges.take()
        budget.take(now)
        return step

    def turn_to(self, target: Target) -> None:
        """What is said next is about the attempt there, of the two that run."""
        if self._other is not None and self._other.target is target:
            self._held, self._other = self._other, self._held

    def outrun(self, now: float) -> None:
        """The other one of the two was first. It is at least as slow as it was waited for, and nobody is blamed."""
        held = self._held
        assert held is not None, "an attempt is running"
        if self._measures(held.target):
            self._wait(held.target).failed(now - held.since, now)
        self._time(held, now)
        self._release(Outcome.CANCELLED, now)

    @property
    def awaits(self) -> bool:
        """Whether another attempt still runs whose answer would be the answer."""
        return self._held is not None and self._over is None

    def _may_hedge(self, target: Target, now: float) -> bool:
        """Not asked yet, not drained by its weight (B2: the running one is available), and no probe."""
        fresh = target.weight > 0 and self._visit(target).attempts == 0
        return fresh and self.state.health(target).stance(now) is Stance.SERVING

    def _time(self, held: _Held, now: float) -> None:
        hedging = self.pool.hedging
        if hedging is not None and hedging.percentile is not None and not held.hedge:
            hedges = self.state.hedges.of(self.pool.name)
            hedges.answered(self.operation, now - held.since, stream=self.stream)

    @property
    def _has_attempts(self) -> bool:
        return self.attempts < self.pool.fallback.max_attempts + self._other_keys

    def outlook(self, now: float) -> Outlook:
        """What this walk finds if it starts now. Looking chooses nothing and takes nothing (B3)."""
        tiers = self._tiers()
        blocks = {target.name: self._openings.blocked(target, now) for tier in tiers for target in tier}
        free = [target for tier in tiers for target in tier if blocks[target.name] is None]
        first = next((target for target in free if target.weight > 0), free[0] if free else None)
        return Outlook(blocks, None if first is None else first.priority)

    # -- where to

    def _first(self, now: float) -> Step:
        if self.pool.hedging is not None:
            self.state.hedges.of(self.pool.name).request(self.pool.hedging)
        chosen = self._at_first_glance(now) or self._pick(now, lambda _target: True)
        if chosen is not None:
            return self._begin(chosen, now)
        blocks = [
            (target, block) for target in self._targets() if (block := self._openings.blocked(target, now)) is not None
        ]
        guessed = [(block.wait, index) for index, (_, block) in enumerate(blocks) if block.is_guess]
        soonest = blocks[min(guessed)[1]][0] if guessed else None
        if soonest is None or not (self.pool.last_resort and self.last_resort) or not self.state.health(soonest).vacant:
            return self._nobody(blocks)
        return self._begin(soonest, now)

    def _further(self, now: float) -> Step:
        """After a failure: retries that the pool sets, another target, the same ones once more, in this order."""
        fresh = self._fresh(now)
        last = self._last
        if self.pool.fallback.retries and last is not None and self._may_repeat(last, now, alone=fresh is None):
            step = self._arrange(last, now)
            if not isinstance(step, Stop):
                return step
        if fresh is not None:
            if not self._is_first_fallback and not self._pay(now):
                return self._spent(now)
            return self._begin(fresh, now)
        again = self._pick(now, lambda target: self._may_repeat(target, now, alone=False))
        if again is None and last is not None and self._may_repeat(last, now, alone=True):
            again = last
        return self._spent(now) if again is None else self._arrange(again, now)

    def _carry_out(self, target: Target, now: float) -> Step:
        """A repetition is due; what has changed while it slept counts."""
        if self._has_other_key(target):
            return self._begin(target, now)
        fresh = self._fresh(now)
        if self._is_open(target, now, alone=fresh is None):
            return self._begin(target, now)
        if fresh is not None and (self._is_first_fallback or self._pay(now)):
            return self._begin(fresh, now)
        return self._spent(now)

    def _arrange(self, target: Target, now: float) -> Step:
        """Pay for a repetition, then sleep as long as it must wait: a rate limit's own cooldown is waited for too."""
        if not self._pay(now):
            return self._spent(now)
        visit = self._visit(target)
        not_before = repeating.when(visit, self.pool.fallback, self.rng)
        until = self.state.health(target).until(now)
        if until is not None and visit.was_told_to_wait and until < self.deadline:
            not_before = max(not_before, until)
        self._plan = _Plan(target, not_before)
        return self.next(now)

    def _fresh(self, now: float) -> Target | None:
        """One that was not asked yet; another way to one that was, only where no other is left."""
        return self._pick(now, lambda each: self._visit(each).attempts == 0 and each.key not in self._asked) or (
            self._pick(now, lambda each: self._visit(each).attempts == 0)
        )

    def _targets(self) -> tuple[Target, ...]:
        return tuple(target for tier in self._tiers() for target in tier)

    def _tiers(self) -> tuple[tuple[Target, ...], ...]:
        return self.pool.tiers if self.tiers is None else self.tiers

    def _pick(self, now: float, wanted: Callable[[Target], bool]) -> Target | None:
        """A target of the first tier that has an available one; drained by weight 0 only where no other is (B2)."""
        idle: Target | None = None
        for tier in self._tiers():
            free = [target for target in tier if wanted(target) and self._openings.blocked(target, now) is None]
            chosen = self._choose(free, now)
            if chosen is not None and chosen.weight > 0:
                return chosen
            idle = idle or chosen
        return idle

    def _at_first_glance(self, now: float) -> Target | None:
        """Who is drawn by weight, if it is available: then nobody has to look at the others. Drawing among all, and
        among those that are available where this one is not, gives each of these the same part as the latter alone."""
        if self.pool.strategy.type != "Weighted" or self.pool.behind:
            return None
        tiers = self._tiers()
        drawn = self._choose(tiers[0], now) if tiers else None
        return drawn if drawn is not None and drawn.weight > 0 and self._openings.blocked(drawn, now) is None else None

    def _choose(self, free: Sequence[Target], now: float) -> Target | None:
        if self.pool.strategy.type == "Weighted" and not self.pool.behind:
            return choose(free, lambda target: self.state.share(target, now), self.rng)
        answers = self.operation != EMBEDDINGS.name
        keys = self.inner_keys if self.key is None else {self.pool.name: self.key, **self.inner_keys}
        asking = Asking(self.state, self.rng, now, self.stream, keys, self.model, answers, self.asker)
        chosen: Target | None
        if self.pool.behind:
            chosen, self._turn = nesting.choose(asking, self.pool, free)
        else:
            chosen, self._turn = asking.choose(self.pool, free)
        return chosen

    @property
    def policy_is_fault(self) -> bool:
        """Whether an answer that a filter ended may go on elsewhere."""
        fallback = self.pool.fallback
        return Outcome.CONTENT_POLICY in fallback.outcomes or "ContentPolicy" in fallback.pools

    @property
    def _is_first_fallback(self) -> bool:
        """The first one of a request is free (B18)."""
        return self.earlier + len(self._visits) == 1

    def may_go_on(self, failure: Failure) -> bool:
        """Whether the pool lets this outcome go on to another target."""
        fallback = self.pool.fallback
        return failure.outcome in fallback.outcomes or fallback.names_status(failure.status)

    def _may_repeat(self, target: Target, now: float, *, alone: bool) -> bool:
        if self.repeated or not self._is_open(target, now, alone=alone):
            return False
        return repeating.may(self._visit(target), self.pool.fallback, self.deadline)

    def _is_open(self, target: Target, now: float, *, alone: bool) -> bool:
        """Whether it is available; or it cools, no other is left, nobody else asks it, and the wait is not a known one.

        A rate limit that this walk itself was told is no reason against: its own wait decides (B17). Where the pool
        sets retries they come first, though another target is left (B18).
        """
        block = self._openings.blocked(target, now)
        if block is None:
            return True
        own = block.reason is Outcome.RATE_LIMITED and self._visit(target).was_rate_limited
        first = own and bool(self.pool.fallback.retries)
        return (first or (alone and (block.is_guess or own))) and self.state.health(target).vacant

    def _has_other_key(self, target: Target) -> bool:
        failure = self._visit(target).failure
        return failure is not None and failure.other_credential

    def _pay(self, now: float) -> bool:
        budget = self.state.budget(self.pool)
        if not budget.allowed(now):
            return False
        budget.take(now)
        return True

    # -- what is held

    def _begin(self, target: Target, now: float, *, hedge: bool = False) -> Step:
        block, grip = self._openings.take(target, now)
        if grip is not NOTHING:
            self._took = grip
            self.observed = (*self.observed, *grip.observed)
        if block is not None:
            if self.failures:
                return self._spent(now)
            return self._nobody([(target, block)])
        turn, self._turn = self._turn, None
        if turn is not None and turn.target is target:
            turn.take()
        self._asked.add(target.key)
        visit = self._visits.setdefault(target.name, Visit())
        visit.attempts += 1
        self.attempts += 1
        self._last = target
        ticket = self.state.health(target).begin(now)
        self._held = _Held(target, ticket, now, self.state.caps.begin(target, now), grip, hedge=hedge)
        if target.passed:
            self._held.places = chains.enter(self.state, target, self.asker, now)
        name = self.prefix + target.name
        return Try(target, self.earlier + self.attempts, visit.attempts > 1, ticket.probe, name, hedge)

    def _release(self, outcome: Outcome, now: float, failure: Failure | None = None) -> Target:
        held, self._held, self._other = self._held, self._other, None
        assert held is not None, "no attempt is running"
        if held.places:
            self._freed += chains.leave(held.places)
        if failure is not None and failure.unsent:
            held.grip.give_back(now)
        else:
            held.grip.close()
        if self._measures(held.target) and failure is not None and outcome is not Outcome.CANCELLED:
            self._wait(held.target).failed(now - held.since, now)
        blameless = failure is not None and (failure.blameless or failure.status in BLAMELESS_STATUSES)
        held.place.end(now, outcome, failure.status if failure is not None else None, blameless=blameless)
        self.state.health(held.target).end(
            held.ticket,
            outcome,
            now,
            self.rng,
            retry_after=failure.retry_after if failure is not None else None,
            blameless=blameless,
        )
        if held.target.provider.quota_domain is not None:
            self.state.quotas.ended(held.target, outcome, now)
        return held.target

    def freed(self) -> list[tuple[Pool, float]]:
        """The pools behind this one in which a place became free, each with since when it was held; told once."""
        freed, self._freed = self._freed, []
        return freed

    def _measures(self, target: Target) -> bool:
        """Whether anybody asks how long a target lets one wait."""
        return chains.measures(self.pool, target) if target.passed else self.pool.strategy.type == "LowestLatency"

    def _wait(self, target: Target) -> Wait:
        return self.state.learned.wait(target.key, stream=self.stream)

    def _visit(self, target: Target) -> Visit:
        """What has happened there; nothing, where it was not asked yet."""
        return self._visits.get(target.name) or Visit()

    def _nobody(self, blocks: Sequence[tuple[Target, Block]]) -> Stop:
        limited = [block for _, block in blocks if block.told]
        if limited:
            self._shut = min(limited, key=lambda block: block.wait).told
        return Stop(verdict.none_available(self.pool, self.operation, blocks))

    def _spent(self, now: float) -> Stop:
        return Stop(verdict.spent(self.pool, self.failures, self._openings.waits(self._targets(), now)))
