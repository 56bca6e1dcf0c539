"""Which target belongs to a key, so that equal requests meet the same warm cache: weighted rendezvous hashing.

Theory. Key and target together give a number in (0, 1) that looks like chance and is the same in every sidecar; the
target whose number, stretched by its weight, is highest has the key. A target that goes gives up its own keys and no
other moves; when it returns, exactly those come back to it. So that one busy key overloads nobody, a target that has
more than 1.25 times its part of what is in flight is passed over for the next one in the key's own order.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from modelpool_sidecar.core import hashing, jsonspan
from modelpool_sidecar.core.request import Request
from modelpool_sidecar.core.selection import C, Choice, Pulls
from modelpool_sidecar.core.snapshot import Strategy

OVERLOAD = 1.25
FEW = 4
"""So many in flight overload nobody, whatever the others have."""
PREFIX_CHARACTERS = 1024
"""How much of a prompt makes the key; the rest of a long conversation may differ."""
_MESSAGES = 16
"""So many are looked through for the user's first."""


def own(candidates: Pulls[C], key: int, in_flight: Callable[[C], int]) -> C:
    """The target of a key. There is at least one candidate."""
    running = {target.name: in_flight(target) for target, _ in candidates}
    room = OVERLOAD * (sum(running.values()) + 1) / sum(pull for _, pull in candidates)
    order = sorted(candidates, key=lambda each: _height(key, *each), reverse=True)
    free = (target for target, pull in order if running[target.name] < max(FEW, math.ceil(room * pull)))
    return next(free, order[0][0])


def lot(key: int, target: Choice) -> float:
    """A number in [0, 1) of this key at this target, apart from its order: a target that ramps up gets its keys back
    one by one, and keeps those that it got."""
    return hashing.mixed(hashing.inverted(key), target.seed) / hashing.BITS


def of(strategy: Strategy, request: Request, caller: str | None = None) -> int | None:
    """The key of a request; None where it has none: no such header, no text, a form."""
    if strategy.by == "Header":
        said = next((value for name, value in request.headers if name == strategy.header), None)
    elif strategy.by == "Caller":
        said = caller
    else:
        said = prompt(request.body) if request.form is None else ""
    return hashing.number(said) if said else None


def prompt(body: bytes) -> str:
    """The beginning of what is asked, up to the user's first message: it stays the same through a conversation."""
    try:
        document = jsonspan.decode(body)
    except jsonspan.NotJsonError:
        return ""
    parts = [_text(document.get("instructions"))]
    for entry in _entries(document):
        parts.append(_text(entry.get("content") if isinstance(entry, Mapping) else entry))
        if not isinstance(entry, Mapping) or entry.get("role") == "user" or len(parts) > _MESSAGES:
            break
    return "\n".join(part for part in parts if part)[:PREFIX_CHARACTERS]


def _entries(document: Mapping[str, Any]) -> list[Any]:
    """The messages, the items or the prompts, whichever this operation has."""
    found = next((document[member] for member in ("messages", "input", "prompt") if document.get(member)), None)
    return found if isinstance(found, list) else [found]


def _text(content: Any) -> str:
    """The text of a message; of its first part with text where it has parts."""
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        content = next((text for text in texts if isinstance(text, str)), None)
    return content[:PREFIX_CHARACTERS] if isinstance(content, str) else ""


def _height(key: int, target: Choice, pull: float) -> float:
    return pull / -math.log((hashing.mixed(key, target.seed) + 0.5) / (hashing.BITS + 1))
