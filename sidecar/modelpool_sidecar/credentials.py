"""The mounted keys: what each is now, what it was before a rotation, and a digest that may be shown.

A value never stands in a repr, a log line or an error: names and digests do.
"""

import errno
import hashlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelpool_config.mount import CREDENTIAL_PREFIX, CREDENTIALS_FOLDER

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


@dataclass(frozen=True, slots=True)
class Found:
    """What a mount holds: the usable values by credential, and of each other file why it is left out.

    `unreadable`: one of them may hold a value all the same, to be looked for again.
    """

    values: Mapping[str, str] = field(repr=False)
    left_out: Mapping[str, str]
    unreadable: bool


def files(mount: Path) -> dict[str, Path]:
    """Where each credential lies: `credential.<name>` in the mount, as the projected Secret has them, or
    `credentials/<name>`; the former counts where both are there. OSError where they cannot be listed."""
    projected = {path.name.removeprefix(CREDENTIAL_PREFIX): path for path in _listed(mount, CREDENTIAL_PREFIX)}
    found = {path.name: path for path in _listed(mount / CREDENTIALS_FOLDER)} | projected
    return {name: found[name] for name in sorted(found) if name}


def read(mount: Path) -> Found:
    """The values in the files of a mount; none where there is no directory. OSError where they cannot be listed.

    One trailing newline is not part of a value. A file that cannot be read, or cannot be a header's value (empty, not
    UTF-8, control characters), is left out alone: its targets are unavailable, the others go on.
    """
    values: dict[str, str] = {}
    left_out: dict[str, str] = {}
    unreadable = False
    for name, path in files(mount).items():
        try:
            value = _value(_read(path))
        except OSError as error:
            unreadable, left_out[name] = True, f"it cannot be read: {error.strerror}"
            continue
        if value is None:
            left_out[name] = "it is empty, not UTF-8, or has control characters"
        else:
            values[name] = value
    return Found(values, left_out, unreadable)


def _listed(directory: Path, prefix: str = "") -> list[Path]:
    """The files of a directory with this prefix, hidden ones left out."""
    try:
        return [path for path in directory.iterdir() if path.name.startswith(prefix) and path.name[0] != "."]
    except FileNotFoundError:
        return []


def _read(path: Path) -> bytes:
    """OSError too for what is no file: a pipe might never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no file")
    return path.read_bytes()


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
