"""What the client is told when no attempt succeeded (B21), or when none could even start (B5, B12, B37).

In this order: the client's own fault as the provider said it; all limited, with the smallest wait; the provider's last
answer with its body; our credentials, by name; out of time; unreachable. Never a bare 502 while a provider said more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from modelpool_sidecar.core.limits import Told
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import Pool, Target

JITTER = 0.2
"""Every wait gets 0..20 % on top: a thousand sidecars must not wake together (B19)."""

_CLIENTS = frozenset({Outcome.REJECTED, Outcome.CONTEXT_LENGTH, Outcome.CONTENT_POLICY})
_LIMITED = frozenset({Outcome.RATE_LIMITED, Outcome.QUOTA_EXHAUSTED, Outcome.LOCAL_LIMIT})
_TIMES = frozenset({Outcome.TIMED_OUT, Outcome.STALLED})
QUOTA_WAIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that did not become the answer.

    `status`, `headers`, `body` are the provider's, where it answered; `whole`: the body was read to its end, so it can
    be relayed. `detail` is ours, for the sentence: no content. `other_credential`: a 401 while another key is at hand
    (B17). `retry_after`: seconds that the provider asked for. `blameless`: not the target's doing.
    `unsent`: the provider has nothing of the request.
    """

    target: str
    provider: str
    outcome: Outcome
    detail: str
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    whole: bool = False
    retry_after: float | None = None
    other_credential: bool = False
    credential: str = ""
    blameless: bool = False
    unsent: bool = False

    def __repr__(self) -> str:
        return f"<Failure {self.target}: {self.outcome} {self.status or ''}>"


@dataclass(frozen=True, slots=True)
class Block:
    """Why a target cannot be tried. `wait`: seconds; `known`: a wait that somebody told us, not a guess (B37).

    `detail`: what is missing, or which limit, in people's words: the Secrets and their keys. `told`: of that limit.
    """

    kind: Literal["drained", "pending", "unsupported", "cooling", "full", "limited"]
    wait: float = 0.0
    reason: Outcome | None = None
    known: bool = False
    detail: str = ""
    told: tuple[Told, ...] = ()

    @property
    def is_guess(self) -> bool:
        """It cools, for as long as we think best: trying may help."""
        return self.kind == "cooling" and not self.known


def spent(pool: Pool, failures: Sequence[Failure], waits: Sequence[float] = ()) -> Failure | Refusal:
    """All attempts are spent. `failures` is not empty; `waits`: until targets that a limit of ours passed over open."""
    for failure in reversed(failures):
        if failure.outcome in _CLIENTS and failure.status is not None:
            return _as_it_came(pool, failure)
    if all(failure.outcome in _LIMITED for failure in failures):
        return _limited(pool, failures, waits)
    for failure in reversed(failures):
        if _says_more(failure):
            return _as_it_came(pool, failure)
    if all(failure.blameless and failure.unsent for failure in failures):
        message = f"pool {pool.name}: {failures[-1].detail}; try again"
        return Refusal("overloaded", message, retry_after=1.0)
    return _summary(pool, failures)


def may_be_told(failure: Failure) -> bool:
    """Whether the client may get its body: what nobody is told need not be kept (B30)."""
    return failure.whole and failure.status is not None and (failure.outcome in _CLIENTS or _says_more(failure))


def _as_it_came(pool: Pool, failure: Failure) -> Failure | Refusal:
    """The provider's answer; its status and wait in our own words where its body could not be read to the end."""
    if failure.whole:
        return failure
    message = f"pool {pool.name}: {failure.detail}, and the rest of its answer did not come"
    return Refusal(
        "upstream_error", message, retry_after=failure.retry_after, spent=True, upstream_status=failure.status
    )


def timed_out(pool: Pool, failures: Sequence[Failure], hurry: float | None = None) -> Failure | Refusal:
    """The deadline has passed: what a provider said still counts more than that. `hurry`: as in `deadline`."""
    if failures and not all(failure.outcome in _TIMES for failure in failures):
        answer = spent(pool, failures)
        if isinstance(answer, Failure) or answer.upstream_status is not None or answer.status == 429:
            return answer
    return deadline(pool, failures, hurry)


def deadline(pool: Pool, failures: Sequence[Failure], hurry: float | None = None) -> Refusal:
    """504: the time for the whole request is over. `hurry`: the client's own timeout, where that is the shorter one."""
    tried = f" after {_attempts(failures)}" if failures else ""
    time = f"{pool.total:g} s" if hurry is None else f"the client's own timeout of {hurry:g} s"
    return Refusal("deadline_exceeded", f"pool {pool.name}: no answer within {time}{tried}", spent=True)


def none_available(pool: Pool, operation: str, blocks: Sequence[tuple[Target, Block]]) -> Refusal:
    """No target could be tried at all: why, and how long that lasts."""
    why = "; ".join(f"{target.name} {words(target, block)}" for target, block in blocks)
    cooling = [(target, block) for target, block in blocks if block.kind == "cooling"]
    waits = [block.wait for _, block in blocks if block.kind in ("cooling", "full", "limited")]
    soonest = min((wait for wait in waits if wait < math.inf), default=None)
    if all(block.wait == math.inf for _, block in blocks) and blocks:
        return Refusal("tokens_above_limit", f"pool {pool.name}: the request is too large for every target: {why}")
    if not cooling:
        return _idle(pool, operation, [block.kind for _, block in blocks], why, soonest)
    known = [block for _, block in cooling if block.known]
    if len(known) == len(cooling):
        limited = [block.wait for _, block in blocks if block.kind in ("full", "limited") and block.wait < math.inf]
        limited += [block.wait for block in known if block.reason != Outcome.DENIED]
        if not limited:
            target = cooling[0][0]
            return _denied(
                pool, target.provider.name, target.provider.auth.source if target.provider.auth else "", True
            )
        return _wait(Refusal("all_limited", f"pool {pool.name}: every target is limited: {why}"), min(limited))
    return _wait(Refusal("all_cooling", f"pool {pool.name}: no target is serving: {why}"), soonest or 1.0)


