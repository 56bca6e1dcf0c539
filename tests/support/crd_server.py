"""What the API server says about an object of a CRD: unknown fields, structure, lists by name, rules in CEL.

A model of it in the order and with the places of the real one, for tests that need many objects and no cluster. CEL is
evaluated by Google's own library with RE2; what a rule may cost is known to the real server alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from modelpool_operator.crds import definition
from modelpool_operator.crds.rules import member

_ENVIRONMENT = cel.NewEnv(variables={"self": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()])
_SCHEMAS: dict[str, Any] = {
    each.kind.__name__: definition.render(each)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for each in definition.DEFINITIONS
}
_TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int}
_METADATA = {"name", "namespace", "labels", "annotations", "creationTimestamp"}


class NotComparableError(Exception):
    """A rule met a value of another type; the structure says so already."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing that the server says: where (`spec.targets[1].weight`), what, and which half of the CRD says it."""

    place: str
    message: str
    by: Literal["schema", "rule"]


def refusals(manifest: dict[str, Any]) -> list[Refusal]:
    """All that the CRD of its kind says about an object; rules are not asked where the structure is wrong."""
    schema = _SCHEMAS[manifest["kind"]]
    return [*_structure(schema, manifest, "")] or [*_judge(schema, manifest, "")]


def _structure(schema: dict[str, Any], value: Any, place: str) -> Iterator[Refusal]:
    if "x-kubernetes-int-or-string" not in schema:
        wanted = _TYPES[schema["type"]]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            yield Refusal(place, f"must be of type {schema['type']}", "schema")
            return
    yield from (Refusal(place, said, "schema") for said in _bounds(schema, value))
    if isinstance(value, dict):
        known = schema["properties"]
        for name in schema.get("required", []):
            if value.get(name) is None:
                yield Refusal(_below(place, name), "Required value", "schema")
        for name, child in value.items():
            if name not in known and not (place == "metadata" and name in _METADATA):
                yield Refusal(_below(place, name), "unknown field", "schema")
            elif name in known and child is not None:
                yield from _structure(known[name], child, _below(place, name))
    if isinstance(value, list):
        for index, child in enumerate(value):
            yield from _structure(schema["items"], child, f"{place}[{index}]")
        yield from _twice(schema, value, place)


def _bounds(schema: dict[str, Any], value: Any) -> Iterator[str]:
    if value not in schema.get("enum", [value]):
        yield f"supported values: {', '.join(schema['enum'])}"
    if isinstance(value, int):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield "should be between its bounds"
    elif isinstance(value, (str, list)):
        least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
        if not schema.get(least, 0) <= len(value) <= schema.get(most, len(value)):
            yield "should be as long as its bounds allow"
        if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
            yield f"should match {schema['pattern']}"


def _twice(schema: dict[str, Any], values: list[Any], place: str) -> Iterator[Refusal]:
    merges = schema["x-kubernetes-list-type"]
    if merges == "atomic":
        return
    keys = schema.get("x-kubernetes-list-map-keys", [])
    seen: list[Any] = []
    for index, value in enumerate(values):
        identity = [value.get(key) for key in keys] if isinstance(value, dict) else value
        if any(identity == other and type(identity) is type(other) for other in seen):
            yield Refusal(f"{place}[{index}]", "Duplicate value", "schema")
        seen.append(identity)


def _judge(schema: dict[str, Any], value: Any, place: str) -> Iterator[Refusal]:
    for rule in schema.get("x-kubernetes-validations", []):
        try:
            held = _value(rule["rule"], value)
        except NotComparableError:
            continue
        if held is not True:
            said = _value(rule["messageExpression"], value) if "messageExpression" in rule else rule["message"]
            yield Refusal(f"{place}{rule.get('fieldPath', '')}", said, "rule")
    if isinstance(value, dict):
        for name, child in value.items():
            if name in schema.get("properties", {}) and child is not None:
                yield from _judge(schema["properties"][name], child, _below(place, name))
    if isinstance(value, list) and "items" in schema:
        for index, child in enumerate(value):
            yield from _judge(schema["items"], child, f"{place}[{index}]")


def _below(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)


@cache
def _compiled(expression: str) -> Any:
    return _ENVIRONMENT.compile(expression)


def _value(expression: str, value: Any) -> Any:
    """What an expression comes to. Raises NotComparableError where the value has another type."""
    result = _compiled(expression).eval(data={"self": _escaped(value)})
    if result.type() == cel.Type.ERROR:
        raise NotComparableError(result.value())
    return result.value()


def _escaped(value: Any) -> Any:
    """As the server hands it to CEL: names that are words of CEL escaped, fields without a value absent."""
    if isinstance(value, dict):
        return {member(str(name)): _escaped(child) for name, child in value.items() if child is not None}
    return [_escaped(child) for child in value] if isinstance(value, list) else value
