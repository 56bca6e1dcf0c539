"""A walk over the targets of a pool, without a clock, a socket or real chance."""

from collections.abc import Callable
from typing import Any

from builders import a_pool, a_snapshot, a_target, the_pool
from modelpool_sidecar.core.dispatch import Dispatch, Sleep, Stop, Try
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Secret, Snapshot, Target
from modelpool_sidecar.core.state import State
from modelpool_sidecar.core.verdict import Failure

MISSING = (
    Secret("authorization", "Bearer ", "openai.api-key", "Secret openai, key api-key"),
    Secret("x-team", "", "team.name", "Secret team, key name"),
)
NEVER_REPEATED = {"initial": 250, "max": 2_000, "max_retry_after": 0, "retries": 0}


class Walk:
    """A dispatch with a virtual clock; `fail` answers the running attempt."""

    def __init__(
        self,
        snapshot: Snapshot,
        state: State | None = None,
        *,
        rng: Callable[[], float] = lambda: 0.0,
        ready: Callable[[Target], bool] = lambda _target: True,
        total: float = 600.0,
        now: float = 1000.0,
        **more: Any,
    ) -> None:
        self.now = now
        self.state = State() if state is None else state
        self.snapshot = snapshot
        self.dispatch = Dispatch(
            pool=the_pool(snapshot),
            state=self.state,
            operation="chat",
            deadline=now + total,
            rng=rng,
            missing=lambda target: () if ready(target) else MISSING,
            **more,
        )
        self.waited = 0.0

    def next(self) -> Try | Stop:
        """The next attempt or the end; sleeps are slept on the virtual clock."""
        step = self.dispatch.next(self.now)
        if isinstance(step, Sleep):
            assert step.until > self.now
            self.waited += step.until - self.now
            self.now = step.until
            step = self.dispatch.next(self.now)
        assert not isinstance(step, Sleep), "one sleep is enough"
        return step

    def fail(self, outcome: Outcome, status: int | None = None, **fields: Any) -> None:
        step = self.tried
        failure = Failure(
            target=step.target.name,
            provider=step.target.provider.name,
            outcome=outcome,
            detail="it failed",
            status=status,
            whole=fields.pop("whole", status is not None),
            **fields,
        )
        self.dispatch.observe(failure, self.now)

    def run(self, outcome: Outcome, status: int | None = None, **fields: Any) -> list[str]:
        """Every attempt fails alike; the targets in the order in which they were asked."""
        asked = []
        while isinstance(step := self.next(), Try):
            self.tried = step
            asked.append(step.target.name)
            self.fail(outcome, status, **fields)
        self.end = step
        return asked

    def answer(self) -> Failure | Refusal:
        """What the client is told."""
        step = self.next()
        assert isinstance(step, Stop)
        return step.answer

    def refusal(self) -> Refusal:
        answer = self.answer()
        assert isinstance(answer, Refusal)
        return answer


def two(**changes: Any) -> Snapshot:
    """A pool with a primary and a backup behind it."""
    return a_snapshot([a_pool(targets=[a_target(), a_target("backup", priority=1)], **changes)])


def cool(walk: Walk, target: str, outcome: Outcome, retry_after: float | None = None, times: int = 1) -> None:
    """Let other requests have failed at that target."""
    health = walk.state.health(the_pool(walk.snapshot).targets[target])
    for _ in range(times):
        health.end(health.begin(walk.now), outcome, walk.now, lambda: 0.0, retry_after=retry_after)
