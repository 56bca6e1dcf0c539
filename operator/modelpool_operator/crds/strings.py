"""The rules of one string: its shape and, for a duration, its range, in our words instead of a pattern.

A pattern in the schema would show its regular expression; a rule says what is meant. Quiet strings, which may hold a
secret by accident, are judged on their parent, because the server prints the value that a rule stands on.
"""

from typing import Any

from modelpool_operator.api.types import MUST, QUIET, WITHIN
from modelpool_operator.crds.rules import Rule, literal, matches, member, where


def own(string: dict[str, Any]) -> list[Rule]:
    """The rules that stand on the string itself; none for a quiet one."""
    return [] if string.get(QUIET) else _rules(string, "self")


def of_member(name: str, string: dict[str, Any], required: bool) -> list[Rule]:
    """The rules about a quiet member, which stand on the object."""
    if not string.get(QUIET):
        return []
    value = f"self.{member(name)}"
    found = _rules(string, value)
    guard = "" if required else f"!has({value}) || "
    return [Rule(f"{guard}{rule.rule}", rule.message, f".{name}") for rule in found]


def of_items(string: dict[str, Any]) -> list[Rule]:
    """The rules about quiet items, which stand on the list."""
    found = _rules(string, "entry") if string.get(QUIET) else []
    return [Rule(f"self.all(entry, {rule.rule})", f"{rule.message}, each entry") for rule in found]


def _rules(string: dict[str, Any], value: str) -> list[Rule]:
    shape = string.get("pattern")
    if shape is None:
        return []
    fits = matches(value, shape)
    told_elsewhere = f"{value} == '' || " if string.get("minLength") else ""
    found = [Rule(f"{told_elsewhere}{fits}", f"must {string[MUST]}")]
    if WITHIN in string:
        least, most = string[WITHIN]
        span = f"duration({value})"
        inside = f"({span} >= duration({literal(least)}) && {span} <= duration({literal(most)}))"
        found.append(Rule(where(fits, inside), f"must be between {least} and {most}"))
    return found
