"""What a pool and its target change in a form, beside its model (B40): `parameters` in the terms of multipart bodies.

A field of a form is text: a string stands there without its quotes, everything else as its JSON. A field is found under
its name and under its name with `[]`, as the official SDKs write lists. A file is nobody's parameter: it stays,
whatever is said of its name. Absent stays absent for Max, because no field of a form is a limit on output.
"""

import json

from modelpool_sidecar.core import multipart, parameters
from modelpool_sidecar.core.multipart import Field, Form
from modelpool_sidecar.core.parameters import Action, Parameters


def apply(body: bytes, form: Form, changes: Parameters, model: str | None = None) -> bytes:
    """The form with these changes, and with `model` as its model where one is given; no other byte is touched."""
    fields = [field for field in form.fields if not field.is_file]
    changed: dict[Field, bytes | None] = {}
    added: dict[str, bytes] = {}

    def put(name: str, value: bytes) -> None:
        places = _places(fields, name)
        changed.update(dict.fromkeys(places, value))
        if not places:
            added[name] = value

    if model is not None:
        put("model", model.encode("utf-8"))
    for change in changes:  # in the order Remove, Set, Default, Max
        places = _places(fields, change.name)
        match change.action:
            case Action.REMOVE:
                changed.update(dict.fromkeys(places))
                fields = [field for field in fields if field not in places]
            case Action.SET:
                put(change.name, _text(change.value))
            case Action.DEFAULT:
                if not places and change.name not in added:
                    added[change.name] = _text(change.value)
            case _:  # Max
                for place in places:
                    value = changed.get(place) or body[place.start : place.end]
                    if parameters.exceeds(value, change.most):
                        changed[place] = change.value
    parts = [multipart.part(form, name, value) for name, value in added.items()]
    return multipart.rewrite(form, body, tuple(changed.items()), parts)


def _places(fields: list[Field], name: str) -> list[Field]:
    return [field for field in fields if field.name in (name, f"{name}[]")]


def _text(value: bytes) -> bytes:
    return str(json.loads(value)).encode("utf-8", "replace") if value.startswith(b'"') else value
