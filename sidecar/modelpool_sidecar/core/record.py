"""What is remembered of a request when it is over: the one source of the log line, the metrics and the spans.

Names, numbers and words of ours only: never a prompt, an answer, a key or a provider's message (B44).
Times are monotonic seconds; durations are seconds.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from modelpool_sidecar.core.outcome import Outcome

HedgeResult = Literal["won", "lost", "failed", "left"]
"""What became of a hedge: its answer was the answer, the other one was first, it failed, the client left before."""


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try at one target. `number` counts from 1; `same_target`: a retry, not a fallback; `probe`: B36.

    `hedge`: it began beside another one; `outrun`: another one answered first (B23).
    """

    number: int
    target: str
    provider: str
    model: str
    outcome: Outcome
    status: int | None
    started: float
    ended: float
    same_target: bool
    probe: bool
    recovery: str | None = None
    """How it went on with a stream that had broken (B26); None where it did not."""
    hedge: bool = False
    outrun: bool = False


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a stream that broke was gone on with (B26): in which way, and what came of it (`core.recovery.Result`).

    `mode` None: it was not possible; `why` says so."""

    mode: str | None
    result: str
    why: str = ""

    def __str__(self) -> str:
        """`Continue: Recovered`; `NotPossible: inside reasoning`."""
        return f"{self.result}: {self.why}" if self.mode is None else f"{self.mode}: {self.result}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; None where the answer tells none."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One finished request.

    `operation` is the GenAI operation name (`chat`, `text_completion`, `embeddings`, `responses`, `models`), `route`
    the path template. `outcome` is the last attempt's, None where nothing was attempted; `refusal` is the code of our
    own answer where we refused. `pool`, `target`, `provider` are configured names; `requested_model` is what the client
    sent and belongs in spans and logs, never in a metric label (B45: `pool_model` does). `first_token` counts from the
    start of the request to the content commit, streams only. `cost`: of the answer in US dollars, where its model has
    prices and it tells its tokens. `observed`: limits in mode Observe that would have refused it, as `level/name`.
    """

    method: str
    route: str
    operation: str
    stream: bool
    status: int
    outcome: Outcome | None
    refusal: str | None
    pool: str | None
    target: str | None
    provider: str | None
    requested_model: str | None
    sent_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    usage: Usage
    attempts: tuple[AttemptRecord, ...]
    started: float
    duration: float
    first_token: float | None
    client_retry: int
    config: str
    trace_id: str | None = None
    cost: Decimal | None = None
    observed: tuple[str, ...] = ()
    caller: str | None = None
    """Whose key it showed, at a pool that asks for one: a configured name."""
    recoveries: tuple[Recovery, ...] = ()
    dropped: int = 0
    """Malformed events of a stream that were left out (B28)."""
    queued: float | None = None
    """Seconds that it waited for a place in its pool; None where it did not."""
    cache: str | None = None
    """What the cache of its pool had for it (B53): `hit`, `miss`, `bypass`, `shared`; None where it has none."""

    @property
    def hedges(self) -> tuple[tuple[AttemptRecord, HedgeResult], ...]:
        """The attempts that began beside another one, and what became of each (B23)."""
        return tuple((each, _result(each, self.attempts)) for each in self.attempts if each.hedge)

    @property
    def pool_label(self) -> str:
        """The pool as a metric label: `unknown` where the model name led nowhere."""
        return self.pool or "unknown"


def _result(hedge: AttemptRecord, attempts: tuple[AttemptRecord, ...]) -> HedgeResult:
    if hedge.outrun:
        return "lost"
    if hedge.outcome is Outcome.OK or any(each.outrun and each.number == hedge.number - 1 for each in attempts):
        return "won"
    return "left" if hedge.outcome is Outcome.CANCELLED else "failed"
