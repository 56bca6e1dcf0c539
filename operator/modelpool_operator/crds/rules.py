"""A rule of the API server in CEL, and the sentence that it says.

The server prints the value of the field that a rule stands on, unless it is a list or an object: a rule about what may
be a secret stands on the parent and points at the field by `field`. Rules see absent fields as missing (`has`).
"""

from dataclasses import dataclass
from typing import Any

from modelpool_operator import durations

_LITERALS = frozenset({"true", "false", "null"})
_WORDS = frozenset({"as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let", "loop"})
_MORE_WORDS = frozenset({"namespace", "package", "return", "var", "void", "while"})
RESERVED = _LITERALS | _WORDS | _MORE_WORDS
"""Words of CEL that cannot be the name of a field as they stand."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What has to be true. `message` begins with `must`; `says` is CEL that makes it with the values, where it can.

    `field`: the path below the place of the rule that is wrong where it does not hold, as in `.auth.apiKey`.
    """

    rule: str
    message: str
    field: str | None = None
    says: str | None = None

    def render(self) -> dict[str, Any]:
        """As it stands in `x-kubernetes-validations`."""
        rendered: dict[str, Any] = {"rule": self.rule, "message": self.message}
        if self.says is not None:
            rendered["messageExpression"] = self.says
        if self.field is not None:
            rendered["fieldPath"] = self.field
        return rendered


def literal(text: str) -> str:
    """A string of CEL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def member(name: str) -> str:
    """The name of a field as CEL takes it behind a dot."""
    return f"__{name}__" if name in RESERVED else name


def matches(value: str, shape: str) -> str:
    """Whether a string has a shape, given in what Python and RE2 share; `\\uXXXX` becomes RE2's own form."""
    parts = shape.split("\\u")
    portable = parts[0] + "".join(f"\\x{{{part[:4]}}}{part[4:]}" for part in parts[1:])
    return f"{value}.matches({literal(portable)})"


def present(*fields: str) -> str:
    """Whether all of these are set, parents first: `auth.apiKey` needs `auth`."""
    needed: dict[str, None] = {}
    for field in fields:
        path = "self"
        for name in field.split("."):
            path = f"{path}.{member(name)}"
            needed[f"has({path})"] = None
    return " && ".join(needed)


def where(condition: str, rule: str) -> str:
    """A rule that is asked only where a condition holds."""
    return f"!({condition}) || {rule}"


def at_most(shorter: str, longer: str) -> Rule:
    """One duration is no longer than another one, where both are set and well-formed."""
    values = f"self.{shorter}", f"self.{longer}"
    both = " && ".join([present(shorter, longer), *(matches(value, durations.SHAPE) for value in values)])
    return Rule(
        where(both, f"duration({values[0]}) <= duration({values[1]})"),
        f"must be at most {longer}",
        f".{shorter}",
        f"'must be at most {longer} (' + {values[1]} + '), not ' + {values[0]}",
    )


def unique_names() -> Rule:
    """No two entries whose names differ by case only, as header names must not; equal ones the list itself refuses."""
    return Rule(_no_twin("other.name", "entry.name"), _TWICE)


def unique_entries() -> Rule:
    """The same for a list of the names themselves."""
    return Rule(_no_twin("other", "entry"), _TWICE)


def _no_twin(other: str, entry: str) -> str:
    same = f"{other} != {entry} && {other}.lowerAscii() == {entry}.lowerAscii()"
    return f"!self.exists(entry, self.exists(other, {same}))"


_TWICE = "must not name a header twice; names are compared without case"
