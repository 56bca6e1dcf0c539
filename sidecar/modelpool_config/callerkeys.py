"""How the keys of callers travel from a Secret to the sidecars: as digests, so that no sidecar can give one away.

One credential file for each Secret of keys: a JSON object of the callers' names, each with the SHA-256 of its key in
base64url without padding. Equal keys make equal bytes. A digest without salt withstands guessing only where keys are
long and drawn at random: `SHORTEST` is what the operator takes.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping

SHORTEST = 16
"""Characters of a key at least: below it a digest could be guessed back."""
LONGEST = 1024
_DIGEST_BYTES = 32


def digest(key: str) -> bytes:
    """What is kept and compared of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def encode(callers: Mapping[str, bytes]) -> str:
    """The content of the file: names with the digests of their keys."""
    shown = {name: base64.urlsafe_b64encode(each).rstrip(b"=").decode() for name, each in callers.items()}
    return json.dumps(shown, sort_keys=True, separators=(",", ":"))


def decode(text: str) -> dict[str, bytes]:
    """The names with their digests again; what cannot be read is nobody's key."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, bytes] = {}
    for name, shown in raw.items() if isinstance(raw, dict) else ():
        each = _digest(shown)
        if name and each is not None:
            found[name] = each
    return found


def _digest(shown: object) -> bytes | None:
    try:
        each = base64.b64decode(f"{shown}=", altchars=b"-_", validate=True) if isinstance(shown, str) else b""
    except (binascii.Error, ValueError):
        return None
    return each if len(each) == _DIGEST_BYTES else None
