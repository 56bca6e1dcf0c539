"""The JSON that a fake model makes for a schema."""

import datetime as dt
import uuid
from enum import Enum
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from modelpool_sidecar.fake import schema


class Colour(Enum):
    RED = "red"


class Leaf(BaseModel):
    name: str = Field(min_length=6, max_length=8)
    kind: Literal["leaf"]
    weight: float = Field(gt=0, lt=1)


class Tree(BaseModel):
    colour: Colour
    leaves: list[Leaf] = Field(min_length=2)
    above: Optional["Tree"]
    both: Leaf | int
    when: dt.datetime
    day: dt.date
    identity: uuid.UUID
    pair: tuple[int, str]
    count: int = Field(ge=7, multiple_of=5)
    flag: bool
    nothing: None
    words: dict[str, int]


def test_a_model_of_pydantic_accepts_what_is_made_from_its_own_schema() -> None:
    tree = Tree.model_validate(schema.minimal(Tree.model_json_schema()))
    assert tree.count == 10
    assert len(tree.leaves) == 2


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({}, {}),
        (True, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"type": "object", "required": ["a", 1]}, {"a": {}}),
        ({"const": None}, None),
        ({"enum": [3, 4]}, 3),
        ({"type": "string", "pattern": "^a$", "examples": ["a"]}, "a"),
        ({"type": "string", "pattern": "^a$", "default": "a"}, "a"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": ["null", "integer"]}, 0),
        ({"type": "null"}, None),
        ({"type": "strange"}, {}),
        ({"items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 2},
            [0, "text"],
        ),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 0.5),
        ({"type": "number", "minimum": 2.5}, 2.5),
        ({"type": "number", "maximum": -2.5}, -2.5),
        ({"type": "number", "exclusiveMaximum": 0}, -1.0),
        ({"type": "integer", "exclusiveMinimum": 4}, 5),
        ({"type": "integer", "exclusiveMaximum": -4, "multipleOf": 4}, -8),
        ({"type": "number", "minimum": 1, "multipleOf": 0.5}, 1.0),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, False),
        ({"oneOf": [{"required": ["a"]}], "type": "object", "properties": {"a": {"const": 1}}}, {"a": 1}),
        (
            {
                "allOf": [
                    {"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"$ref": "#/$defs/b~1c"},
                ],
                "$defs": {"b/c": {"properties": {"b": {"const": 2}}, "required": ["b"]}},
            },
            {"a": 1, "b": 2},
        ),
        ({"$ref": "#/nowhere"}, {}),
        ({"$ref": "#"}, None),
        ({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}, None),
        ({"type": ["object"], "required": ["a"], "properties": {"a": {"$ref": "#"}}}, None),
    ],
)
def test_the_smallest_value_of_a_schema(wanted: Any, value: Any) -> None:
    assert schema.minimal(wanted) == value


@given(st.integers(-1000, 1000), st.integers(1, 50), st.integers(1, 7))
def test_an_integer_keeps_its_bounds_and_its_grid(low: int, width: int, grid: int) -> None:
    wanted = {"type": "integer", "minimum": low, "maximum": low + width + grid, "multipleOf": grid}
    number = schema.minimal(wanted)
    assert low <= number <= low + width + grid
    assert number % grid == 0
