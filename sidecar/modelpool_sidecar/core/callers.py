"""Who shows a key: the caller of its name, found without ever comparing the key itself.

Theory. What is kept is the SHA-256 of each key. A key that is shown is hashed and its digest looked up: how long that
takes depends on the digest, which nobody can steer without knowing the key, so time tells nothing (constant time, B43).
An entry that got another key is known by the one before it for `PREVIOUS_SECONDS`, so that a rotation has no gap; an
entry that is gone is gone with all its keys, at once. What no config names is forgotten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from modelpool_config import callerkeys
from modelpool_sidecar.core.request import Headers

PREVIOUS_SECONDS = 600.0
"""How long a replaced key still opens: as long as a provider's previous key is remembered (B17)."""
_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Before:
    """The key that an entry had: `digest` is good until `until` (monotonic seconds)."""

    digest: bytes
    until: float


@dataclass(frozen=True, slots=True)
class _Keys:
    """One file of keys. `names`: by digest; `before`: by caller; `replaced`: by the digest of the key before."""

    text: str
    digests: Mapping[str, bytes]
    names: Mapping[bytes, str]
    before: Mapping[str, Before] = field(default_factory=dict)
    replaced: Mapping[bytes, str] = field(default_factory=dict)


class Register:
    """All keys of a namespace, by the file that they stand in. Changed by `replace` alone, with a config."""

    def __init__(self) -> None:
        self._files: dict[str, _Keys] = {}

    def __repr__(self) -> str:
        return f"<Register: {', '.join(f'{file}: {self.count(file)} callers' for file in self._files) or 'no keys'}>"

    def replace(self, texts: Mapping[str, str], now: float) -> None:
        """These are the files now."""
        self._files = {file: _read(text, self._files.get(file), now) for file, text in texts.items()}

    def has(self, file: str) -> bool:
        """Whether the file is there; without it nobody may."""
        return file in self._files

    def count(self, file: str) -> int:
        """How many callers have a key there."""
        keys = self._files.get(file)
        return 0 if keys is None else len(keys.digests)

    def names(self, file: str) -> Iterable[str]:
        """The callers that have a key there, sorted."""
        keys = self._files.get(file)
        return () if keys is None else keys.digests

    def who(self, file: str, digest: bytes | None, now: float) -> str | None:
        """The caller whose key has this digest, None where it is nobody's in this file."""
        keys = self._files.get(file)
        if keys is None or digest is None:
            return None
        name = keys.names.get(digest)
        if name is None and (name := keys.replaced.get(digest)) is not None and now >= keys.before[name].until:
            return None
        return name

    def knows(self, digest: bytes | None, now: float) -> bool:
        """Whether it is somebody's in any file."""
        return any(self.who(file, digest, now) is not None for file in self._files)


def shown(headers: Headers) -> bytes | None:
    """The digest of the key that a request shows, None where it shows none."""
    said = next((value for name, value in headers if name == "authorization"), "")
    key = said[len(_SCHEME) :].strip() if said[: len(_SCHEME)].lower() == _SCHEME else ""
    return callerkeys.digest(key) if key else None


def _read(text: str, old: _Keys | None, now: float) -> _Keys:
    if old is not None and old.text == text:
        return old
    digests = callerkeys.decode(text)
    names = {digest: name for name, digest in digests.items()}
    before = {} if old is None else _before(digests, old, now)
    replaced = {each.digest: name for name, each in before.items() if each.digest not in names}
    return _Keys(text, digests, names, before, replaced)


def _before(digests: Mapping[str, bytes], old: _Keys, now: float) -> dict[str, Before]:
    """What each entry that is still there had before; one that is gone leaves nothing."""
    found: dict[str, Before] = {}
    for name, digest in digests.items():
        had, past = old.digests.get(name), old.before.get(name)
        if had is not None and had != digest:
            found[name] = Before(had, now + PREVIOUS_SECONDS)
        elif past is not None and past.until > now:
            found[name] = past
    return found
