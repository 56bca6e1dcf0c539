"""The config files of one directory, as one config: which they are, what is in them, whether they fit together."""

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from modelpool_config import codec
from modelpool_config.codec import InvalidConfigError
from modelpool_config.models import ClosedPool, Config, Pool, Provider

_NAMES = ("config*.json", "config*.json.gz")


def find(directory: Path) -> list[Path]:
    """Their paths, sorted; none where there is no directory. OSError where it cannot be listed."""
    try:
        return sorted(path for path in directory.iterdir() if any(fnmatch(path.name, name) for name in _NAMES))
    except FileNotFoundError:
        return []


def read(directory: Path) -> list[tuple[str, bytes]]:
    """Name and bytes of each. OSError, with the path, where one cannot be read."""
    files = []
    for path in find(directory):
        try:
            files.append((path.name, path.read_bytes()))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return files


def digest(files: Sequence[tuple[str, bytes]]) -> str:
    """Of names and bytes as they are: other bytes have another one, also where they say the same."""
    whole = hashlib.sha256()
    for name, data in files:
        whole.update(b"%s\0%d\0" % (name.encode("utf-8", "surrogateescape"), len(data)))
        whole.update(data)
    return whole.hexdigest()


def decode(files: Sequence[tuple[str, bytes]]) -> Config:
    """The config in at least one file. InvalidConfigError, with the file's name."""
    configs = []
    for name, data in files:
        try:
            configs.append((name, codec.decode(data)))
        except InvalidConfigError as error:
            raise InvalidConfigError(f"{name}: {error}") from error
    return merge(configs)


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
