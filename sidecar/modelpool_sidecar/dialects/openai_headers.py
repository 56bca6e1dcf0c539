"""Which headers cross: from clients to providers by an allow-list, from providers to clients by a deny-list (B42)."""

import re
from collections.abc import Callable, Collection

from modelpool_sidecar.core.refusal import MAX_RETRY_AFTER_SENT
from modelpool_sidecar.core.request import Headers, Request
from modelpool_sidecar.core.snapshot import Provider
from modelpool_sidecar.version import VERSION

PASSED = frozenset({"content-type", "accept", "user-agent", "idempotency-key", "x-request-id", "openai-beta"})
"""What passes from a client to a provider without being named in `forwardHeaders`."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""They speak of one connection; so does whatever a Connection header names."""

NEVER_SENT = HOP_BY_HOP | {
    "accept-encoding",
    "api-key",
    "authorization",
    "baggage",
    "content-encoding",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "openai-organization",
    "openai-project",
    "traceparent",
    "tracestate",
    "via",
    "x-api-key",
    "x-goog-api-key",
    "x-real-ip",
}
"""What no `forwardHeaders` can let through: the client's credentials, whose account pays, routing, framing, tracing."""

NEVER_SENT_PREFIXES = ("x-modelpool-", "x-stainless-", "x-forwarded-")

NEVER_ANSWERED = HOP_BY_HOP | {
    "alt-svc",
    "anthropic-organization-id",
    "content-length",
    "openai-organization",
    "openai-project",
    "ratelimit",
    "ratelimit-policy",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "x-should-retry",
}
"""What no client gets to see: the provider's account, its limits, its cookies, and orders that are ours to give."""

NEVER_ANSWERED_PREFIXES = (
    "access-control-",  # a grant by the provider to web pages, about the provider's own origin
    "anthropic-ratelimit-",
    "ratelimit-",
    "x-modelpool-",
    "x-ratelimit-",
)

_TRANSPORT = HOP_BY_HOP | {"host", "content-length"}

_FIT = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_TOKEN = f"modelpool/{VERSION}"


def attempt_headers(
    request: Request, provider: Provider, secret: Callable[[str], str | None], trace: Headers
) -> Headers:
    """The headers of one attempt, without Host and Content-Length, which are the transport's.

    In this order, each winning over what came before: the client's that may pass; the provider's own; Accept-Encoding;
    the trace context, if the provider takes it; credentials. `secret` gives the current value of a mounted credential;
    one that is absent or unfit for a header is left out.
    """
    sent = _from_client(request, provider)
    sent.update(_own(provider))
    sent["accept-encoding"] = ["identity"]
    if provider.trace_context:
        sent.update({name: [value] for name, value in trace if name in ("traceparent", "tracestate")})
    _authenticate(sent, provider, secret)
    return tuple((name, value) for name, values in sent.items() for value in values)


def check_headers(provider: Provider, secret: Callable[[str], str | None]) -> Headers:
    """The headers of a request of our own: who asks, and what the provider demands of every request."""
    sent = {"user-agent": [_TOKEN], "accept": ["*/*"], **_own(provider), "accept-encoding": ["identity"]}
    _authenticate(sent, provider, secret)
    return tuple((name, value) for name, values in sent.items() for value in values)


def _authenticate(sent: dict[str, list[str]], provider: Provider, secret: Callable[[str], str | None]) -> None:
    for credential in (*provider.secret_headers, *((provider.auth,) if provider.auth else ())):
        key = secret(credential.credential)
        sent.pop(credential.header, None)
        if key is not None and fit(value := credential.prefix + key):
            sent[credential.header] = [value]


def _from_client(request: Request, provider: Provider) -> dict[str, list[str]]:
    sent: dict[str, list[str]] = {}
    dropped = _named_by_connection(request.headers)
    for name, value in request.headers:
        if not value or name in dropped or not fit(value):
            continue
        if name in PASSED:
            sent.setdefault(name, [value])  # the first counts: each of them says one thing
        elif name in provider.forward_headers and not _never(name, NEVER_SENT, NEVER_SENT_PREFIXES):
            sent.setdefault(name, []).append(value)
    sent["user-agent"] = [" ".join((*sent.get("user-agent", ()), _TOKEN))]
    if request.body:
        sent.setdefault("content-type", ["application/json"])
    return sent


def _own(provider: Provider) -> dict[str, list[str]]:
    own: dict[str, list[str]] = {}
    for name, value in provider.headers:
        if fit(value) and name not in _TRANSPORT:
            own.setdefault(name, []).append(value)
    return own


def answer_headers(headers: Headers, provider: Provider) -> Headers:
    """The headers of a provider's answer as a client may see them, with `responseHeaders` in place of its own.

    Retry-After is capped: an official SDK sleeps for as long as it says. As a date it is dropped; the proxy knows it.
    """
    dropped = _named_by_connection(headers)
    ours = {name for name, _ in provider.response_headers}
    passed: list[tuple[str, str]] = []
    for name, value in headers:
        if name in dropped or name in ours or _never(name, NEVER_ANSWERED, NEVER_ANSWERED_PREFIXES) or not fit(value):
            continue
        if name in ("retry-after", "retry-after-ms"):
            capped = _capped(value, MAX_RETRY_AFTER_SENT * (1 if name == "retry-after" else 1000))
            if capped is None:
                continue
            value = capped
        passed.append((name, value))
    passed.extend((name, value) for name, value in provider.response_headers if fit(value))
    return tuple(passed)


def fit(value: str) -> bool:
    """Whether a value may stand in a header: Latin-1 without control characters."""
    return _FIT.fullmatch(value) is not None


def _never(name: str, names: Collection[str], prefixes: tuple[str, ...]) -> bool:
    return name in names or name.startswith(prefixes)


def _named_by_connection(headers: Headers) -> frozenset[str]:
    named: set[str] = set()
    for name, value in headers:
        if name == "connection":
            named.update(word.strip().lower() for word in value.split(","))
    return frozenset(named)


def _capped(value: str, cap: int) -> str | None:
    try:
        wait = float(value)
    except ValueError:
        return None
    return value if 0 <= wait <= cap else str(cap) if wait > cap else None
