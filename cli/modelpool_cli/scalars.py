"""What a plain YAML word means, exactly as kubectl takes it.

kubectl reads YAML 1.1 with a few exceptions, then turns it into JSON: `yes`, `on` and `y` are true, `010` is eight,
`1e3` and `1.0` are the integers 1000 and 1, while dates and `1:30` stay strings. A manifest must mean the same on disk
and in the cluster, so these facts are kept in a table that a test compares with kubectl's own reading.
"""

import base64
import math
import re
from decimal import Decimal

Scalar = str | int | float | bool | None

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_STARTS_A_NUMBER = frozenset("+-0123456789")
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
_LONGEST_INTEGER = 100
"""Characters: 64 bits written in base 2, with a prefix, and some leading zeros."""
_EXPONENT_FROM = 1e21
"""From here on a whole float is written with an exponent in JSON, and is no integer any more."""

_TAG = "tag:yaml.org,2002:"


class ScalarError(ValueError):
    """The word cannot be what its tag says, or JSON cannot carry it."""


def plain(word: str) -> Scalar:
    """The value of a word without quotes and without a tag."""
    value = _WORDS.get(word, word)
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, float):
        return _as_json_writes(value, word)
    return value


def tagged(tag: str, word: str) -> Scalar:
    """The value of a word with an explicit tag. A foreign tag says nothing, as in kubectl: the word stays a string."""
    kind = tag.removeprefix(_TAG)
    if kind == "binary":
        return _decoded(word)
    if kind not in ("int", "float", "bool", "null"):
        return word
    value = plain(word)
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool) and not _written_as_float(word),
        "float": isinstance(value, (int, float)) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "null": value is None,
    }
    if not fits[kind]:
        raise ScalarError(f"{word!r} is not a !!{kind}")
    return value


def key(value: Scalar) -> str:
    """The name that a key becomes in JSON: `yes:` is the key `true`, `1e3:` the key `1000`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        raise ScalarError("a key must not be empty or null")
    return str(value)


def _number(word: str) -> str | int | float:
    """An integer, a float or the word itself. Underscores are dropped after a leading sign or digit only."""
    if word[0] == ".":
        return _float(word) if _FLOAT.fullmatch(word) else word
    if word[0] not in _STARTS_A_NUMBER:
        return word
    bare = word.replace("_", "")
    match = _INTEGER.fullmatch(bare) if len(bare) <= _LONGEST_INTEGER else None
    if match is not None:
        integer = _integer(match)
        if _SMALLEST <= integer <= _LARGEST:
            return integer
    if not _FLOAT.fullmatch(bare):
        return word
    value = _float(bare)
    return word if isinstance(value, str) else value


def _integer(match: re.Match[str]) -> int:
    sign, sixteen, two, eight, ten = match.groups()
    digits, base = next((text, base) for text, base in ((sixteen, 16), (two, 2), (eight, 8), (ten, 10)) if text)
    return int(sign + digits, base)


def _float(word: str) -> float | str:
    """Out of range stays a string, as Go's parser says; too small is 0."""
    value = float(word)
    return word if math.isinf(value) else value


def _written_as_float(word: str) -> bool:
    return _INTEGER.fullmatch(word.replace("_", "")) is None


def _as_json_writes(value: float, word: str) -> int | float:
    if not math.isfinite(value):
        raise ScalarError(f"{word} cannot be written in JSON")
    if value.is_integer() and abs(value) < _EXPONENT_FROM:
        return int(Decimal(repr(value)))
    return value


def _decoded(word: str) -> str:
    try:
        return base64.b64decode("".join(word.split()), validate=True).decode(errors="replace")
    except ValueError as error:  # not in its alphabet, or not even ASCII
        raise ScalarError("!!binary must be base64") from error
