"""Whether an object is meant by a labelSelector and a fieldSelector."""

import re
from collections.abc import Callable
from typing import Any

from fake_api_kinds import Resource
from fake_api_status import RefusedError

Matches = Callable[[dict[str, Any]], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s+\(([^)]*)\)$")
_COMPARED = re.compile(r"^([^=!\s]+)\s*(!=|==|=)\s*(\S*)$")
_COMMA = re.compile(r",(?![^(]*\))")


def selector(resource: Resource, labels: str, fields: str) -> Matches:
    """Both selectors as one judgement. Raises RefusedError (400) for what they cannot say."""
    wanted = [_label(term.strip()) for term in _COMMA.split(labels) if term.strip()]
    wanted += [_field(resource, term.strip()) for term in fields.split(",") if term.strip()]
    return lambda item: all(matches(item) for matches in wanted)


def _label(term: str) -> Matches:
    def labels(item: dict[str, Any]) -> dict[str, str]:
        return item["metadata"].get("labels") or {}

    if among := _SET.match(term):
        key, operator, values = among[1], among[2], {value.strip() for value in among[3].split(",")}
        if operator == "in":
            return lambda item: labels(item).get(key) in values
        return lambda item: labels(item).get(key) not in values
    if compared := _COMPARED.match(term):
        key, operator, value = compared[1], compared[2], compared[3]
        if operator == "!=":
            return lambda item: labels(item).get(key) != value
        return lambda item: labels(item).get(key) == value
    if re.fullmatch(r"!?[\w./-]+", term):
        return lambda item: (term.lstrip("!") in labels(item)) != term.startswith("!")
    raise RefusedError(400, f"unable to parse requirement: found '{term}', expected: in, notin, =, ==, !=, gt, lt")


def _field(resource: Resource, term: str) -> Matches:
    compared = _COMPARED.match(term)
    if compared is None:
        raise RefusedError(400, f"invalid field selector: invalid selector: '{term}'; can't understand '{term}'")
    key, operator, value = compared[1], compared[2], compared[3]
    if key not in ("metadata.name", "metadata.namespace", *resource.fields):
        raise RefusedError(400, f"field label not supported: {key}")

    def matches(item: dict[str, Any]) -> bool:
        found: Any = item
        for part in key.split("."):
            found = (found or {}).get(part)
        return ((found or "") == value) == (operator != "!=")

    return matches
