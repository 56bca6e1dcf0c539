"""What the operator says about a resource: conditions, and for a pool its targets and its config.

Written by the operator alone and read by people, `kubectl wait` and delivery tools; never an input of the compiler.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.types import AnyList, AtMost, Between, EntryName, Spec, Text

Word = Annotated[str, Text("a CamelCase word", r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?\Z")]
Sentence = Annotated[str, Text(least=0, most=32_768)]
Generation = Annotated[int, Between(0, 2**53 - 1)]


class Condition(Spec):
    """One judgement on the object, with its reason."""

    example: ClassVar[str] = "{type: Ready, status: 'True', reason: Ready}"

    type: Word = Field(description="What is judged: Accepted, ResolvedRefs, Programmed, or Ready, which sums them up.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: Generation | None = Field(
        default=None, alias="observedGeneration", description="The metadata.generation that was judged."
    )
    last_transition_time: datetime = Field(
        alias="lastTransitionTime", description="When status changed last; nothing else moves it."
    )
    reason: Word = Field(description="Why, in one CamelCase word that stays the same.")
    message: Sentence = Field(description="Why, in a sentence for people: the field, and what to do.")


class TargetStatus(Spec):
    """Whether a target can be asked."""

    name: EntryName = Field(description="The target's name.")
    state: Literal["Resolved", "Unresolved"] = Field(
        description="Resolved: it is in the config. Unresolved: it is left out, and reason says why."
    )
    reason: Word | None = Field(default=None, description="Why it is Unresolved, in one CamelCase word.")


class ConfigStatus(Spec):
    """The pool as the sidecars get it."""

    digest: Annotated[str, Text(most=128)] = Field(
        description="Hash of the pool's compiled section with its Providers; it moves when what they do moves."
    )
    written_time: datetime = Field(
        alias="writtenTime", description="When a config with this digest was written into the namespace."
    )


Conditions = Annotated[tuple[Condition, ...], AnyList(), AtMost(8)]


class ProviderStatus(Spec):
    """What the operator says about a Provider."""

    observed_generation: Generation | None = Field(
        default=None, alias="observedGeneration", description="The metadata.generation that was judged last."
    )
    conditions: Conditions | None = Field(
        default=None,
        description="Accepted: the spec makes sense. ResolvedRefs: the Secrets that it names hold what can be sent. "
        "Programmed: it is in the config. Ready: Accepted and ResolvedRefs.",
    )


class ModelPoolStatus(Spec):
    """What the operator says about a pool."""

    observed_generation: Generation | None = Field(
        default=None, alias="observedGeneration", description="The metadata.generation that was judged last."
    )
    conditions: Conditions | None = Field(
        default=None,
        description="Accepted: the spec makes sense and the model names are the pool's own. ResolvedRefs: every "
        "target's Provider can be asked. Programmed: the pool is in the config. Ready: Accepted, Programmed and at "
        "least one target is resolved.",
    )
    targets: Annotated[tuple[TargetStatus, ...], AnyList(), AtMost(64)] | None = Field(
        default=None, description="The targets of spec, each with whether it can be asked."
    )
    targets_resolved: Annotated[str, Text("a count like 2/3", r"^[0-9]{1,3}/[0-9]{1,3}\Z", most=7)] | None = Field(
        default=None,
        alias="targetsResolved",
        description="How many targets are resolved, of how many: 2/3. For kubectl get, which cannot count.",
    )
    config: ConfigStatus | None = Field(default=None, description="The pool as the sidecars get it.")
