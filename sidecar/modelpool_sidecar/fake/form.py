"""The fields of a multipart/form-data body, as the provider reads them."""

import email.policy
from dataclasses import dataclass
from email.parser import BytesParser


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    name: str
    media_type: str
    content: bytes


def read(content_type: str, body: bytes) -> dict[str, str | Upload] | None:
    """The fields by name, the last of several counts; None where it is no form."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, str | Upload] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            return None
        filename = part.get_filename()
        if filename is None:
            fields[name] = content.decode("utf-8", "replace")
        else:
            fields[name] = Upload(filename, part.get_content_type(), content)
    return fields
