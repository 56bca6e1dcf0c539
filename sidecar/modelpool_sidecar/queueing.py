"""What happens to a request that waits for a place: its turn comes, it waits too long, its client leaves, or we end.

The shell of `core.queue`: it holds the request and its timer, and is called whenever a place may be free. Each wait
ends exactly once, and ends in one call of `Ends`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar import faults
from modelpool_sidecar.core import limits, queue
from modelpool_sidecar.core.limits import Permit
from modelpool_sidecar.core.queue import Waiting
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Pool, Snapshot
from modelpool_sidecar.core.state import State
from modelpool_sidecar.ports import Clock, Downstream, Timer
from modelpool_sidecar.ways import Way

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Queued:
    """One request that waits."""

    request: Request
    downstream: Downstream
    way: Way
    waiting: Waiting
    arrived: float
    """When it came; before it began to wait here, where its pool went and it waits in another one."""
    timer: Timer | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """Who hears how a wait ended. `again`: its pool is no more, it has to find another way or be refused."""

    turn: Callable[[Queued, Permit], None]
    refused: Callable[[Queued, Refusal], None]
    left: Callable[[Queued], None]
    again: Callable[[Queued], None]


class Queueing:
    """All that wait, in the order in which they came."""

    def __init__(self, clock: Clock, state: State, ends: Ends) -> None:
        self._clock, self._state, self._ends = clock, state, ends
        self._queued: dict[Waiting, Queued] = {}
        self._serving: set[str] = set()
        self._wakes: dict[str, Timer] = {}  # by pool, for when time alone brings somebody back who takes requests
        self._closing = False

    def __repr__(self) -> str:
        return f"<Queueing: {len(self._queued)} wait>"

    def __len__(self) -> int:
        return len(self._queued)

    def enter(self, queued: Queued) -> None:
        """It stands in the line of its pool; its patience begins."""
        self._queued[queued.waiting] = queued
        if self._closing:
            self._refuse(queued, _draining())
            return
        pool = queued.way.pool
        assert pool.queue is not None, "nobody waits where there is no queue"
        waited = self._clock.now() - queued.arrived
        seconds = queue.patience(pool.queue, pool.total, queued.request.read_timeout, waited)
        queued.downstream.on_gone = lambda: self._gone(queued)
        queued.downstream.on_drain_deadline = lambda: self._refuse(queued, _draining())
        queued.timer = self._clock.call_later(seconds, lambda: self._late(queued))
        self.serve(pool)

    def serve(self, pool: Pool) -> None:
        """Places may be free: as many as there are go to those whose turn it is."""
        if not self._queued or pool.name in self._serving:
            return
        self._serving.add(pool.name)
        try:
            while (turn := self._state.take_turn(pool, self._clock.now())) is not None:
                waiting, permit = turn
                self._turn(self._queued[waiting], permit)
        finally:
            self._serving.discard(pool.name)
            self._wake(pool)

    def _wake(self, pool: Pool) -> None:
        """Who still waits for a place at a target is looked at again when another has cooled, or its limit opens."""
        self._sleep_on(pool.name)
        seconds = self._state.opens_in(pool, self._clock.now())
        if seconds is not None:
            self._wakes[pool.name] = self._clock.call_later(seconds, lambda: self._woken(pool))

    def _woken(self, pool: Pool) -> None:
        del self._wakes[pool.name]
        self.serve(pool)

    def _sleep_on(self, pool: str) -> None:
        timer = self._wakes.pop(pool, None)
        if timer is not None:
            timer.cancel()

    def reload(self, snapshot: Snapshot) -> None:
        """Other numbers hold: more may go at once; who waits for a pool that is no more is told so."""
        for queued in list(self._queued.values()):
            if queued.waiting not in self._queued:
                continue
            pool = snapshot.pools.get(queued.way.pool.name)
            if isinstance(pool, Pool):
                self.serve(pool)
            else:
                self._sleep_on(queued.way.pool.name)
                self._give_up(queued)
                self._ends.again(queued)

    def close(self) -> None:
        """The process ends: nobody waits any more (B51)."""
        self._closing = True
        while self._queued:
            self._refuse(next(iter(self._queued.values())), _draining())

    def _turn(self, queued: Queued, permit: Permit) -> None:
        self._end(queued)
        try:
            self._ends.turn(queued, permit)
        except Exception as error:  # whatever it is: a client waits, and so do those behind it
            faults.log(logger, "a request ended by a fault of ours", error)
            permit.refund(self._clock.now())
            self._ends.refused(queued, Refusal("internal_error", "the sidecar failed; its log says how", spent=True))

    def _late(self, queued: Queued) -> None:
        """It is told what is left of its limits, without what it had taken for nothing (B12)."""
        way, now = queued.way, self._clock.now()
        pool, waited = way.pool, now - queued.arrived
        message = (
            f"pool {pool.name}: no place was free for {waited:.1f} s, and a request waits no longer; try again later"
        )
        wait = self._state.retry_after(pool)
        self._give_up(queued)
        told = self._state.levels.find(pool.admission_limits(way.asker.caller), way.asker, now).told()
        headers = limits.headers(told)
        self._ends.refused(queued, Refusal("queue_timeout", message, retry_after=wait, headers=headers))

    def _gone(self, queued: Queued) -> None:
        """The client left (B31)."""
        self._give_up(queued)
        self._ends.left(queued)

    def _refuse(self, queued: Queued, refusal: Refusal) -> None:
        self._give_up(queued)
        self._ends.refused(queued, refusal)

    def _give_up(self, queued: Queued) -> None:
        self._end(queued)
        self._state.give_up(queued.way.pool.name, queued.waiting, self._clock.now())

    def _end(self, queued: Queued) -> None:
        del self._queued[queued.waiting]
        if queued.timer is not None:
            queued.timer.cancel()
        queued.downstream.on_gone = queued.downstream.on_drain_deadline = None


def _draining() -> Refusal:
    return Refusal("draining", "the sidecar is shutting down", retry_after=1.0)
