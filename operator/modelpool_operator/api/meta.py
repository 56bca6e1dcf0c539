"""What every resource has around its spec: the names that find it, and when it was made."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from modelpool_operator.api.types import AnnotationValue, LabelValue, ObjectName, Spec, Text

GROUP = "modelpool.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
DEFAULT_NAMESPACE = "default"

Namespace = Annotated[
    str,
    Text("a name (lower case letters, digits, -)", r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z", most=63),
]


def _named(namespace: object) -> object:
    return DEFAULT_NAMESPACE if namespace in (None, "") else namespace


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class ObjectMeta(BaseModel):
    """The metadata that means something here; the rest is Kubernetes' own."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, hide_input_in_errors=True)

    name: ObjectName = Field(description="The object's name.")
    namespace: Annotated[Namespace, BeforeValidator(_named)] = Field(
        default=DEFAULT_NAMESPACE, description="Its namespace. Default: default."
    )
    labels: dict[str, LabelValue | None] | None = Field(default=None, description="Its labels. Default: none.")
    annotations: dict[str, AnnotationValue | None] | None = Field(
        default=None, description="Its annotations. Default: none."
    )
    creation_timestamp: Annotated[datetime, Strict(strict=False), AfterValidator(_in_utc)] | None = Field(
        default=None, alias="creationTimestamp", description="When it was made; the API server writes it."
    )


class Resource(Spec):
    """An object of this API. Its status is written by the operator and not read."""

    api_version: Literal["modelpool.dev/v1alpha1"] = Field(alias="apiVersion", description="modelpool.dev/v1alpha1.")
    metadata: ObjectMeta = Field(description="Name, namespace, labels, annotations.")
    status: object = Field(default=None, description="Written by the operator.")
