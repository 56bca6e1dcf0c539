"""What is mounted, and whether it has changed: the config, the keys, the number of sidecars, read as one.

A mounted volume is swapped by the kubelet in one step: its files are links into `..data`, which is itself a link to
the current version's directory. Polling that link costs microseconds, and everything is read from the one directory it
names, so that a config never meets the keys of another version (B50). A directory of plain files is watched by the
time, size and identity of each file. What is invalid is told once and replaces nothing (B47): the last good one stays,
because only its owner, who got it from here, can drop it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelpool_config import codec
from modelpool_config.codec import InvalidConfigError
from modelpool_config.models import ClosedPool, Config, Pool, Provider
from modelpool_sidecar import credentials

_LINK = "..data"
_CONFIGS = ("config*.json", "config*.json.gz")
_SIDECARS = "sidecars.json"
_CREDENTIALS = "credentials"
_SWAPS = 5
"""A volume that is swapped this often while it is read once is not a kubelet's."""
_SETTLE_SECONDS = 1.0
"""A plain file may change twice within one tick of the file system's clock: it is read once more this much later."""

_Signature = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """One consistent reading. `digest` names the config alone; keys and the number of sidecars are outside it."""

    config: Config
    credentials: Mapping[str, str] = field(repr=False)
    sidecars: int
    digest: str


class Mount:
    """One directory, polled. Keeps what it returned last, to return only what differs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: _Signature | None = None
        self._again_at: float | None = None
        self._last: Loaded | None = None
        self._last_error: str | None = None

    def __repr__(self) -> str:
        return f"<Mount {self._directory}: {self._last.digest[7:19] if self._last else 'nothing valid yet'}>"

    def poll(self, now: float) -> Loaded | None:
        """What is there, if it is not what was there; `now` in monotonic seconds.

        InvalidConfigError where the config is absent, empty or not usable; once for each reason, not at each poll.
        """
        signature = self._signature()
        if signature == self._seen and (self._again_at is None or now < self._again_at):
            return None
        self._again_at = now + _SETTLE_SECONDS if signature != self._seen and signature[0] != _LINK else None
        self._seen = signature
        try:
            loaded = self._read()
        except (InvalidConfigError, OSError) as error:
            reason = str(error) if isinstance(error, InvalidConfigError) else f"it cannot be read: {error.strerror}"
            if reason == self._last_error:
                return None
            self._last_error = reason
            raise InvalidConfigError(reason) from error
        self._last_error = None
        if loaded == self._last:
            return None
        self._last = loaded
        return loaded

    def _signature(self) -> _Signature:
        try:
            return (_LINK, str((self._directory / _LINK).readlink()))
        except OSError:
            return ("files", *_stats(self._directory))

    def _read(self) -> Loaded:
        """Everything of one version; again where the volume was swapped meanwhile, and the old version removed."""
        for _ in range(_SWAPS):
            before = self._version()
            try:
                loaded = _load(self._directory / before)
            except (InvalidConfigError, OSError):
                if self._version() == before:
                    raise
            else:
                if self._version() == before:
                    return loaded
        raise InvalidConfigError("the mounted volume changes faster than it can be read")

    def _version(self) -> str:
        """The directory to read from, relative to the mount."""
        try:
            return str((self._directory / _LINK).readlink())
        except OSError:
            return "."


def _stats(directory: Path) -> list[tuple[str, int, int, int]]:
    found = []
    for path in [*_config_files(directory), directory / _SIDECARS, *sorted((directory / _CREDENTIALS).glob("*"))]:
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return found


def _config_files(directory: Path) -> list[Path]:
    return sorted(path for pattern in _CONFIGS for path in directory.glob(pattern))


def _load(directory: Path) -> Loaded:
    files = _config_files(directory)
    if not files:
        raise InvalidConfigError("there is no config.json or config.json.gz")
    config = merge([(path.name, _decoded(path)) for path in files])
    return Loaded(
        config=config,
        credentials=credentials.read_directory(directory / _CREDENTIALS),
        sidecars=_sidecars(directory / _SIDECARS),
        digest=codec.config_digest(config),
    )


def _decoded(path: Path) -> Config:
    try:
        return codec.decode(path.read_bytes())
    except InvalidConfigError as error:
        raise InvalidConfigError(f"{path.name}: {error}") from error


def merge(configs: Sequence[tuple[str, Config]]) -> Config:
    """One config of several files, each whole in itself: what stands in two of them must be the same in both."""
    (_, first), *others = configs
    if not others:
        return first
    for name, config in others:
        if (config.schema_version, config.namespace) != (first.schema_version, first.namespace):
            raise InvalidConfigError(f"{configs[0][0]} and {name} differ in schemaVersion or namespace")
    merged = first.model_copy(
        update={
            "providers": _union("provider", [(name, config.providers) for name, config in configs]),
            "pools": _union("pool", [(name, config.pools) for name, config in configs]),
            "closed": _union("closed pool", [(name, config.closed) for name, config in configs]),
        }
    )
    return codec.decode(codec.encode(merged))


def _union(
    what: str, lists: Sequence[tuple[str, Sequence[Provider | Pool | ClosedPool]]]
) -> tuple[Provider | Pool | ClosedPool, ...]:
    found: dict[str, tuple[str, Provider | Pool | ClosedPool]] = {}
    for file, items in lists:
        for item in items:
            where, other = found.setdefault(item.name, (file, item))
            if other != item:
                raise InvalidConfigError(f"{what} {item.name} stands in {where} and, differently, in {file}")
    return tuple(found[name][1] for name in sorted(found))


def _sidecars(path: Path) -> int:
    """The number of sidecars in the namespace, 1 where nobody tells."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return 1
    try:
        number = json.loads(raw)
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InvalidConfigError(f"{_SIDECARS}: it must hold the number of sidecars, like 3")
    return max(1, number)
