"""One stream's recovery: which target goes on with it, in which way, and what of that may go out (B26).

Theory. While the first attempt runs, what it says is kept on its way out. When it breaks, the ways that the pool names
are tried in their order, each at a target that was not asked yet; what such an attempt says is spliced. It may break as
well: then the same begins again from the text that the client has by then. An attempt that brings another text ends
without a trace, nobody is blamed, and its way is not tried again. Where no way is left, the client hears of the fault.
"""

from collections.abc import Callable, Mapping
from typing import Any

from modelpool_sidecar.core import jsonspan, recovery
from modelpool_sidecar.core.dispatch import Dispatch, Try
from modelpool_sidecar.core.onward import Journey
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.record import Recovery
from modelpool_sidecar.core.recovery import Mode, Result
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.room import Lease
from modelpool_sidecar.core.snapshot import Target
from modelpool_sidecar.core.verdict import Failure
from modelpool_sidecar.dialects import openai, openai_prefill
from modelpool_sidecar.dialects.openai_shown import Shown
from modelpool_sidecar.dialects.openai_splice import Splice

_OF_PREFILL = frozenset({Outcome.REJECTED, Outcome.CONTEXT_LENGTH})
"""What may be due to the text that was sent along, and so says nothing of the request."""


class Recovering:
    """`model(target)`: the model's name as it is sent there. `first`: who answers. `lease`: room for what is kept."""

    def __init__(
        self,
        request: Request,
        modes: tuple[Mode, ...],
        first: Target,
        total: float,
        model: Callable[[Target], str],
        lease: Lease,
    ) -> None:
        self.mode: Mode | None = None
        """How the attempt that runs goes on with the answer; None for the first one."""
        self.done: list[Recovery] = []
        self.until = 0.0
        """The moment (monotonic) at which something new must have come, from the last break on."""
        self._request, self._modes, self._total, self._model = request, modes, total, model
        self._shown = Shown(lease)
        self._splice: Splice | None = None
        self._useless = False  # the attempt that runs is to be ended
        self.body = b""
        """What the attempt that begins asks."""
        self._fault: tuple[Outcome, str] = (Outcome.BROKEN, "")
        self._why: str | None = None
        self._first = first
        self._refused: set[Mode] = set()

    def __repr__(self) -> str:
        return f"<Recovering {self._splice or self._shown}>"

    # -- what goes out

    def pass_on(self, data: bytes, now: float) -> bytes:
        """What of it the client may see."""
        if self._splice is None:
            return self._shown.pass_on(data)
        passed = self._splice.pass_on(data)
        if not self._splice.begun and self._splice.differs is None and now >= self.until:
            self._splice.differs = "it took too long"
        return passed

    def close(self) -> bytes:
        """The attempt is at its end: what waited for one more byte."""
        return b"" if self._splice is None else self._splice.close()

    @property
    def differs(self) -> str | None:
        """Why the attempt that runs is of no use, None as long as it may be."""
        return None if self._splice is None else self._splice.differs

    @property
    def unfinished(self) -> bool:
        """Whether the attempt has ended before what it gave made a whole answer."""
        return self._splice is not None and not self._splice.complete

    # -- the way of a recovery

    def broke(self, outcome: Outcome, detail: str, now: float) -> None:
        """The attempt that ran broke after something of it had gone out, or was to."""
        if self.mode is None or (self._splice is not None and self._splice.begun):
            self._fault, self.until = (outcome, detail), now + self._total
        self.over("Failed" if self.differs is None else "Differs")

    def over(self, result: Result) -> None:
        """The attempt that ran is over."""
        if self.mode is not None:
            self.done.append(Recovery(self.mode, result))
            if result == "Differs":
                self._refused.add(self.mode)
        self.mode, self._splice, self._useless = None, None, False
        self._shown.close()

    def failed(self, walk: Dispatch | Journey, failure: Failure) -> bool:
        """The attempt that ran failed before anything came of it. Whether others are tried."""
        more = walk.may_go_on(failure) or (self.mode == "Continue" and failure.outcome in _OF_PREFILL)
        self.over("Failed")
        return more

    def refuse(self, why: str) -> bool:
        """What the attempt that runs brings is of no use. Whether that is news."""
        if self._splice is None or self._useless:
            return False
        self._splice.differs, self._useless = self._splice.differs or why, True
        return True

    def ended(self) -> tuple[Recovery, ...]:
        """The request is over: what was tried, and what came of it."""
        if self.mode is not None:
            self.over("Recovered" if self._splice is not None and self._splice.complete else "Cancelled")
        self._shown.forget()
        return tuple(self.done)

    def next(self, walk: Dispatch | Journey, now: float) -> Try | None:
        """The attempt that goes on with the answer; None where there is none."""
        self._why = self._why_not(walk, now)
        for mode in self._modes if self._why is None else ():
            if mode not in self._refused:
                step = walk.recover(now, self._continues if mode == "Continue" else self._replays)
                if step is not None:
                    self._begin(mode, step.target)
                    return step
        self._why = self._why or "no target is left for it"
        if not self.done:
            self.done.append(Recovery(None, "NotPossible", self._why))
        return None

    def _why_not(self, walk: Dispatch | Journey, now: float) -> str | None:
        if self._fault[0] not in walk.pool.fallback.outcomes:
            return f"{self._fault[0]} goes on nowhere"
        if now >= self.until:
            return "no time is left"
        return self._shown.why_not or recovery.excluded(self._document(self._first))

    def fault(self) -> tuple[Outcome, str, bytes]:
        """What the client is told where nothing helped: the last break, and the provider's own event if it sent one."""
        why = f"; not recovered: {self._why}" if self._why else ""
        return self._fault[0], self._fault[1] + why, self._shown.error

    def _begin(self, mode: Mode, target: Target) -> None:
        way = recovery.continues(target, self._model(target))
        echoes = mode == "Continue" and way in openai_prefill.ECHOES
        self.mode = mode
        self._shown.error = b""
        self.body = (self._rest(target) if mode == "Continue" else None) or self._asked(target)
        self._splice = Splice(self._shown, replay=mode == "Replay", echoes=echoes)

    def _replays(self, target: Target) -> bool:
        return recovery.excluded(self._document(target)) is None

    def _continues(self, target: Target) -> bool:
        declared = recovery.continues(target, self._model(target)) is not None
        return declared and self._replays(target) and self._rest(target) is not None

    def _rest(self, target: Target) -> bytes | None:
        way, shown = recovery.continues(target, self._model(target)), self._shown
        if way is None:
            return None
        return openai_prefill.body(self._request.operation, self._asked(target), shown.text, way, shown.tokens)

    def _asked(self, target: Target) -> bytes:
        return openai.attempt_body(self._request, self._model(target), target.parameters)

    def _document(self, target: Target) -> Mapping[str, Any]:
        document: Mapping[str, Any] = jsonspan.decode(self._asked(target))
        return document
