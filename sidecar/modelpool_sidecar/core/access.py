"""Whether a request may enter the pool that its model name leads to, and what it hears where it may not (B43).

A pool without callers is everybody's. For whoever may not use a pool it is as if its name led nowhere: with a key of
another pool that is 404, without one 401, and both name only what is open to the one who asks. So the answer to a name
that exists is the answer to one that does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from modelpool_sidecar.core import routing
from modelpool_sidecar.core.callers import Register
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot

_HOW = "send the key of a caller as Authorization: Bearer KEY (api_key in the OpenAI SDKs)"
_CHALLENGE = (("www-authenticate", 'Bearer realm="modelpool"'),)
_PENDING_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: the digest of the key that they show, if any. `now`: monotonic seconds."""

    register: Register
    digest: bytes | None
    now: float

    def caller(self, pool: Pool | ClosedPool) -> str | None:
        """Their name at this pool, None where it knows no key of theirs, or asks for none."""
        return None if pool.callers is None else self.register.who(pool.callers.keys, self.digest, self.now)

    def may(self, pool: Pool | ClosedPool) -> bool:
        """Whether the pool is theirs to use."""
        return pool.callers is None or self.caller(pool) is not None

    @property
    def is_known(self) -> bool:
        """Whether some pool of the namespace knows the key."""
        return self.register.knows(self.digest, self.now)


def find(snapshot: Snapshot, model: str | None, visitor: Visitor) -> Pool | ClosedPool | Refusal:
    """The pool of this name, open or closed; the refusal where there is none for this visitor."""
    found = routing.find(snapshot, model or "")
    if found is not None and visitor.may(found):
        return found
    refusal = stranger(snapshot, visitor, model)
    if refusal is not None:
        return refusal
    return routing.unnamed() if model is None else routing.unknown(snapshot, model, visitor.may)


def models(snapshot: Snapshot, visitor: Visitor) -> tuple[str, ...] | Refusal:
    """The names that this visitor may ask for; a refusal where nothing is open to one without a key."""
    names = routing.declared(snapshot, visitor.may)
    return names or stranger(snapshot, visitor, None) or ()


def stranger(snapshot: Snapshot, visitor: Visitor, model: str | None) -> Refusal | None:
    """The refusal of one who shows no key of this namespace; None where keys are not asked for, or theirs is known."""
    guarded = snapshot.caller_files
    if not guarded or visitor.is_known:
        return None
    if visitor.digest is not None and not all(visitor.register.has(keys) for keys in guarded):
        message = "the keys of the callers are not all here yet, so this one cannot be judged"
        return Refusal("credential_pending", message, retry_after=_PENDING_SECONDS)
    fault = "no key was sent" if visitor.digest is None else "the key that was sent is not the key of a caller here"
    there = _open(snapshot, visitor.may)
    without = f"; without a key there is {there}" if there else ""
    meant = f", and no model {model!r} is open without one" if model is not None else ""
    return Refusal("invalid_api_key", f"{fault}{meant}: {_HOW}{without}", headers=_CHALLENGE)


def _open(snapshot: Snapshot, may: Callable[[Pool | ClosedPool], bool]) -> str:
    return routing.listed(routing.declared(snapshot, may))
