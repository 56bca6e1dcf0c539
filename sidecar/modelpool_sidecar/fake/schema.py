"""A small JSON value that a JSON Schema accepts: the structured output and the tool arguments of a fake model.

Covers what structured output allows (objects, arrays, strings with formats and lengths, numbers with bounds, enum,
const, anyOf, oneOf, allOf, `$ref` with recursion). A `pattern` is not solved: a default, an example or an enum beside
it is taken, else the string is plain. An optional property is left out, null is taken only where recursion must end.
"""

import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 32

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class TooDeepError(Exception):
    """This branch never ends: another one must be taken."""


def minimal(schema: object) -> Any:
    """A value that conforms to `schema`; null where no finite value can be made."""
    try:
        return _make(schema, schema, 0)
    except TooDeepError:
        return None


def _make(schema: object, root: object, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise TooDeepError
    if not isinstance(schema, Mapping):
        return {}
    if "const" in schema:
        return schema["const"]
    for word in ("enum", "examples"):
        if isinstance(schema.get(word), list) and schema[word]:
            return schema[word][0]
    if "default" in schema:
        return schema["default"]
    if isinstance(schema.get("$ref"), str):
        return _make({**_find(schema["$ref"], root), **_without(schema, "$ref")}, root, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _make(_merged([_without(schema, "allOf"), *schema["allOf"]], root), root, depth + 1)
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list) and schema[word]:
            rest = _without(schema, word)
            return _first([_merged([rest, branch], root) for branch in schema[word]], root, depth)
    kind = schema.get("type", _guess(schema))
    if isinstance(kind, list):
        return _first([{**schema, "type": one} for one in kind], root, depth)
    return _of_type(kind, schema, root, depth)


def _first(branches: list[Mapping[str, Any]], root: object, depth: int) -> Any:
    """The first branch that ends; null only after all others."""
    for branch in sorted(branches, key=lambda branch: branch.get("type") == "null"):
        try:
            return _make(branch, root, depth + 1)
        except TooDeepError:
            continue
    raise TooDeepError


def _of_type(kind: object, schema: Mapping[str, Any], root: object, depth: int) -> Any:
    match kind:
        case "object":
            properties = _mapping(schema.get("properties"))
            required = [name for name in schema.get("required", ()) if isinstance(name, str)]
            return {name: _make(properties.get(name, {}), root, depth + 1) for name in required}
        case "array":
            return _array(schema, root, depth)
        case "string":
            return _string(schema)
        case "integer" | "number":
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return False
        case "null":
            return None
        case _:
            return {}


def _array(schema: Mapping[str, Any], root: object, depth: int) -> list[Any]:
    least = schema.get("minItems", 0)
    fixed = schema.get("prefixItems") or []
    kinds = [*fixed, *[schema.get("items", {})] * max(0, least - len(fixed))]
    return [_make(kind, root, depth + 1) for kind in kinds[: max(least, len(fixed))]]


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), "text")
    text = text.ljust(schema.get("minLength", 0), "x")
    longest = schema.get("maxLength")
    return text if longest is None else text[:longest]


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    """The number nearest to 0 within the bounds, on the grid of `multipleOf`; of an integer, an int."""
    low, open_low = schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf)
    high, open_high = schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf)

    def fits(number: float) -> bool:
        return bool(low <= number <= high and open_low < number < open_high)

    if fits(0):
        return 0
    floor, ceiling = max(low, open_low), min(high, open_high)
    positive = floor >= 0
    edge = floor if positive else ceiling
    grid = schema.get("multipleOf") or (1 if whole else None)
    if grid is None:
        inward = min(1.0, (ceiling - floor) / 2)
        return float(edge if fits(edge) else edge + inward if positive else edge - inward)
    steps = math.ceil(edge / grid) if positive else math.floor(edge / grid)
    near = steps * grid
    if not fits(near):
        near = (steps + (1 if positive else -1)) * grid
    return int(near) if whole else float(near)


def _guess(schema: Mapping[str, Any]) -> str:
    """The type of a schema that does not say it."""
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "object"


def _find(reference: str, root: object) -> Mapping[str, Any]:
    """What a local `#/...` reference points at; nothing where it points nowhere."""
    found = root
    for part in reference.removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or part not in found:
            return {}
        found = found[part]
    return _mapping(found)


def _merged(parts: list[object], root: object) -> Mapping[str, Any]:
    """One schema of several that hold at once; references are followed one step."""
    merged: dict[str, Any] = {}
    for part in parts:
        part = _mapping(part)
        if isinstance(part.get("$ref"), str):
            part = {**_find(part["$ref"], root), **_without(part, "$ref")}
        for word, value in part.items():
            if word == "properties":
                merged[word] = {**merged.get(word, {}), **_mapping(value)}
            elif word == "required" and isinstance(value, list):
                merged[word] = [*merged.get(word, []), *value]
            else:
                merged[word] = value
    return merged


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _without(schema: Mapping[str, Any], word: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != word}
