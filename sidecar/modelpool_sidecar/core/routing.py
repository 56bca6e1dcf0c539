"""Which pool a model name leads to: the exact name, then the longest prefix, then `*` (B7)."""

import difflib
from collections.abc import Iterable

from modelpool_sidecar.core.refusal import Refusal
from modelpool_sidecar.core.snapshot import ClosedPool, Pool, Snapshot

_NAMED_AT_MOST = 20


def route(snapshot: Snapshot, model: str | None) -> Pool | Refusal:
    """The pool that serves this name, or a refusal that names what there is. None, the API's default: the pool `*`.

    A pool that is known and cannot serve answers 503 with its reason, not 404 (B47, B47a): the name is right.
    """
    found = find(snapshot, model or "")
    if found is None:
        return _unnamed() if model is None else _unknown(snapshot, model)
    if isinstance(found, ClosedPool):
        return Refusal(found.code, f"pool {found.name}: {found.message}", param="model")
    return found


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


def declared(snapshot: Snapshot) -> tuple[str, ...]:
    """The names that clients may ask for, as declared and sorted: what GET /v1/models lists (B43)."""
    return tuple(sorted({*snapshot.exact, *(f"{prefix}*" for prefix, _ in snapshot.prefixes)}))


def _unnamed() -> Refusal:
    message = "the request names no model and no pool has the name *; name one in the body or in x-modelpool-model"
    return Refusal("missing_model", message, param="model")


def _unknown(snapshot: Snapshot, model: str) -> Refusal:
    names = declared(snapshot)
    if not names:
        return Refusal("model_not_found", f"no model {model!r} here: no pool is declared yet", param="model")
    near = difflib.get_close_matches(model, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return Refusal("model_not_found", f"no model {model!r} here; {hint}there is {_list(names)}", param="model")


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _NAMED_AT_MOST} more" if len(shown) > _NAMED_AT_MOST else ""
    return ", ".join(shown[:_NAMED_AT_MOST]) + more
