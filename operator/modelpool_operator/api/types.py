"""The kinds of values that fields hold: what they may be, and what is said where they are not.

An annotation is both a judgement with a sentence of ours and a bound in the JSON schema. Sentences begin with `must`:
the reader puts the field's path in front. `quiet` kinds may hold a secret by accident and are never repeated.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import PydanticCustomError, core_schema

from modelpool_operator import durations

HOUSE = "modelpool"
"""The type of every error that already carries one of our sentences."""

MUST, WITHIN, QUIET = "x-must", "x-within", "x-quiet"
"""Beside the bounds in the JSON schema: what a string must be, in words; a duration's ends; whether it is quiet."""


class Spec(BaseModel):
    """Part of a resource: immutable, strict about types, closed to unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def refuse(sentence: str) -> PydanticCustomError:
    """An error whose message is this sentence, which goes behind the path of the field."""
    return PydanticCustomError(HOUSE, "{sentence}", {"sentence": sentence})


def plain(text: str, most: int = 64) -> str:
    """Foreign text in a sentence: cut short, and on one line that no terminal obeys."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in cut
    )


def shown(value: str | float) -> str:
    """A wrong value in a sentence: strings in quotes and cut short, the rest as YAML writes it."""
    if isinstance(value, str):
        return f'"{plain(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return "a number with very many digits"
    return repr(value)


_SHOWN_BITS = 128


class _Judged(ABC):
    """An annotation that judges the value after its type is right."""

    __slots__ = ()

    @abstractmethod
    def judge(self, value: Any) -> Any:
        """The value, or PydanticCustomError."""
        ...

    @abstractmethod
    def bounds(self) -> dict[str, Any]:
        """What the JSON schema says about it."""
        ...

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.judge, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), **self.bounds()}


@dataclass(frozen=True, slots=True)
class Between(_Judged):
    """A whole number with both ends allowed."""

    least: int
    most: int

    def judge(self, value: int) -> int:
        if not self.least <= value <= self.most:
            raise refuse(f"must be between {self.least} and {self.most}, not {shown(value)}")
        return value

    def bounds(self) -> dict[str, Any]:
        return {"minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Within(_Judged):
    """A duration with both ends allowed; stays the string that was written."""

    least: str
    most: str

    def judge(self, value: str) -> str:
        try:
            milliseconds = durations.parse(value)
        except ValueError as error:
            raise refuse(f"{error}, not {shown(value)}") from error
        if not durations.parse(self.least) <= milliseconds <= durations.parse(self.most):
            raise refuse(f"must be between {self.least} and {self.most}, not {value}")
        return value

    def bounds(self) -> dict[str, Any]:
        return {
            "maxLength": 32,
            "pattern": durations.SHAPE,
            MUST: f"be {durations.WORDS}",
            WITHIN: [self.least, self.most],
        }

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        judged = core_schema.no_info_after_validator_function(self.judge, handler(source))
        return core_schema.no_info_before_validator_function(_with_a_unit, judged)


@dataclass(frozen=True, slots=True)
class Text(_Judged):
    """A string of bounded length, where given of a shape that `what` describes."""

    what: str = "a string"
    shape: str | None = None
    least: int = 1
    most: int = 253
    quiet: bool = False

    def judge(self, value: str) -> str:
        if len(value) < self.least:
            raise refuse("must not be empty")
        if len(value) > self.most:
            raise refuse(f"must have at most {self.most} characters, not {len(value)}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise refuse("must be Unicode: half a surrogate pair cannot be sent")
        if self.shape is not None and not re.search(self.shape, value):
            raise refuse(f"must be {self.what}" if self.quiet else f"must be {self.what}, not {shown(value)}")
        return value

    def bounds(self) -> dict[str, Any]:
        bounds: dict[str, Any] = {"maxLength": self.most, QUIET: self.quiet}
        if self.least:
            bounds["minLength"] = self.least
        if self.shape is not None:
            bounds |= {"pattern": self.shape.replace(r"\Z", "$"), MUST: f"be {self.what}"}
        return bounds


@dataclass(frozen=True, slots=True)
class AtMost(_Judged):
    """A list of bounded length; `least` 1 where an empty one makes no sense.

    Judged before its entries, so that a list far too long is one problem and not one for each entry.
    """

    most: int
    least: int = 0

    def judge(self, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        if len(value) < self.least:
            raise refuse("must have at least one entry")
        if len(value) > self.most:
            raise refuse(f"must have at most {self.most} entries, not {len(value)}")
        return value

    def bounds(self) -> dict[str, Any]:
        return {"maxItems": self.most, **({"minItems": self.least} if self.least else {})}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.judge, handler(source))


def _with_a_unit(value: object) -> object:
    if isinstance(value, (int, float)):
        raise refuse(f"must be a duration with a unit, like 250ms, 30s or 1h30m, not {shown(value)}")
    return value


class AnyList(Strict):
    """A YAML list where the model holds a tuple."""

    def __init__(self) -> None:
        super().__init__(strict=False)


def _status(value: object) -> object:
    return shown(value) if isinstance(value, int) and not isinstance(value, bool) else value


_STATUS = r"^[345](xx|[0-9]x|[0-9][0-9])\Z"


@dataclass(frozen=True, slots=True)
class Status:
    """`429`, `"50x"`, `"5xx"`: a status of a provider's answer, or the first digits of several."""

    def judge(self, value: str) -> str:
        if not re.search(_STATUS, value):
            raise refuse(
                f'must be a status like 429 or a pattern like "50x" or "5xx", from 300 to 599, not {plain(value)}'
            )
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        judged = core_schema.no_info_after_validator_function(self.judge, handler(source))
        return core_schema.no_info_before_validator_function(_status, judged)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "minimum": 300,
            "maximum": 599,
            "maxLength": 3,
            "pattern": _STATUS.replace(r"\Z", "$"),
        }


_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
"""As Kubernetes names objects (RFC 1123)."""

_LETTERS = "(lower case letters and digits, between them - or a single .)"

ObjectName = Annotated[str, Text(f"a name {_LETTERS}", _SUBDOMAIN, most=63)]
SecretName = Annotated[str, Text(f"the name of a Secret {_LETTERS}", _SUBDOMAIN, quiet=True)]
LabelValue = Annotated[
    str, Text("a label (letters, digits, - _ .)", r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z", least=0, most=63)
]
AnnotationValue = Annotated[str, Text(least=0, most=256 * 1024)]
SecretKey = Annotated[str, Text("a key of a Secret (letters, digits, - _ .)", r"^[-._a-zA-Z0-9]+\Z", quiet=True)]
EntryName = Annotated[
    str,
    Text("a name (letters, digits, - _ .)", r"^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?\Z"),
]
FieldName = Annotated[str, Text("a field's name (letters, digits, _ - .)", r"^[A-Za-z_][-._A-Za-z0-9]*\Z")]
HeaderName = Annotated[
    str, Text("a header name (letters, digits and !#$%&'*+-.^_`|~)", r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z", quiet=True)
]
HeaderValue = Annotated[
    str, Text("printable ASCII without a space at either end", r"^[!-~]([ -~\t]*[!-~])?\Z", quiet=True)
]
_SPACES = r"\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Every space of Unicode and the control characters, spelled out: `\\s` means less in other engines."""

ModelName = Annotated[str, Text("a model name without spaces or control characters", rf"^[^{_SPACES}]+\Z")]
URL = Annotated[str, Text(most=2048, quiet=True)]
