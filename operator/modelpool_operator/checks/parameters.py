"""Whether the parameters of a pool and of its targets can be put into a request."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from modelpool_operator.api.modelpool import ModelPoolSpec
from modelpool_operator.api.target import Parameter
from modelpool_operator.checks.finding import Finding, repeated
from modelpool_operator.problems import Path

ROUTED = ("model", "stream")
"""Fields that routing reads before any target is known, so that no parameter may change them."""


def judge(spec: ModelPoolSpec) -> Iterator[Finding]:
    """All that is wrong with them."""
    for path, listed in _places(spec):
        yield from repeated(path, (parameter.name for parameter in listed), "name")
        for index, parameter in enumerate(listed):
            yield from _judge((*path, index), parameter)


def _places(spec: ModelPoolSpec) -> Iterator[tuple[Path, tuple[Parameter, ...]]]:
    yield ("spec", "parameters"), spec.parameters or ()
    for index, target in enumerate(spec.targets):
        yield ("spec", "targets", index, "parameters"), target.parameters or ()


def _judge(path: Path, parameter: Parameter) -> Iterator[Finding]:
    if parameter.name in ROUTED:
        yield Finding((*path, "name"), f"must not be {parameter.name}, which belongs to routing")
    value, action = parameter.value, parameter.action
    if action == "Remove":
        if value is not None:
            yield Finding((*path, "value"), "must not be set where action is Remove")
    elif value is None:
        yield Finding((*path, "value"), f"must be set where action is {action}")
    elif (fault := _not_json(value)) is not None:
        yield Finding((*path, "value"), f"must be JSON, a string in quotes of its own as in '\"low\"': {fault}")
    elif action == "Max" and not _is_number(value.strip(" \t\r\n")):
        yield Finding((*path, "value"), "must be a number where action is Max")


def _not_json(value: str) -> str | None:
    """Why it is none; the value itself is not repeated."""
    try:
        json.loads(value, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return f"{error.msg} at column {error.pos + 1}".replace(" at at ", " at ")
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return None


def _is_number(value: str) -> bool:
    """Of a value that is JSON, and as the sidecar compares it."""
    try:
        return value[0] in "-0123456789" and Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
