"""Where requests go that are about what a provider keeps: files, batches, responses, conversations (B15a, B20a).

Theory. An id means something at the provider that gave it and nowhere else, and no sidecar remembers whose it is,
because another pod would not know. So a pool names one target at which its files and ids live (`stateful.target`).
Paths without a model go there; so does a question that names an id. A response that its provider keeps for later goes
there first, and elsewhere where that fails: an answer that nobody finds again is better than none.

What makes something is sent once: after the first byte nobody knows whether it was made.
"""

from typing import Any

from modelpool_sidecar.core import access, jsonspan, routing
from modelpool_sidecar.core.access import Visitor
from modelpool_sidecar.core.catalogue import CHAT, RESPONSES, Operation
from modelpool_sidecar.core.needs import Tiers
from modelpool_sidecar.core.outcome import Outcome
from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot, Target

HEADER = "x-modelpool-pool"

_ID_MEMBERS = frozenset({"file_id", "file_ids", "vector_store_ids", "container"})
_MAY_HOLD_IDS = (b"file_id", b"vector_store_ids", b"container")
_MISSING = frozenset({404, 410})


def place(snapshot: Snapshot, request: Request, visitor: Visitor) -> Pool | ClosedPool | Refusal:
    """The pool of a request without a model: by a header, else the only one with `stateful`, else the pool `*`.

    Of pools that the visitor may use: the others are as if they were not there.
    """
    if request.pool is None and request.model is not None:
        return access.find(snapshot, request.model, visitor)
    keeping = [
        pool
        for pool in snapshot.pools.values()
        if isinstance(pool, Pool) and pool.stateful is not None and visitor.may(pool)
    ]
    if request.pool is not None:
        found = snapshot.pools.get(request.pool)
    else:
        found = keeping[0] if len(keeping) == 1 else routing.find(snapshot, "")
    if found is not None and visitor.may(found):
        return found
    stranger = access.stranger(snapshot, visitor, None)
    if stranger is not None:
        return stranger
    if request.pool is not None:
        return _no_such_pool(snapshot, request.pool, visitor)
    return _unnamed(request.operation, keeping)


def home(pool: Pool, request: Request) -> Target | Refusal | None:
    """The only target that a request may go to, because what it names or makes is kept there; None = any."""
    if not request.operation.state:
        if pool.stateful is None or not (request.ties.refers or _names_files(request)):
            return None
    elif pool.stateful is None:
        if len(pool.targets) == 1 and not pool.unresolved:
            return next(iter(pool.targets.values()))
        return _no_home(pool)
    return pool.targets.get(pool.stateful) or _gone(pool, pool.stateful)


def preferred(pool: Pool, request: Request, tiers: Tiers) -> Tiers:
    """The tiers of a request whose answer its provider keeps: where ids live first, then as they were."""
    target = pool.targets.get(pool.stateful or "")
    if target is None or not request.ties.kept or not any(target in tier for tier in tiers):
        return tiers
    others = (tuple(each for each in tier if each is not target) for tier in tiers)
    return ((target,), *(tier for tier in others if tier))


def outcome(request: Request, status: int, found: Outcome) -> Outcome:
    """An id that is not there, or is in no state for it, is the client's: no target lacks the operation for that."""
    if not request.operation.state:
        return Outcome.REJECTED if request.ties.refers and status in _MISSING else found
    names_id = "{" in request.operation.path
    return Outcome.REJECTED if status == 409 or (names_id and status in _MISSING) else found


def _names_files(request: Request) -> bool:
    """Whether a question names a file or the like that a provider keeps."""
    if request.operation not in (CHAT, RESPONSES) or not any(word in request.body for word in _MAY_HOLD_IDS):
        return False
    waiting: list[Any] = [jsonspan.decode(request.body)]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list):
            waiting.extend(each)
        elif isinstance(each, dict):
            if any(_is_id(each[name]) for name in _ID_MEMBERS & each.keys()):
                return True
            waiting.extend(each.values())
    return False


def _is_id(value: Any) -> bool:
    return bool(value) and (isinstance(value, str) or (isinstance(value, list) and isinstance(value[0], str)))


def _no_such_pool(snapshot: Snapshot, name: str, visitor: Visitor) -> Refusal:
    there = routing.listed(sorted(name for name, pool in snapshot.pools.items() if visitor.may(pool)))
    return Refusal("unknown_pool", f"{HEADER}: no pool {name!r} here; there is {there or 'none'}")


def _unnamed(operation: Operation, keeping: list[Pool]) -> Refusal:
    several = f"{len(keeping)} pools have stateful" if keeping else "no pool has stateful, none has the name *"
    message = f"{operation.route} names no model, and {several}; name a pool in the header {HEADER}"
    return Refusal("missing_pool", message)


def _no_home(pool: Pool) -> Refusal:
    own = [name for name, target in pool.targets.items() if target.through is None]
    one = f"set stateful.target to one of {', '.join(own)}" if own else "and all of them stand in other pools"
    message = f"pool {pool.name} does not say which of its targets keeps files, batches and ids; {one}"
    return Refusal("no_stateful_target", message)


def _gone(pool: Pool, name: str) -> Refusal:
    why = next((f": {each.message}" for each in pool.unresolved if each.target == name), "")
    return Refusal("no_target", f"pool {pool.name}: target {name}, where its files and ids are, is left out{why}")
