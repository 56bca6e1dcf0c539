"""Whether a request asks for an answer of a given form, of which no part may be missing (B28)."""

from collections.abc import Mapping

from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.operations import RESPONSES, Operation
from modelpool_sidecar.core.recovery import FORMS


def is_given(operation: Operation, body: bytes) -> bool:
    """JSON of a schema, or of any other form; also where the body cannot be read."""
    try:
        document = jsonspan.decode(body)
    except jsonspan.NotJsonError:
        return True
    if not isinstance(document, Mapping):
        return True
    form = document.get("response_format")
    if operation is RESPONSES:
        text = document.get("text")
        form = text.get("format") if isinstance(text, Mapping) else None
    kind = form.get("type") if isinstance(form, Mapping) else None
    return (form is not None and kind != "text") or any(document.get(name) for name in FORMS)
