"""May a stream that broke in the middle of its answer be brought to its end by another target (B26)?

Two ways: to *continue* from the text that the client has already, at a model that declares Prefill; or to *replay*: ask
once more and hold back what equals the text that was sent. Either way the client sees one answer, so nothing may be
in it that a second one cannot go on with, or that nobody can compare: several answers at once, probabilities, JSON
of a form, sound; nor what the provider keeps under the id of the first answer.
"""

from collections.abc import Mapping
from typing import Any, Literal

from modelpool_config.models import Prefill, RecoveryMode
from modelpool_sidecar.core.catalogue import CHAT, COMPLETIONS
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.snapshot import Target

Mode = RecoveryMode

Result = Literal["Recovered", "Differs", "Failed", "Cancelled"]
"""What came of it: the answer is whole; the second one was another; it failed too; nobody waits for it any more."""

PREFILL = "Prefill"

MAX_KEPT_BYTES = 1024 * 1024
"""Of the text that one stream has sent. A longer one is not recovered any more, and is not kept."""

FORMS = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "grammar",
    "json_schema",
)
"""What servers call a form that the answer must have, beside response_format."""


def concerns(request: Request) -> bool:
    """Whether a request is of the kind that can be recovered at all: chat and text completions, as a stream.

    Not the Responses API: its events are numbered and name their items, and its last one tells the whole answer again,
    under an id that the first provider keeps.
    """
    return request.stream and request.operation in (CHAT, COMPLETIONS) and not request.ties.creates


def excluded(document: Mapping[str, Any]) -> str | None:
    """Why this body asks for what cannot be recovered, to be read after `not recovered: `; None where it does not."""
    for name in ("n", "best_of"):
        if isinstance(document.get(name), int) and document[name] > 1:
            return f"{name} > 1"
    prompts = document.get("prompt")
    if isinstance(prompts, list) and len(prompts) > 1 and not isinstance(prompts[0], int):
        return "several prompts"
    logprobs = document.get("logprobs")
    if (logprobs is not None and logprobs is not False) or document.get("top_logprobs"):
        return "logprobs"
    form = document.get("response_format")
    kind = form.get("type") if isinstance(form, Mapping) else None
    if (form is not None and kind != "text") or any(document.get(name) for name in FORMS):
        return "an answer of a given form"
    if document.get("store") is True:
        return "an answer that is stored"
    modalities = document.get("modalities")
    if document.get("audio") or (isinstance(modalities, list) and any(each != "text" for each in modalities)):
        return "sound"
    if document.get("echo"):
        return "echo"
    return None


def continues(target: Target, model: str) -> Prefill | None:
    """How the model that the target would be asked for is told to go on from a text, where it declares that it can."""
    ability = target.provider.models.get(model)
    declared = ability is not None and ability.capabilities is not None and PREFILL in ability.capabilities
    return ability.prefill if ability is not None and declared else None
