"""Which pool a model name leads to: the exact name, then the longest prefix, then `*` (B7)."""

import difflib
from collections.abc import Callable, Iterable

from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot

_NAMED_AT_MOST = 20


def closed(pool: ClosedPool) -> Refusal:
    """A pool that is known and cannot serve: 503 with its reason, not 404 (B47, B47a), because the name is right."""
    return Refusal(pool.code, f"pool {pool.name}: {pool.message}", param="model")


def nothing_open(pool: Pool) -> Refusal:
    """All targets stand behind pools that are not for whoever asks: 404, as for a name that leads nowhere (B20)."""
    return Refusal("model_not_found", f"pool {pool.name}: none of its targets is open to this caller", param="model")


def find(snapshot: Snapshot, model: str) -> Pool | ClosedPool | None:
    """The pool of this name, open or closed; None where there is none."""
    found = match(snapshot, model)
    return None if found is None else found[0]


def match(snapshot: Snapshot, model: str) -> tuple[Pool | ClosedPool, str] | None:
    """The pool of this name, and the declared name that led there: the same, a prefix with its `*`, or `*`."""
    found = snapshot.exact.get(model)
    if found is not None:
        return found, model
    for prefix, pool in snapshot.prefixes:
        if model.startswith(prefix):
            return pool, f"{prefix}*"
    return None


def declared(snapshot: Snapshot, may: Callable[[Pool | ClosedPool], bool] = lambda _pool: True) -> tuple[str, ...]:
    """The names that clients may ask for, as declared and sorted: what GET /v1/models lists (B43).

    `may`: of which pools."""
    exact = (name for name, pool in snapshot.exact.items() if may(pool))
    return tuple(sorted({*exact, *(f"{prefix}*" for prefix, pool in snapshot.prefixes if may(pool))}))


def unnamed() -> Refusal:
    """No name at all, and no pool that takes every name: 400."""
    message = "the request names no model and no pool has the name *; name one in the body or in x-modelpool-model"
    return Refusal("missing_model", message, param="model")


def unknown(snapshot: Snapshot, model: str, may: Callable[[Pool | ClosedPool], bool]) -> Refusal:
    """A name that leads nowhere, or to no pool that the caller may use: 404 with what there is instead."""
    names = declared(snapshot, may)
    if not names:
        return Refusal("model_not_found", f"no model {model!r} here: no pool is declared yet", param="model")
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Refusal("model_not_found", f"no model {model!r} here; {hint}there is {listed(names)}", param="model")


def listed(names: Iterable[str]) -> str:
    """The names as far as people read them."""
    shown = list(names)
    more = f" and {len(shown) - _NAMED_AT_MOST} more" if len(shown) > _NAMED_AT_MOST else ""
    return ", ".join(shown[:_NAMED_AT_MOST]) + more
