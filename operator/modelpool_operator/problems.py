"""What is wrong with an object, as a value and as a sentence a person can act on.

Foreign errors become ours here: pydantic's error list turns into sentences that begin with the field's path
(`targets[1].weight must be between 0 and 1000000, not -5`). A value that may be a secret is never repeated.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from modelpool_operator.api.types import HOUSE, plain, shown

Path = tuple[str | int, ...]
"""Where a field stands, from the root of the object: `("spec", "targets", 1, "weight")`."""

Key = tuple[str, str, str]
"""What names an object: kind, namespace, name."""

_KEY = "[key]"
"""Where pydantic stands when it looks at a key of a mapping, behind the key itself."""

_LONGEST_SLIP = 253
"""No name that we know is longer; comparing takes time with the length."""

_PLAIN_WORD = re.compile(r"[A-Za-z]{0,24}|[0-9.]{1,10}", re.ASCII)
"""A slip of the pen, and not a key that was pasted into the wrong field."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one object. `message` is a whole sentence and names the field.

    `condition` and `reason` are those of the status. `document`: the index of the manifest it was found in, where
    manifests were read.
    """

    kind: str
    namespace: str
    name: str
    path: Path
    message: str
    reason: str = "InvalidSpec"
    condition: str = "Accepted"
    document: int | None = None

    @property
    def key(self) -> Key:
        """The object that is meant."""
        return self.kind, self.namespace, self.name

    @property
    def field(self) -> str:
        """The field as users write it: `targets[1].weight`."""
        return field(self.path)


def field(path: Path) -> str:
    """A path as users write it, without the `spec.` in front: `targets[1].weight`; the spec itself is `spec`."""
    parts = path[1:] if len(path) > 1 and path[0] == "spec" else path
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{plain(part)}" if text else plain(part)
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, compared without case; None where nothing is near."""
    if len(word) > _LONGEST_SLIP:
        return None
    by_fold = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(word.lower(), by_fold, n=1, cutoff=0.65)
    return by_fold[found[0]] if found else None


def hint_at(name: str, known: Iterable[str], elsewhere: Mapping[str, str], command: str) -> str:
    """What may help where there is no object of this name in a namespace. `elsewhere`: by name, the namespaces of
    others; `command`: what lists those that are there."""
    if name in elsewhere:
        return f"the one in namespace {elsewhere[name]} is not reached from here"
    near = nearest(name, known)
    return f"did you mean {near}?" if near else command


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[Path, str]]:
    """Each of pydantic's errors as the path of the field and our sentence about it."""
    for item in error.errors(include_url=False):
        path: Path = tuple(item["loc"])
        kind = item["type"]
        if path[-1:] == (_KEY,) and kind == "string_type":
            path, kind = path[:-2], "invalid_key"
        elif kind == "invalid_key":
            path = path[:-1]
        yield path, f"{field(path)} {_predicate(kind, path, item, model)}".lstrip()


def _predicate(kind: str, path: Path, item: Any, root: type[BaseModel]) -> str:
    value, context = item["input"], item.get("ctx", {})
    absent = value is None and not isinstance(path[-1], int)
    if kind == "missing" or (absent and kind != "extra_forbidden"):
        return "is required"
    if kind == HOUSE:
        return str(context["sentence"])
    if kind == "extra_forbidden":
        known, name = _fields(_model_at(path[:-1], root)), str(path[-1])
        misplaced = name in _fields(_model_in(known.get("spec")))
        return "is not a known field; it belongs in spec" if misplaced else not_known(name, known)
    if kind == "literal_error":
        return _not_one_of(value, _choices(path, root))
    if kind in ("int_type", "int_from_float", "int_parsing_size"):
        return f"must be a whole number, not {_told(value)}"
    if kind == "string_type":
        return (
            "must be a string; put it in quotes"
            if isinstance(value, (bool, int, float))
            else _instead("a string", value)
        )
    if kind == "tuple_type":
        return _instead("a list", value)
    if kind == "dict_type":
        return _instead("a mapping of strings", value)
    if kind == "invalid_key":
        return "must have strings as keys; put them in quotes"
    if kind.startswith("datetime"):
        return "must be a time like 2026-01-31T12:00:00Z"
    if kind in ("model_type", "model_attributes_type"):
        example = getattr(_model_at(path, root), "example", None)
        return f"must be a mapping{f' like {example}' if example else ''}, not {_kind(value)}"
    return f"is not valid: {item['msg'][0].lower()}{item['msg'][1:]}"


def not_known(name: str, known: Collection[str]) -> str:
    """The rest of the sentence about a field that is not among these."""
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(known)}"
    return f"is not a known field; {hint}"


def _not_one_of(value: object, choices: tuple[str, ...]) -> str:
    near = nearest(value, choices) if isinstance(value, str) and len(choices) > 1 else None
    hint = f"; did you mean {near}?" if near else ""
    return f"must be {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}, not {_told(value)}{hint}"


def _instead(wanted: str, value: object) -> str:
    return f"must be {wanted}, not {_kind(value)}"


def _told(value: object) -> str:
    """A wrong value: a number or a plain word as it stands, whatever may be more than that by its kind only."""
    if isinstance(value, str) and _PLAIN_WORD.fullmatch(value):
        return shown(value)
    return _kind(value)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, (bool, int, float)):
        return shown(value)
    return "a string" if isinstance(value, str) else "nothing" if value is None else "something else"


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    """The fields of a model by the names that users write."""
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()} if model else {}


def _annotation_at(path: Path, root: type[BaseModel]) -> object:
    annotation: object = root
    for part in path:
        model = _model_in(annotation)
        annotation = _item_of(annotation) if isinstance(part, int) else _fields(model).get(part)
    return annotation


def _model_at(path: Path, root: type[BaseModel]) -> type[BaseModel] | None:
    return _model_in(_annotation_at(path, root))


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _item_of(annotation: object) -> object:
    """`X` of `tuple[X, ...]`, through `Annotated` and `| None`."""
    if getattr(annotation, "__origin__", None) is tuple:
        return get_args(annotation)[0]
    return next((item for part in get_args(annotation) if (item := _item_of(part))), None)


def _choices(path: Path, root: type[BaseModel]) -> tuple[str, ...]:
    return tuple(_words(_annotation_at(path, root)))


def _words(annotation: object) -> Iterator[str]:
    for part in get_args(annotation):
        if isinstance(part, str):
            yield part
        else:
            yield from _words(part)
