"""Asking a stream for its usage where the client did not: put into the request, taken out of the answer again (B32).

OpenAI and what is compatible with it tell the usage of a stream only when `stream_options.include_usage` is true. Then
an extra chunk without choices comes at the end, and the other chunks may bring `"usage": null`.
"""

import re
from typing import Any

from modelpool_sidecar.core import jsonspan
from modelpool_sidecar.core.operations import CHAT, COMPLETIONS
from modelpool_sidecar.core.parameters import Parameters
from modelpool_sidecar.core.request import Request

OPTION = "stream_options"
_NAMED = re.compile(rb"stream_options|include_usage|\bstreamOptions\b")
_WHOLE = b'"stream_options":{"include_usage":true}'


def may_ask(request: Request, changes: Parameters) -> bool:
    """Whether it is a stream of an operation that has the option. Who sets it by `parameters` has it as he says."""
    if not request.stream or request.include_usage or request.operation not in (CHAT, COMPLETIONS):
        return False
    return all(change.name != OPTION for change in changes)


def asking(body: bytes) -> bytes | None:
    """The body with the option, no other byte changed; None where the client has decided on it itself."""
    if b'"stream_options"' not in body and not jsonspan.escapes_letters(body):
        return _put(body, body.index(b"{"), _WHOLE)
    found = list(jsonspan.members(body))
    places = [place for place, member in enumerate(found) if member.key == OPTION]
    if not places:
        return _put(body, body.index(b"{"), _WHOLE)
    if len(places) > 1:
        return None
    member = found[places[0]]
    value = jsonspan.decode(body[member.start : member.end])
    if value is None:
        return jsonspan.splice(body, member.start, member.end, b'{"include_usage":true}')
    if not isinstance(value, dict) or "include_usage" in value:
        return None
    return _put(body, member.start, b'"include_usage":true')


def refused(status: int, body: bytes) -> bool:
    """Whether a failed answer says that the option is what it does not take."""
    return status in (400, 422) and _NAMED.search(body) is not None


def is_extra(chunk: dict[str, Any]) -> bool:
    """Whether this is the chunk that comes because the option was set: usage, and no choice, however that is said."""
    return not chunk.get("choices") and isinstance(chunk.get("usage"), dict)


def _put(body: bytes, brace: int, member: bytes) -> bytes:
    rest = body[brace + 1 :]
    comma = b"" if rest.lstrip(b" \t\r\n").startswith(b"}") else b","
    return b"%b{%b%b%b" % (body[:brace], member, comma, rest)
