"""What a client saw, in few words that can be compared: `backup, 2 asks`, `502 upstream_error, 2 asks`.

`judge` is the table's law of truth: what looks like success must be some provider's whole answer to this very request.
"""

import json
from dataclasses import dataclass

from conformance.client import Got
from conformance.hearing import Heard, heard, who_said
from conformance.speech import Way

ON = "backup, 2 asks"
WELL = "primary, 1 ask"
BROKEN = "error event upstream_error, 1 ask"
STALLED = "error event upstream_timeout, 1 ask"


@dataclass(frozen=True, slots=True)
class Seen:
    """`words`: as told above. `wrong`: how it breaks the law, empty where it does not."""

    words: str
    wrong: str = ""
    who: str | None = None
    status: int | None = None
    text: str = ""


def judge(way: Way, ident: str, got: Got, *, partial: bool = False, alike: bool = False) -> Seen:
    """`partial`: an answer that lost a malformed event is whole enough (B28). `alike`: both targets say the same."""
    attempts = got.headers.get("x-modelpool-attempts")
    tries = "" if attempts is None else f", {attempts} ask{'' if attempts == '1' else 's'}"
    if got.end == "hang":
        return Seen(f"hang{tries}", f"nothing more came after {got.seconds:.1f} s", status=got.status)
    if got.status is None:
        return Seen(f"no answer, {got.end}", "the connection ended without an answer")
    if got.status != 200:
        code, wrong = _error(got)
        wrong = wrong or _advice(got)
        return Seen(f"{got.status} {code}{tries}", wrong, status=got.status)
    said = heard(way, got)
    if said.broken is not None and got.end in ("fin", "rst") and not way.stream:
        return Seen(f"cut ({got.end}){tries}", status=200)  # as its framing tells: no client takes it for an answer
    if said.broken is not None:
        return Seen(f"garbage{tries}", said.broken, status=200)
    if said.error is not None:
        return Seen(f"error event {said.error}{tries}", _lie(ident, got, said), status=200, text=said.text)
    if got.end != "complete" and not said.terminal:
        wrong = "a stream ended without an error event" if way.stream else ""
        return Seen(f"cut ({got.end}){tries}", wrong, status=200, text=said.text)
    who = who_said(said.text, ident)
    if partial and who is None and _begins(said.text, ident):
        who = said.text.split(" ", 1)[0]
    if who is None:
        return Seen(f"TRUNCATED{tries}", f"half an answer looks whole: {len(said.text)} characters", status=200)
    return Seen(f"{who}{tries}", _flaw(who, got, said, alike=alike), who, 200, said.text)


def _advice(got: Got) -> str:
    """What an error tells an SDK to do next (B12, B42)."""
    wait = got.headers.get("retry-after")
    if got.status == 429 and not (wait and wait.isdecimal() and 1 <= int(wait) <= 60):
        return f"a 429 with a Retry-After of {wait}"
    if got.status == 503 and wait:
        return ""
    spent = int(got.headers.get("x-modelpool-attempts", "0")) > 0 and (got.status or 0) >= 429
    if spent and got.headers.get("x-should-retry") != "false":
        return "the attempts are spent, and the SDK is not told so"
    return ""


def _lie(ident: str, got: Got, said: Heard) -> str:
    """How an answer that ended with an error event could be taken for more than it is."""
    if said.terminal or got.end == "complete":
        return "an end follows the error"
    if said.text and not _begins(said.text, ident):
        return "the text before the error is not of this request"
    return ""


def _flaw(who: str, got: Got, said: Heard, *, alike: bool) -> str:
    """What is wrong about a whole answer."""
    if not alike and got.headers.get("x-modelpool-target", who).split("/")[-1] != who:
        return f"it says {got.headers['x-modelpool-target']} answered"
    if not said.terminal:
        return "no end reached the client"
    if said.after_end:
        return "something came after the end"
    if said.roles > 1:
        return "two beginnings in one stream"
    return f"the whole answer ended by {got.end}" if got.end != "complete" else ""


def _begins(text: str, ident: str) -> bool:
    return text.split(":", 1)[0] in (f"{who} to {ident}" for who in ("primary", "backup", "spare"))


def _error(got: Got) -> tuple[str, str]:
    if got.end != "complete":
        return "?", f"an error whose body ended by {got.end}"
    try:
        error = json.loads(got.body)["error"]
        return str(error["code"] or error.get("type")), "" if error["message"] else "an error without words"
    except (ValueError, LookupError, TypeError):
        return "as it came", ""
