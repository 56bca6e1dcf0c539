"""What goes along with every request to a Provider: its key, from a Secret, and headers; and those of its answers."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from modelpool_operator.api.types import HeaderName, HeaderValue, SecretKey, SecretName, Spec, Text


class SecretRef(Spec):
    """One key of a Secret in the Provider's namespace."""

    example: ClassVar[str] = "{name: openai, key: api-key}"

    name: SecretName = Field(description="The Secret's name, in the namespace of the Provider.")
    key: SecretKey = Field(description="The key in the Secret's data. One trailing newline of its value is stripped.")


class APIKey(Spec):
    """A key that is sent in a header."""

    example: ClassVar[str] = "{secretRef: {name: openai, key: api-key}}"

    secret_ref: SecretRef = Field(alias="secretRef", description="Where the key is.")
    header: HeaderName | None = Field(
        default=None,
        description="The header that carries the key; never Host, Connection, Content-Length or Transfer-Encoding. "
        "Default: Authorization.",
    )
    prefix: Annotated[str, Text("printable ASCII", r"^[ -~]*\Z", least=0, quiet=True)] | None = Field(
        default=None,
        description="What stands in front of the key. In quotes, for its space at the end. "
        'Default: "Bearer " in the header Authorization, nothing in another one.',
    )


class Auth(Spec):
    """How we authenticate; the member that `type` names holds the rest."""

    example: ClassVar[str] = "{type: APIKey, apiKey: {secretRef: {name: openai, key: api-key}}}"

    type: Literal["None", "APIKey"] = Field(
        description="None: nothing is sent. APIKey: a key from a Secret, in a header."
    )
    api_key: APIKey | None = Field(
        default=None, alias="apiKey", description="The key, for type APIKey. Default: none; required for APIKey."
    )


class Header(Spec):
    """A header that is sent with every request: a value as it stands, or one from a Secret."""

    example: ClassVar[str] = '{name: x-team, value: "search"}'

    name: HeaderName = Field(description="The header's name; compared without case.")
    value: HeaderValue | None = Field(
        default=None, description="The value itself. Exactly one of value and secretRef is set. Default: none."
    )
    secret_ref: SecretRef | None = Field(
        default=None,
        alias="secretRef",
        description="Where the value is. Exactly one of value and secretRef is set. Default: none.",
    )


class ResponseHeader(Spec):
    """A header that is added to answers."""

    example: ClassVar[str] = '{name: x-region, value: "eu"}'

    name: HeaderName = Field(description="The header's name; compared without case.")
    value: HeaderValue = Field(description="Its value.")
