"""The mounted keys: what each is now, what it was before a rotation, and a digest that may be shown.

A value never stands in a repr, a log line or an error: names and digests do.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)

PREVIOUS_SECONDS = 600.0
"""How long after a rotation the key before it is still known: a provider may be slower to learn than we are (B17)."""
_DIGEST_LENGTH = 12


def digest(value: str) -> str:
    """What may be shown of a value: equal for equal ones, and nothing leads back."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGEST_LENGTH]


def digest_of_all(values: Mapping[str, str]) -> str:
    """One digest of all credentials with their names: what a sidecar reports about its keys."""
    return digest_of_digests({name: digest(value) for name, value in values.items()})


def digest_of_digests(digests: Mapping[str, str]) -> str:
    """The same, where only the digests are at hand."""
    lines = "\n".join(f"{name}={digests[name]}" for name in sorted(digests))
    return "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def read_directory(directory: Path) -> dict[str, str]:
    """The values in the files of a directory, by file name; none where there is no directory.

    One trailing newline is not part of a value. A file that cannot be a header's value (empty, not UTF-8, control
    characters) is left out with a log line: its targets are unavailable, the others go on.
    """
    if not directory.is_dir():
        return {}
    values: dict[str, str] = {}
    for path in sorted(directory.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        value = _value(path.read_bytes())
        if value is None:
            logger.warning("credential %s is left out: it is empty, not UTF-8, or has control characters", path.name)
        else:
            values[path.name] = value
    return values


def _value(raw: bytes) -> str | None:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    text = text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
    usable = text != "" and not any(ord(character) < 0x20 or ord(character) == 0x7F for character in text)
    return text if usable else None


@dataclass(frozen=True, slots=True)
class _Key:
    """`before`: the value that it replaced, at `since` (monotonic seconds)."""

    value: str = field(repr=False)
    digest: str
    before: str | None = field(default=None, repr=False)
    since: float = 0.0


class MountedCredentials:
    """The keys as last read; `replace` is called by whoever reads the mount."""

    def __init__(self, now: Callable[[], float], values: Mapping[str, str] | None = None) -> None:
        """`now`: monotonic seconds."""
        self._now = now
        self._keys: dict[str, _Key] = {}
        self.replace(values or {})

    def __repr__(self) -> str:
        return f"<MountedCredentials: {', '.join(sorted(self._keys)) or 'none'}>"

    @classmethod
    def from_directory(cls, directory: Path, now: Callable[[], float]) -> "MountedCredentials":
        """The keys in the files of a directory."""
        return cls(now, read_directory(directory))

    def replace(self, values: Mapping[str, str]) -> None:
        """These are the keys now; one that is not among them is gone, and so is its past."""
        now = self._now()
        keys: dict[str, _Key] = {}
        for name, value in values.items():
            old = self._keys.get(name)
            if old is not None and old.value == value:
                keys[name] = old
            else:
                keys[name] = _Key(value, digest(value), old.value if old else None, now)
        self._keys = keys

    def get(self, name: str) -> str | None:
        """The current value, None where it is not there."""
        key = self._keys.get(name)
        return None if key is None else key.value

    def previous(self, name: str) -> str | None:
        """The value before the last rotation, for `PREVIOUS_SECONDS` after it."""
        key = self._keys.get(name)
        if key is None or self._now() - key.since >= PREVIOUS_SECONDS:
            return None
        return key.before

    def digest(self, name: str) -> str | None:
        """The digest of the current value, None where it is not there."""
        key = self._keys.get(name)
        return None if key is None else key.digest

    def digests(self) -> dict[str, str]:
        """All names with their digests."""
        return {name: self._keys[name].digest for name in sorted(self._keys)}