def _idle(pool: Pool, operation: str, kinds: Sequence[str], why: str, soonest: float | None) -> Refusal:
    if "limited" in kinds:
        return _wait(Refusal("all_limited", f"pool {pool.name}: every target is limited: {why}"), soonest or 1.0)
    if "full" in kinds:
        return _wait(Refusal("all_limited", f"pool {pool.name}: every connection is in use: {why}"), soonest or 1.0)
    if "pending" in kinds:
        return _wait(Refusal("credential_pending", f"pool {pool.name}: a key is on its way: {why}"), 1.0)
    if "unsupported" in kinds:
        message = f"pool {pool.name}: no target takes {operation}: {why}"
        return Refusal("upstream_unsupported", message, spent=True)
    return Refusal("drained", f"pool {pool.name}: all traffic is drained by hand: {why}", spent=True)


def _wait(refusal: Refusal, seconds: float) -> Refusal:
    return Refusal(refusal.code, f"{refusal.message}; try again in {seconds:.1f} s", retry_after=seconds)


_WORDS = {
    "full": "is at connections.maxOpen",
    "drained": "is drained",
}


def words(target: Target, block: Block) -> str:
    """Why it cannot be tried, to be read after its name: `is drained`, `cools for 3.2 s (RateLimited)`."""
    if block.kind == "cooling":
        return f"cools for {block.wait:.1f} s ({block.reason})"
    if block.kind == "limited" and block.wait == math.inf:
        return f"never takes as much at once: {block.detail}"
    if block.kind == "limited":
        return f"is at {block.detail} for {block.wait:.1f} s"
    if block.kind == "unsupported":
        return "does not know the operation" + missing_version(target.provider.base_url)
    if block.kind == "pending":
        return f"has no key yet ({block.detail})"
    return _WORDS[block.kind]


def missing_version(base_url: str) -> str:
    """The question to ask where a provider does not know a path: the usual slip is a base URL without /v1."""
    return "" if base_url.endswith("/v1") else ": does baseURL miss /v1?"


def _limited(pool: Pool, failures: Sequence[Failure], open_in: Sequence[float]) -> Refusal:
    wait = min((*open_in, *_told(failures)), default=1.0)
    message = f"pool {pool.name}: every target is limited ({_attempts(failures)}); try again in {wait:.1f} s"
    return Refusal("all_limited", message, retry_after=wait, spent=True)


def _told(failures: Sequence[Failure]) -> list[float]:
    """The waits that providers asked for."""
    waits = [
        QUOTA_WAIT_SECONDS if failure.outcome is Outcome.QUOTA_EXHAUSTED else failure.retry_after
        for failure in failures
        if failure.retry_after is not None or failure.outcome is Outcome.QUOTA_EXHAUSTED
    ]
    return [seconds for seconds in waits if seconds is not None]


def _says_more(failure: Failure) -> bool:
    """An answer that is worth relaying: a fault of the provider, never its view of our credentials (B17, Denied)."""
    if failure.outcome in (Outcome.DENIED, Outcome.QUOTA_EXHAUSTED, Outcome.RATE_LIMITED, Outcome.UNSUPPORTED):
        return False
    return failure.status is not None and (failure.status >= 500 or failure.outcome is Outcome.FAILED)


def _summary(pool: Pool, failures: Sequence[Failure]) -> Refusal:
    """What is left to say in our own words."""
    last = failures[-1]
    denied = next((failure for failure in reversed(failures) if failure.outcome is Outcome.DENIED), None)
    if denied is not None:
        return _denied(pool, denied.provider, denied.credential, denied.detail != "", denied.detail)
    if all(failure.outcome in _TIMES for failure in failures):
        message = f"pool {pool.name}: {_attempts(failures)}: {last.detail}"
        return Refusal("deadline_exceeded", message, spent=True)
    if all(failure.outcome is Outcome.UNSUPPORTED for failure in failures):
        return Refusal("upstream_unsupported", f"pool {pool.name}: {last.detail}", spent=True)
    code = "upstream_unreachable" if last.outcome is Outcome.UNREACHABLE else "upstream_error"
    return Refusal(code, f"pool {pool.name}: {_attempts(failures)}; the last: {last.detail}", spent=True)


def _denied(pool: Pool, provider: str, source: str, known: bool, detail: str = "") -> Refusal:
    what = f" with {source}" if source else ""
    said = f" ({detail})" if known and detail else ""
    message = f"pool {pool.name}: provider {provider} refused us{what}{said}; the credential or the model name is wrong"
    return Refusal("upstream_auth_error", message, spent=True)


def _attempts(failures: Sequence[Failure]) -> str:
    words = ", ".join(f"{failure.target} {failure.outcome}" for failure in failures)
    return f"{len(failures)} attempt{'s' if len(failures) != 1 else ''} ({words})"
