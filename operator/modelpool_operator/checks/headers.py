"""Which header names a user may set, forward or add, and which ones belong to the transport or to us. Lower case."""

FRAMING = frozenset({"host", "connection", "content-length", "transfer-encoding"})
"""Never the header of a key."""

HOP_BY_HOP = frozenset(
    {
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
    }
)

BODY = frozenset({"accept-encoding", "content-encoding", "content-type"})
"""Decided by what is sent: a body of JSON, answered unencoded."""

TRACE = frozenset({"traceparent", "tracestate", "baggage"})
"""Decided by tracePropagation."""

IDENTITY = frozenset({"authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"})
"""The client's own: never passed to a provider (B42)."""

CREDENTIAL = IDENTITY | {"proxy-authorization"}
"""What stands in these is a secret, and belongs in a Secret."""

ROUTING = frozenset({"forwarded", "via", "x-real-ip"})

ANSWER = frozenset({"set-cookie", "server", "alt-svc", "date", "retry-after", "x-should-retry"})
"""Ours to decide in an answer."""

_TRANSPORT = FRAMING | HOP_BY_HOP

KNOWN = _TRANSPORT | BODY | TRACE | IDENTITY | ROUTING | ANSWER
BEGINNINGS = ("x-modelpool-", "x-forwarded-")
"""Every name that some rule below takes, whole or by its beginning; the CRDs ask those rules about each."""


def why_not_sent(name: str) -> str | None:
    """Why a header may not be set on requests; None where it may."""
    return _why(
        name,
        {_TRANSPORT: "belongs to the connection", BODY: "belongs to the body", TRACE: "is set by tracePropagation"},
    )


def why_not_forwarded(name: str) -> str | None:
    """Why a client's header may not pass to a provider (B42); None where it may."""
    if name.lower().startswith("x-forwarded-") or name.lower() in ROUTING:
        return "tells of the way here and never passes"
    reasons = {
        _TRANSPORT: "belongs to the connection",
        BODY: "belongs to the body",
        TRACE: "is decided by tracePropagation",
    }
    return _why(name, {**reasons, IDENTITY: "is the client's own and never passes"})


def why_not_added(name: str) -> str | None:
    """Why a header may not be added to answers; None where it may."""
    return _why(
        name,
        {_TRANSPORT: "belongs to the connection", BODY: "belongs to the body", ANSWER: "is not for a Provider to say"},
    )


def _why(name: str, reasons: dict[frozenset[str], str]) -> str | None:
    if name.lower().startswith("x-modelpool-"):
        return "is ours"
    return next((reason for names, reason in reasons.items() if name.lower() in names), None)
