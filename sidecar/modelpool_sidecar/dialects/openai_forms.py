"""A form on its way to a provider: its model exchanged or put in, its parameters carried out, nothing else touched."""

from modelpool_sidecar.core import formparameters, jsonspan, multipart
from modelpool_sidecar.core.multipart import Form
from modelpool_sidecar.core.parameters import Parameters


def attempt_form(
    body: bytes, form: Form, span: tuple[int, int] | None, model: str | None, changes: Parameters = ()
) -> bytes:
    """The body with `model` as its model; None leaves it as it is. `span`: of the text that names one already."""
    if changes:
        return formparameters.apply(body, form, changes, model)
    if model is None:
        return body
    new = model.encode("utf-8")
    if span is None:
        return multipart.rewrite(form, body, (), [multipart.part(form, "model", new)])
    return body if body[span[0] : span[1]] == new else jsonspan.splice(body, *span, new)
