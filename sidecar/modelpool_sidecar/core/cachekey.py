"""Which requests are the same one: the key of the exact cache (B53).

Theory. Two requests are the same where nothing that a provider could answer differently to differs between them, and
where they come from the same caller to the same pool under the same rules. Of the body that is its JSON value: order of
keys, white space and escapes say nothing. Where readers of JSON disagree we do not guess: a body in which a key
stands twice, or a number that no double holds, has no key and is never cached. Numbers are the same where they are
written alike or are the same double; 1 and 1.0 are not, for some servers take only the first. Whether the answer comes
as a stream is left out, so that one is replayed as the other; of the Responses API it is not (`openai_replay`).
"""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from modelpool_sidecar.core.allowance import Asker
from modelpool_sidecar.core.catalogue import RESPONSES
from modelpool_sidecar.core.request import Headers, Request
from modelpool_sidecar.core.snapshot import Pool, Target

LEFT_OUT = ("stream", "stream_options")
"""How the answer comes, not what it says."""
USAGE = "include_usage"
"""Of the options of a stream the one that `openai_replay` can change; with another one a stream has other bytes."""
HEADERS = frozenset({"openai-beta"})
"""Of those that pass to every provider the ones that change an answer; what `forwardHeaders` names counts too."""


class _NoKeyError(ValueError):
    """Something of which readers of JSON think differently."""


def document(body: bytes) -> dict[str, Any] | None:
    """The JSON object of a body, None where it is not clear what it says."""
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_float=_number, parse_constant=_constant
        )
    except (ValueError, RecursionError):  # UnicodeDecodeError and what has too many digits are ValueErrors too
        return None
    return found if isinstance(found, dict) else None


def canonical(asked: dict[str, Any]) -> bytes:
    """The one way to write it."""
    return json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def key(pool: Pool, request: Request, asked: dict[str, Any], asker: Asker, targets: Iterable[Target]) -> bytes | None:
    """The key of a request whose body says `asked`, None where it is nested too deeply to be written down; `targets`:
    those that may answer it."""
    caller, inner = asker.caller, sorted(asker.names.items())  # those behind the pool know them by other names
    options = asked.get("stream_options")
    asked = {name: value for name, value in asked.items() if name not in LEFT_OUT}
    if request.stream and isinstance(options, dict) and options.keys() - {USAGE}:
        asked["stream_options"] = {name: value for name, value in options.items() if name != USAGE}
    asked["model"] = request.model  # x-modelpool-model wins
    candidates = list(targets)
    told = {name for target in candidates for name in target.provider.forward_headers} | HEADERS
    said = sorted((name, value) for name, value in request.headers if name in told)
    form = "stream" if request.operation is RESPONSES and request.stream else ""
    parts = (
        *(pool.name, pool.digest, "nobody" if caller is None else f"caller {caller}"),
        *(request.operation.route, request.path or "", request.query, form),
        *(_list(target.name for target in candidates), _list(f"{name}:{value}" for name, value in said)),
        _list(f"{name}:{value}" for name, value in inner),
    )
    try:
        body = canonical(asked)
    except RecursionError:
        return None
    digest = hashlib.sha256()
    for part in (*(part.encode("utf-8", "surrogateescape") for part in parts), body):
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()


def no_cache(headers: Headers) -> bool:
    """Whether the client wants a new answer, which may be kept."""
    return "no-cache" in _directives(headers)


def no_store(headers: Headers) -> bool:
    """Whether the client wants nothing of it kept; then nothing is looked up either."""
    return "no-store" in _directives(headers)


def _directives(headers: Headers) -> set[str]:
    said = (value for name, value in headers if name == "cache-control")
    return {word.strip().lower() for value in said for word in value.split(",")}


def _list(words: Iterable[str]) -> str:
    return json.dumps(list(words))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NoKeyError("a key stands twice")
    return found


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _NoKeyError("a number is beyond a double")
    return number


def _constant(text: str) -> float:
    raise _NoKeyError(text)
