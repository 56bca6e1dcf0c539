"""The W3C trace context: read from a client's headers, written into an attempt's.

https://www.w3.org/TR/trace-context/ : version 00 is written; a higher version is read as far as 00 goes. Baggage is
never touched: it carries what an application chose to tell its own services, not its providers.
"""

import re
from dataclasses import dataclass

from modelpool_sidecar.ports import Headers

SAMPLED = 0x01
_KNOWN_FLAGS = 0x03
"""Sampled, and the trace id is random (level 2); others are not passed on, as the recommendation asks."""
MAX_STATE = 512
"""Characters of tracestate that every participant should pass on; longer ones are dropped whole."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x20-\x7e\t]*")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a span stands: its trace, itself, whether the trace is sampled, and what vendors attached."""

    trace_id: int
    span_id: int
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the one who sent it records the trace."""
        return bool(self.flags & SAMPLED)

    @property
    def trace_hex(self) -> str:
        """The trace id as logs and other tools write it."""
        return f"{self.trace_id:032x}"


def extract(headers: Headers) -> TraceContext | None:
    """The client's context; None where there is none, several, or a malformed one (then a new trace begins)."""
    parents = [value for name, value in headers if name == "traceparent"]
    if len(parents) != 1:
        return None
    match = _PARENT.fullmatch(parents[0].strip(" \t"))
    if match is None:
        return None
    version, trace_id, span_id, flags = match[1], int(match[2], 16), int(match[3], 16), int(match[4], 16)
    if version == "ff" or (version == "00" and match[5] is not None) or not trace_id or not span_id:
        return None
    state = ",".join(value for name, value in headers if name == "tracestate" and value)
    if len(state) > MAX_STATE or _STATE.fullmatch(state) is None:
        state = ""
    return TraceContext(trace_id, span_id, flags & _KNOWN_FLAGS, state)


def inject(context: TraceContext | None) -> Headers:
    """The headers that carry a context; none where there is no context."""
    if context is None:
        return ()
    parent = ("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.flags:02x}")
    return (parent, ("tracestate", context.state)) if context.state else (parent,)
