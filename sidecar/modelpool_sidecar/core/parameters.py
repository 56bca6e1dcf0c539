"""What a pool and its target change in the body of a request, beside its model (B40).

Theory. The parameters of a target are those of its pool that it does not name itself, and its own. They are carried out
in the order Remove, Set, Default, Max, so that their order in a manifest says nothing and a ceiling always holds.

- A member that stands twice is treated twice: whichever of them a provider reads, it reads what was wanted.
- Where a pool is reached through another one, the outer one's are carried out before its own (B7), in one list.
- Two names of one limit are one field for Default and Max: a client that asks for `max_completion_tokens` is under the
  ceiling of `max_tokens`, and no default is put beside it.
- Absent is no limit where the field is a limit on output, so Max puts it there, and replaces null. Elsewhere absent is
  the provider's own choice, and stays. What is no number is replaced: some servers read "5000" as 5000.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.jsonspan import Member


class Action(StrEnum):
    """What is done, in the order in which it is done."""

    REMOVE = "Remove"
    SET = "Set"
    DEFAULT = "Default"
    MAX = "Max"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One change. `value`: JSON, ready to be spliced in; empty for Remove. `most`: the same as a number, for Max."""

    name: str
    action: Action
    value: bytes = b""
    most: Decimal = Decimal(0)


Parameters = tuple[Parameter, ...]

OUTPUT_LIMITS: dict[str, tuple[str, ...]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "text_completion": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""By operation, the names of the limit on output tokens."""

_ORDER = list(Action)
_COUNTED = frozenset({"n", "prompt"})


class UnusableValueError(ValueError):
    """A value that is not what its action needs, as a sentence."""


def compiled(name: str, action: str, value: str | None) -> Parameter:
    """A parameter, judged and ready. Raises UnusableValueError."""
    done = Action(action)
    if done is Action.REMOVE:
        return Parameter(name, done)
    text = (value or "").strip(" \t\r\n").encode("utf-8", "replace")
    try:
        jsonspan.decode(text)
    except jsonspan.NotJsonError as exc:
        raise UnusableValueError(f"the value of parameter {name} is not JSON: {exc}") from exc
    if done is not Action.MAX:
        return Parameter(name, done, text)
    most = _number(text)
    if most is None:
        raise UnusableValueError(f"the value of parameter {name} is not a number, which Max needs")
    return Parameter(name, done, text, most)


def merged(pool: Iterable[Parameter], target: Iterable[Parameter]) -> Parameters:
    """What holds at a target: its own parameter wins over the pool's of the same name."""
    by_name = {parameter.name: parameter for parameter in (*pool, *target)}
    return tuple(sorted(by_name.values(), key=lambda parameter: _ORDER.index(parameter.action)))


def change_choices(parameters: Parameters) -> bool:
    """Whether they may change how many answers are asked for."""
    return any(parameter.name in _COUNTED for parameter in parameters)


def apply(body: bytes, operation: str, parameters: Parameters, model: str | None = None) -> bytes:
    """The JSON object with these changes, and with `model` as its model; no other byte is touched."""
    draft = _Draft(body, OUTPUT_LIMITS.get(operation, ()))
    if model is not None:
        draft.set("model", jsonspan.quote(model))
    for parameter in parameters:
        match parameter.action:
            case Action.REMOVE:
                draft.remove(parameter.name)
            case Action.SET:
                draft.set(parameter.name, parameter.value)
            case Action.DEFAULT:
                draft.default(parameter.name, parameter.value)
            case _:  # Max
                draft.cap(parameter.name, parameter)
    return draft.written()


class _Draft:
    """A body with its changes, which are gathered first and written once."""

    def __init__(self, body: bytes, limits: Sequence[str]) -> None:
        self._body, self._limits = body, limits
        self._members: tuple[Member, ...] = tuple(jsonspan.members(body))
        self._changed: dict[int, bytes | None] = {}
        self._added: dict[str, bytes] = {}

    def remove(self, name: str) -> None:
        """It goes, however often it stands there."""
        for place in self._places((name,)):
            self._changed[place] = None
        self._added.pop(name, None)  # by a pool on the way here

    def set(self, name: str, value: bytes) -> None:
        """It has this value, there or added."""
        places = self._places((name,))
        for place in places:
            self._changed[place] = value
        if not places:
            self._added[name] = value

    def default(self, name: str, value: bytes) -> None:
        """It is added where the request has it under none of its names."""
        if not self._has(self._names(name)):
            self._added[name] = value

    def cap(self, name: str, parameter: Parameter) -> None:
        """It is at most this, under each of its names."""
        names, is_limit = self._names(name), name in self._limits
        for place in self._places(names):
            value = self._value(place)
            if value == b"null" and not is_limit:
                continue
            if exceeds(value, parameter.most):
                self._changed[place] = parameter.value
        for added in [added for added in names if added in self._added]:
            if exceeds(self._added[added], parameter.most):
                self._added[added] = parameter.value
        if is_limit and not self._has(names):
            self._added[name] = parameter.value

    def written(self) -> bytes:
        """The body with all of it."""
        added = [b"%b:%b" % (jsonspan.quote(name), value) for name, value in self._added.items()]
        return jsonspan.rewrite(self._body, self._members, self._changed, added)

    def _names(self, name: str) -> Sequence[str]:
        """The field under all its names."""
        return self._limits if name in self._limits else (name,)

    def _places(self, names: Sequence[str]) -> list[int]:
        """Where it stands, unless it was removed."""
        return [
            place
            for place, member in enumerate(self._members)
            if member.key in names and self._changed.get(place, b"") is not None
        ]

    def _has(self, names: Sequence[str]) -> bool:
        return bool(self._places(names)) or any(name in self._added for name in names)

    def _value(self, place: int) -> bytes:
        changed = self._changed.get(place)
        return changed if changed is not None else self._body[self._members[place].start : self._members[place].end]


def exceeds(value: bytes, most: Decimal) -> bool:
    """Whether a value is above a ceiling; what is no number is."""
    number = _number(value)
    return number is None or number > most


def _number(text: bytes) -> Decimal | None:
    """A JSON number, however large; None where it is none, or beyond all reason."""
    if text[:1] not in b"-0123456789":
        return None
    try:
        return Decimal(text.decode("ascii"))
    except InvalidOperation:
        return None
