"""What an object becomes by server-side apply, and who owns which of its fields afterwards.

A model of the real one at the granularity of leaves: maps are merged key by key; the lists named in LIST_KEYS are
merged item by item, and stand afterwards in the order of the one who applied last, with the items of others between;
every other list is one value. It knows no schema, so it refuses no field.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fake_api_status import RefusedError

LIST_KEYS = {"conditions": "type", "targets": "name"}

Path = tuple["str | Item", ...]
Leaves = dict[Path, Any]
Owners = Mapping["Owner", frozenset[Path]]


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list, found by the field that names it."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Owner:
    """Who wrote: the field manager, the subresource, and whether by apply (a set that can shrink) or otherwise."""

    manager: str
    subresource: str = ""
    applies: bool = True

    def told(self, api_version: str) -> str:
        """As it stands in the message of a conflict."""
        using = "" if self.applies else f" using {api_version}"
        return f'"{self.manager}"{using}' + (f' with subresource "{self.subresource}"' if self.subresource else "")


def leaves(value: dict[str, Any]) -> Leaves:
    """Every leaf that somebody can own; what makes an object that object belongs to nobody."""
    found = dict(_leaves(value, ()))
    ours = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
    return {
        path: leaf
        for path, leaf in found.items()
        if path[0] not in ("apiVersion", "kind") and not (path[0] == "metadata" and path[1:2] and path[1] in ours)
    }


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    key = LIST_KEYS.get(path[-1]) if path and isinstance(path[-1], str) else None
    if isinstance(value, dict) and value:
        for name, child in value.items():
            if child is not None:
                yield from _leaves(child, (*path, name))
    elif isinstance(value, list) and value and key and all(isinstance(item, dict) and key in item for item in value):
        for item in value:
            yield from _leaves(item, (*path, Item(key, item[key])))
    elif path:
        yield path, value


def apply(
    live: dict[str, Any], owners: Owners, body: dict[str, Any], owner: Owner, *, force: bool
) -> tuple[dict[str, Any], Owners]:
    """The object and its owners afterwards. Raises RefusedError (409) where another one owns a field."""
    wanted, present = leaves(body), leaves(live)
    taken = _conflicts(wanted, present, owners, owner)
    if taken and not force:
        raise _refusal(taken, live["apiVersion"])
    result = deepcopy(live)
    left: dict[Owner, frozenset[Path]] = {
        other: paths - {path for path, _ in taken} for other, paths in owners.items() if other != owner
    }
    for path in sorted(owners.get(owner, frozenset()) - wanted.keys(), key=_names_its_item):
        if not any(path in paths for paths in left.values()):
            _remove(result, path)
    for path, value in wanted.items():
        _put(result, path, value)
    _order(result, body)
    left[owner] = frozenset(wanted)
    return result, {other: paths for other, paths in left.items() if paths}


def update(before: dict[str, Any], after: dict[str, Any], owners: Owners, owner: Owner) -> Owners:
    """The owners after a write that is no apply: who changes a field owns it alone."""
    old, new = leaves(before), leaves(after)
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    gone = old.keys() - new.keys()
    left = {other: frozenset(paths - changed - gone) for other, paths in owners.items()}
    left[owner] = frozenset(left.get(owner, frozenset()) | changed)
    return {other: paths for other, paths in left.items() if paths}


def _conflicts(wanted: Leaves, present: Leaves, owners: Owners, owner: Owner) -> list[tuple[Path, Owner]]:
    return [
        (path, other)
        for other, paths in owners.items()
        if other != owner
        for path in sorted(paths & wanted.keys(), key=_text)
        if path in present and present[path] != wanted[path]
    ]


def _refusal(taken: list[tuple[Path, Owner]], api_version: str) -> RefusedError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {other.told(api_version)}",
            "field": _text(path),
        }
        for path, other in taken
    ]
    if len(taken) == 1:
        said = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = [f"{cause['message']}: {cause['field']}" for cause in causes]
        said = f"Apply failed with {len(taken)} conflicts: " + "; ".join(lines)
    return RefusedError(409, said, details={"causes": causes})


def _text(path: Path) -> str:
    parts = [f"[{part.key}={json.dumps(part.value)}]" if isinstance(part, Item) else f".{part}" for part in path]
    return "".join(parts)


def _find(items: list[dict[str, Any]], item: Item) -> dict[str, Any] | None:
    return next((each for each in items if each.get(item.key) == item.value), None)


def _put(result: dict[str, Any], path: Path, value: Any) -> None:
    place: Any = result
    for part, below in pairwise(path):
        if isinstance(part, Item):
            found = _find(place, part)
            if found is None:
                found = {part.key: part.value}
                place.append(found)
            place = found
        else:
            wanted = list if isinstance(below, Item) else dict
            if not isinstance(place.get(part), wanted):
                place[part] = wanted()
            place = place[part]
    last = path[-1]
    if isinstance(last, Item):
        if _find(place, last) is None:
            place.append({last.key: last.value})
    elif not (value == {} and isinstance(place.get(last), dict)):
        place[last] = deepcopy(value)


def _remove(place: Any, path: Path) -> None:
    """Take one leaf out, and what stands empty afterwards."""
    head, rest = path[0], path[1:]
    child = _find(place, head) if isinstance(head, Item) else place.get(head)
    if child is None and rest:
        return
    if rest:
        _remove(child, rest)
    if rest and child:
        return
    if isinstance(head, Item):
        place[:] = [item for item in place if item is not child]
    else:
        place.pop(head, None)


def _names_its_item(path: Path) -> bool:
    return len(path) > 1 and isinstance(path[-2], Item) and path[-2].key == path[-1]


def _order(result: Any, body: Any) -> None:
    """What was applied stands in its own order, and what others have stands before the item that it stood before."""
    if not isinstance(result, dict) or not isinstance(body, dict):
        return
    for name, child in body.items():
        key = LIST_KEYS.get(name)
        if key and isinstance(child, list) and all(isinstance(item, dict) and key in item for item in child):
            merged = _merged([item[key] for item in result[name]], [item[key] for item in child])
            result[name].sort(key=lambda item, merged=merged, key=key: merged.index(item[key]))
            for item in child:
                _order(_find(result[name], Item(key, item[key])), item)
        else:
            _order(result.get(name), child)


def _merged(present: list[str], applied: list[str]) -> list[str]:
    merged: list[str] = []
    left = list(applied)
    for name in present:
        if name not in applied:
            merged.append(name)
        elif name in left:
            place = left.index(name) + 1
            if not any(other in present for other in left[: place - 1]):
                merged += left[:place]
                left = left[place:]
    return merged + left
