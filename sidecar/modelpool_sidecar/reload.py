"""What is mounted, and whether it has changed: the config, the keys, the number of sidecars, read as one.

A mounted volume is swapped by the kubelet in one step: its files are links into `..data`, which is itself a link to
the current version's directory. Polling that link costs microseconds, and everything is read from the one directory it
names, so that a config never meets the keys of another version (B50). A directory of plain files is watched by the
time, size and identity of each file.

What cannot be used holds up nothing else: a reading has the keys and the number of sidecars also where its config is
refused, so that a rotated key never waits for a valid config (B46, B47, B52); the problem is told beside them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from modelpool_config import codec
from modelpool_config.codec import InvalidConfigError
from modelpool_config.models import Config
from modelpool_config.mount import SIDECARS_FILE
from modelpool_sidecar import configfiles, credentials

_LINK = "..data"
_SWAPS = 5
"""A volume that is swapped this often while it is read once is not a kubelet's."""
_SETTLE_SECONDS = 1.0
"""A plain file may change twice within one tick of the file system's clock: it is read once more this much later."""

_Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is not used, and why. `content`: a digest of the config's bytes: other bytes are another problem (B47)."""

    what: Literal["config", "sidecars", "credentials"]
    reason: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """One consistent reading. `config` None: it cannot be used, and `problems` has the reason.

    `digest` names the config alone; keys and the number of sidecars are outside it. What cannot be read of these is as
    it was before: 1 sidecar and no keys where nothing was.
    """

    config: Config | None
    digest: str
    credentials: Mapping[str, str] = field(repr=False)
    sidecars: int
    problems: tuple[Problem, ...] = ()


_NOTHING = Reading(None, "", {}, 1)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What became of some bytes: a config with its digest, or the reason why not."""

    content: str
    config: Config | None = None
    digest: str = ""
    reason: str = ""


class Mount:
    """One directory, polled. Keeps what it returned last, to return only what differs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: _Signature | None = None
        self._again_at: float | None = None
        self._last = _NOTHING
        self._decoded = _Decoded("")
        self._unreadable = False  # of the last look: something may be there that could not be read

    def __repr__(self) -> str:
        return f"<Mount {self._directory}: {self._last.digest[7:19] or 'nothing valid'}>"

    def poll(self, now: float) -> Reading | None:
        """What is there, if it is not what was there; `now` in monotonic seconds.

        What could not be read is tried again with every poll: nothing tells when it can.
        """
        signature = self._signature()
        if signature == self._seen and (self._again_at is None or now < self._again_at):
            return None
        settling = signature != self._seen and signature[0] != _LINK
        self._seen, self._again_at = signature, now + _SETTLE_SECONDS if settling else None
        reading = self._read()
        if self._unreadable:
            self._again_at = now
        if reading == self._last:
            return None
        self._last = reading
        return reading

    def _signature(self) -> _Signature:
        try:
            return (_LINK, str((self._directory / _LINK).readlink()))
        except OSError:
            return ("files", *_stats(self._directory))

    def _read(self) -> Reading:
        """Everything of one version; again where the volume was swapped meanwhile, and the old version removed."""
        for _ in range(_SWAPS):
            before = self._version()
            reading = self._look(self._directory / before)
            if self._version() == before:
                return reading
        self._unreadable = True
        restless = Problem("config", "the mounted volume changes faster than it can be read")
        return Reading(None, "", self._last.credentials, self._last.sidecars, (restless,))

    def _version(self) -> str:
        """The directory to read from, relative to the mount."""
        try:
            return str((self._directory / _LINK).readlink())
        except OSError:
            return "."

    def _look(self, directory: Path) -> Reading:
        self._unreadable = False
        problems: list[Problem] = []
        config = self._config(directory)
        if config.config is None:
            problems.append(Problem("config", config.reason, config.content))
        sidecars = self._sidecars(directory / SIDECARS_FILE, problems)
        keys = self._keys(directory, problems)
        return Reading(config.config, config.digest, keys, sidecars, tuple(problems))

    def _config(self, directory: Path) -> _Decoded:
        """All config files as one. Equal bytes are not decoded again."""
        try:
            files = configfiles.read(directory)
        except OSError as error:
            self._unreadable = True
            name = "the directory" if error.filename == str(directory) else f"{Path(error.filename).name}: it"
            return _Decoded("", reason=f"{name} cannot be read: {error.strerror}")
        if not files:
            return _Decoded("", reason="there is no config.json or config.json.gz")
        content = configfiles.digest(files)
        if content != self._decoded.content:
            self._decoded = _decode(content, files)
        return self._decoded

    def _sidecars(self, path: Path, problems: list[Problem]) -> int:
        """The number of sidecars in the namespace, 1 where nobody tells."""
        try:
            number = json.loads(path.read_bytes())
        except FileNotFoundError:
            return 1
        except OSError as error:
            self._unreadable = True
            problems.append(Problem("sidecars", f"{SIDECARS_FILE}: it cannot be read: {error.strerror}"))
            return self._last.sidecars
        except (ValueError, RecursionError):
            number = None
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            problems.append(Problem("sidecars", f"{SIDECARS_FILE}: it must hold the number of sidecars, like 3"))
            return self._last.sidecars
        return max(1, number)

    def _keys(self, directory: Path, problems: list[Problem]) -> Mapping[str, str]:
        try:
            found = credentials.read(directory)
        except OSError as error:
            self._unreadable = True
            problems.append(
                Problem("credentials", f"the keys stay as they are: they cannot be listed: {error.strerror}")
            )
            return self._last.credentials
        self._unreadable = self._unreadable or found.unreadable
        for name, reason in found.left_out.items():
            problems.append(Problem("credentials", f"credential {name} is left out: {reason}"))
        return found.values


def _stats(directory: Path) -> list[tuple[str, int, int, int]]:
    found = []
    try:
        paths = [*configfiles.find(directory), directory / SIDECARS_FILE, *credentials.files(directory).values()]
    except OSError:
        return []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return found


def _decode(content: str, files: Sequence[tuple[str, bytes]]) -> _Decoded:
    try:
        config = configfiles.decode(files)
    except InvalidConfigError as error:
        return _Decoded(content, reason=str(error))
    return _Decoded(content, config, codec.config_digest(config))
