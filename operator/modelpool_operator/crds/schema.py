"""The structural schema of a model, from pydantic's JSON schema.

The API server takes a smaller language than JSON Schema: no references, unions with null, constants or closed objects.
Each keyword that comes is translated, dropped on purpose, or an error, so that nothing is lost in silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from modelpool_operator.api.types import MUST, QUIET, WITHIN
from modelpool_operator.crds import strings
from modelpool_operator.crds.rules import Rule

Schema = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
)
_DROPPED = frozenset({"title", "default", "additionalProperties", "pattern", MUST, QUIET, WITHIN})
"""A title repeats the name, defaults live in the compiler, the server closes objects itself; the rest become rules.
A pattern stays only where a rule would cost too much: in what may be a number or a string, which counts as long as a
request.
"""

_TRANSLATED = frozenset({"properties", "required", "items", "$defs", "x-kubernetes-int-or-string"})
_INT32 = 2**31 - 1


class UntranslatableError(ValueError):
    """A model says what no structural schema can."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What stands beside the models, by place: rules, and how lists merge. Every entry has to find its place."""

    rules: Mapping[str, tuple[Rule, ...]]
    lists: Mapping[str, Mapping[str, Any]]


def structural(model: type[BaseModel], place: str, tables: Tables) -> Schema:
    """The schema of a model that stands at `place` of the object: `spec`, `status`."""
    source = model.model_json_schema(by_alias=True)
    return _Translator(source.get("$defs", {}), tables).node(source, place)


def forgotten(schema: Mapping[str, Schema], tables: Tables) -> list[str]:
    """Entries of the tables whose place no schema has; `schema` by the place of its root."""
    found = {place for root, node in schema.items() for place in _places(node, root)}
    return sorted({*tables.rules, *tables.lists} - found)


def _places(node: Schema, place: str) -> list[str]:
    below = [(child, f"{place}.{name}") for name, child in node.get("properties", {}).items()]
    below += [(node["items"], f"{place}[]")] if "items" in node else []
    return [place, *(found for child, where in below for found in _places(child, where))]


class _Translator:
    """Walks one schema; holds the definitions that its references mean."""

    def __init__(self, definitions: Mapping[str, Schema], tables: Tables) -> None:
        self._definitions = definitions
        self._tables = tables

    def node(self, source: Schema, place: str) -> Schema:
        """One node, with everything below it."""
        source = self._plain(source)
        unknown = source.keys() - _DROPPED - _TRANSLATED - {*_KEPT}
        if unknown:
            raise UntranslatableError(f"{place}: no structural schema has {', '.join(sorted(unknown))}")
        made: Schema = {keyword: source[keyword] for keyword in _KEPT if keyword in source}
        rules = list(self._tables.rules.get(place, ()))
        kind = source.get("type")
        if "x-kubernetes-int-or-string" in source:
            made |= {"x-kubernetes-int-or-string": True, "pattern": source["pattern"]}
        elif kind == "integer":
            made["format"] = "int32" if made.get("maximum", _INT32 + 1) <= _INT32 else "int64"
        elif kind == "string":
            rules = [*strings.own(source), *rules]
        elif kind == "array":
            made |= {**self._tables.lists[place], "items": self.node(source["items"], f"{place}[]")}
            rules = [*strings.of_items(self._plain(source["items"])), *rules]
        elif kind == "object":
            made |= self._members(source, place)
            rules = [*self._quiet_members(source), *rules]
        else:
            raise UntranslatableError(f"{place}: no structural schema has a field of type {kind}")
        if rules:
            made["x-kubernetes-validations"] = [rule.render() for rule in rules]
        return made

    def _members(self, source: Schema, place: str) -> Schema:
        made: Schema = {"required": source["required"]} if source.get("required") else {}
        properties = source.get("properties", {})
        return made | {"properties": {name: self.node(child, f"{place}.{name}") for name, child in properties.items()}}

    def _quiet_members(self, source: Schema) -> list[Rule]:
        required = source.get("required", ())
        members = {name: self._plain(child) for name, child in source.get("properties", {}).items()}
        return [rule for name, child in members.items() for rule in strings.of_member(name, child, name in required)]

    def _plain(self, source: Schema) -> Schema:
        """A node without references and without `or null`; its own words win over those of what it refers to."""
        while True:
            if "$ref" in source:
                rest = {keyword: value for keyword, value in source.items() if keyword != "$ref"}
                source = self._definitions[source["$ref"].rpartition("/")[2]] | rest
            elif "const" in source:
                rest = {keyword: value for keyword, value in source.items() if keyword != "const"}
                source = rest | {"enum": [source["const"]]}
            elif "anyOf" in source and "x-kubernetes-int-or-string" in source:
                source = {keyword: value for keyword, value in source.items() if keyword != "anyOf"}
            elif "anyOf" in source:
                rest = {keyword: value for keyword, value in source.items() if keyword != "anyOf"}
                choices = [choice for choice in source["anyOf"] if choice != {"type": "null"}]
                if len(choices) != 1:
                    raise UntranslatableError("a field is one of several types; unions have a member for each")
                source = choices[0] | rest
            else:
                return source
