"""Where does a request go when its pool has no answer: to the pools that `fallback.pools` names, by reason (B20).

A journey is a walk over one pool after the other. Each pool has its own targets, limits, strategy and attempts; the
deadline is one, and what is said in the end (B21) is said of all attempts together.

- The pools for the special reason come first, then those for General; a pool that is entered adds its own in front.
- None is entered twice, and no more than AT_MOST of them.
- What is the client's own fault goes nowhere; a request that is too long, or that a filter refused, goes only to the
  pools that are named for that.
- A last resort (B37) comes last: only where no pool could be asked does the first one try a target that cools.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from modelpool_config.models import Reason
from modelpool_sidecar.core import chains, matching, needs, stateful, verdict
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.allowance import NONE, Asker, Tokens
from modelpool_sidecar.core.dispatch import Dispatch, Outlook, Step, Stop, Try
from modelpool_sidecar.core.limits import Limited, Permit, Told
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target
from modelpool_sidecar.core.verdict import Failure

AT_MOST = 5

_SPECIAL: dict[Outcome, Reason] = {
    Outcome.CONTEXT_LENGTH: "ContextLength",
    Outcome.CONTENT_POLICY: "ContentPolicy",
}
_FOR_THAT_ONLY = frozenset(_SPECIAL.values())


@dataclass(frozen=True, slots=True)
class Reach:
    """What a request may see: the pools of its snapshot (B46), as far as they are open to whoever asks."""

    snapshot: Snapshot
    visitor: Visitor
    freed: Callable[[Pool, float], None]
    """Hears of each place that becomes free, with since when it was held: others may wait for it."""
    vacated: Callable[[], None]
    """Hears that an attempt may be over: others may wait for its place at the target."""

    def asker(self, pool: Pool, asker: Asker) -> Asker | None:
        """Who asks at a pool that the request goes on to; None where it is not theirs to use (B20)."""
        caller = self.visitor.caller(pool)
        if caller is None and pool.callers is not None:
            return None
        names = chains.names(pool, self.visitor) if pool.behind else {}
        return replace(asker, caller=caller, names=names) if (caller, names) != (asker.caller, asker.names) else asker


def candidates(pool: Pool, request: Request, asker: Asker, within: Tiers | None = None) -> Tiers | Refusal:
    """The targets of a pool that take the request, by priority; a refusal where none does (B6).

    `within`: the only ones that may be asked. Empty: all of them stand behind pools that are not theirs who asks (B20).
    """
    if pool.behind:
        within = chains.open_to(pool.tiers if within is None else within, asker.names)
        if not within:
            return ()
    tiers = matching.tiers(pool, request.headers, within)
    return tiers if isinstance(tiers, Refusal) else needs.fitting(pool, request, tiers)


def is_free(pool: Pool, request: Request) -> bool:
    """Whether it may go to another pool at all: no target is pinned, and no state binds it to one (B15a, B20)."""
    if request.pinned is not None or request.operation.state or request.ties.creates or request.ties.refers:
        return False
    return stateful.home(pool, request) is None


def may_hedge(pool: Pool, request: Request) -> bool:
    """Whether two targets may be asked at once (B23): as above, and no answer is kept where nobody would find it."""
    return is_free(pool, request) and not (request.ties.kept and pool.stateful is not None)


def may_leave(pool: Pool, request: Request, refusal: Refusal) -> bool:
    """Whether what no target of the pool can serve has another pool to go to: what is too long for all of them."""
    return (
        refusal.code == "context_length_exceeded" and "ContextLength" in pool.fallback.pools and is_free(pool, request)
    )


def reasons(dispatch: Dispatch, answer: Failure | Refusal, now: float) -> tuple[Reason, ...]:
    """Why the request leaves the pool that has no answer for it, special reason first; nothing where it ends there."""
    limited = isinstance(answer, Refusal) and answer.code == "all_limited"
    if not dispatch.failures:
        if isinstance(answer, Refusal) and answer.code == "context_length_exceeded":
            return ("ContextLength",)
        if limited and Outcome.LOCAL_LIMIT not in dispatch.pool.fallback.outcomes and _any_free(dispatch, now):
            return ()  # a limit of ours that is to be told, not passed over (B17)
        return ("RateLimited", "General") if limited else ("General",)
    last = dispatch.failures[-1]
    special = _SPECIAL.get(last.outcome) or ("RateLimited" if limited else None)
    general: tuple[Reason, ...] = ("General",) if dispatch.may_go_on(last) else ()
    return general if special is None else (special, *general)


def _any_free(dispatch: Dispatch, now: float) -> bool:
    return None in dispatch.outlook(now).blocks.values()


class Journey:
    """A request's way over several pools. It is driven like a `Dispatch`, and `leave` ends it.

    `first`: the walk of the pool that was asked; its permit is its caller's. `enter(pool, earlier)`: a walk over
    another pool after so many attempts, None where it does not take the request. `refused`: why no target of the first
    can serve it at all.
    """

    __slots__ = (
        "_current",
        "_ended",
        "_enter",
        "_first",
        "_freed",
        "_left",
        "_permit",
        "_pools",
        "_refused",
        "_said",
        "_seen",
        "_since",
        "_waiting",
    )

    def __init__(
        self,
        first: Dispatch,
        pools: Mapping[str, Pool | ClosedPool],
        enter: Callable[[Pool, int], Dispatch | None],
        refused: Refusal | None = None,
    ) -> None:
        first.last_resort = "General" not in first.pool.fallback.pools
        self._first = self._current = first
        self._pools, self._enter, self._refused = pools, enter, refused
        self._said: Failure | Refusal | None = refused
        self._left: list[Dispatch] = []
        self._permit: Permit | None = None
        self._since = 0.0
        self._freed: list[tuple[Pool, float]] = []
        self._seen = {first.pool.name}
        self._waiting: list[tuple[Reason, str]] = []
        self._ended: list[tuple[str, float]] = []

    def __repr__(self) -> str:
        return f"<Journey {' -> '.join(each.pool.name for each in self._walks)}: {self.attempts} attempts>"

    @property
    def _walks(self) -> tuple[Dispatch, ...]:
        return (*self._left, self._current)

    @property
    def deadline(self) -> float:
        """One for all pools (B15)."""
        return self._first.deadline

    @property
    def attempts(self) -> int:
        """In all pools."""
        return self._current.earlier + self._current.attempts

    @property
    def failures(self) -> list[Failure]:
        """Of all pools."""
        return [failure for walk in self._walks for failure in walk.failures]

    @property
    def told(self) -> tuple[Told, ...]:
        """The limits of the pool that is asked now and of its target, beyond those of the first pool."""
        return (*(self._permit.told if self._permit is not None else ()), *self._current.told)

    @property
    def asker(self) -> Asker:
        """Who asks, as the pool that is asked now sees it."""
        return self._current.asker

    @property
    def pool(self) -> Pool:
        """The one that is asked now."""
        return self._current.pool

    @property
    def used(self) -> Tokens:
        """Tokens of all attempts that are over, in all pools."""
        return sum((walk.used for walk in self._walks), NONE)

    @property
    def observed(self) -> tuple[str, ...]:
        """Limits that only observe and would have refused it."""
        entered = self._permit.observed if self._permit is not None else ()
        return (*entered, *(name for walk in self._walks for name in walk.observed))

    @property
    def policy_is_fault(self) -> bool:
        """Whether an answer that a filter ended may go on elsewhere."""
        return self._current.policy_is_fault or any(reason == "ContentPolicy" for reason, _ in self._waiting)

    def next(self, now: float) -> Step:
        """What to do now, in whichever pool."""
        step: Step = self._current.next(now) if self._refused is None else Stop(self._refused)
        while isinstance(step, Stop):
            if not self._go_on(step.answer, now):
                return Stop(self._answer(step.answer, now))
            self._refused = None
            step = self._current.next(now)
        return step

    def observe(self, failure: Failure, now: float) -> None:
        """The running attempt failed."""
        self._current.observe(failure, now)

    def recover(self, now: float, wanted: Callable[[Target], bool]) -> Try | None:
        """Another target of the pool that answered goes on with the answer (B26)."""
        return self._current.recover(now, wanted)

    def may_go_on(self, failure: Failure) -> bool:
        """Whether the pool that is asked now lets this outcome go on."""
        return self._current.may_go_on(failure)

    def commit(self, now: float, begun: float | None = None) -> None:
        """The running attempt's answer has begun."""
        self._current.commit(now, begun)

    def complete(self, outcome: Outcome, now: float) -> None:
        """The committed attempt is over."""
        self._current.complete(outcome, now)

    def abandon(self, now: float) -> None:
        """The running attempt is given up."""
        self._current.abandon(now)

    def hedge_at(self) -> float | None:
        """When a second target of the pool that is asked now may be asked, too."""
        return self._current.hedge_at()

    def hedge(self, now: float) -> Try | None:
        """It is, if it may."""
        return self._current.hedge(now)

    def turn_to(self, target: Target) -> None:
        """What is said next is about the attempt there."""
        self._current.turn_to(target)

    def outrun(self, now: float) -> None:
        """The other one of the two attempts was first."""
        self._current.outrun(now)

    @property
    def awaits(self) -> bool:
        """Whether another attempt still runs whose answer would be the answer."""
        return self._current.awaits

    def settle(self, tokens: Tokens, now: float) -> None:
        """The running attempt ends and used so many tokens."""
        self._current.settle(tokens, now)

    def leave(self, now: float) -> None:
        """The answer is over, or another pool is next: what the pool that was entered held is free (B11)."""
        permit, self._permit = self._permit, None
        if permit is None:
            return
        if len(self._current.failures) == self._current.attempts and all(
            each.unsent for each in self._current.failures
        ):
            permit.refund(now)
        elif self._current.pool.counts_tokens:
            permit.settle(self._current.used, now)
        permit.release()
        self._freed.append((self._current.pool, self._since))

    def freed(self) -> list[tuple[Pool, float]]:
        """The pools in which a place became free, each with since when it was held; told once."""
        freed, self._freed = self._freed, []
        return freed + [each for walk in self._walks for each in walk.freed()]

    def outlook(self, now: float) -> Outlook:
        """What the pool that was asked finds."""
        return self._first.outlook(now)

    def _go_on(self, answer: Failure | Refusal, now: float) -> bool:
        """Leave the pool that has no answer, for the next one that takes the request."""
        if self._said is None:
            self._said = answer
        if now >= self.deadline:
            return False
        why = reasons(self._current, answer, now)
        if not why:
            return False
        if isinstance(answer, Refusal) and answer.retry_after is not None:
            self._ended.append((self._current.pool.name, answer.retry_after))
        self._queue(why)
        while self._waiting and len(self._seen) <= AT_MOST:
            pool = self._pools[self._waiting.pop(0)[1]]
            if pool.name not in self._seen and isinstance(pool, Pool):
                self._seen.add(pool.name)
                if self._move(pool, now):
                    return True
        return self._last_resort(now)

    def _queue(self, why: Iterable[Reason]) -> None:
        own = self._current.pool.fallback.pools
        special = _FOR_THAT_ONLY.intersection(why)
        rest = [each for each in self._waiting if not special or each[0] in why]
        self._waiting = [*((reason, name) for reason in why for name in own.get(reason, ())), *rest]

    def _move(self, pool: Pool, now: float) -> bool:
        walk = self._enter(pool, self.attempts)
        if walk is None:
            return False
        state, budget = self._first.state, self._first.state.budget(self._first.pool)
        pays = self.attempts > 1
        if pays and not budget.allowed(now):
            return False
        permit = state.admit_now(pool, now, walk.asker)
        if isinstance(permit, Limited):
            self._ended.append((pool.name, permit.retry_after))
            return False
        if pays:
            budget.take(now)
        state.budget(pool).request(now)
        self.leave(now)
        self._left.append(self._current)
        self._current, self._permit, self._since = walk, permit, now
        return True

    def _last_resort(self, now: float) -> bool:
        if self._first.last_resort or self._first.tiers == () or self.attempts:
            return False
        self.leave(now)
        self._left = [walk for walk in self._walks if walk is not self._first]
        self._current, self._first.last_resort = self._first, True
        return True

    def _answer(self, answer: Failure | Refusal, now: float) -> Failure | Refusal:
        """What is told in the end, of all attempts together (B21)."""
        failures = self.failures
        if not failures:
            return self._soonest(self._said or answer)
        if now >= self.deadline:
            return verdict.timed_out(self._first.pool, failures, self._first.hurry)
        return verdict.spent(self._first.pool, failures, [wait for _, wait in self._ended])

    def _soonest(self, answer: Failure | Refusal) -> Failure | Refusal:
        """Nobody could be asked: the earliest moment at which any way is open (B12)."""
        if not isinstance(answer, Refusal) or answer.retry_after is None:
            return answer
        name, wait = min(self._ended, key=lambda each: each[1], default=("", answer.retry_after))
        if wait >= answer.retry_after:
            return answer
        return replace(answer, message=f"{answer.message}; pool {name} in {wait:.1f} s", retry_after=wait)
