"""How a config becomes bytes, how bytes become a config again, and what its digests are.

Canonical bytes: JSON with sorted keys, no white space, UTF-8 unescaped, every field present. Equal configs have equal
bytes on every machine, so the SHA-256 of the bytes names the config. Decoding is strict about what this version knows
and lenient about what a later minor version added (B52).
"""

import gzip
import hashlib
import json
import zlib
from typing import Any

from pydantic import BaseModel, ValidationError

from modelpool_config.models import FEATURES, SCHEMA_MAJOR, SCHEMA_MINOR, ClosedPool, Config, Pool, Provider

MAX_DECODED_BYTES = 64 * 1024 * 1024
"""A gzip bomb ends here: a ConfigMap holds 1 MiB, which is at most about this much JSON of any real shape."""

_LONGEST_VERSION = 32
_LONGEST_SENTENCE = 200

_GZIP_MAGIC = b"\x1f\x8b"


class InvalidConfigError(ValueError):
    """The bytes are not a config that this reader may use; the message says where and why."""


def encode(config: Config) -> bytes:
    """The canonical bytes of a config."""
    return _canonical(_plain(config))


def compress(data: bytes) -> bytes:
    """Gzip without a time stamp: equal bytes stay equal."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def decode(data: bytes, *, features: frozenset[str] = FEATURES) -> Config:
    """The config in plain or gzipped bytes.

    A pool or provider that `requires` what is not in `features` is not read at all: the pool is closed with
    `sidecar_too_old`, alone. Raises InvalidConfigError for all that must not replace the last good config: not JSON,
    empty, an unknown major version, a wrong type, a field that this version should know and does not, a reference to a
    provider that is not there.
    """
    raw = _parse(data)
    minor = _minor(raw)
    providers, missing = _readable_providers(raw, features)
    pools, closed = _readable_pools(raw, features, missing)
    try:
        whole = json.dumps({**raw, "providers": providers, "pools": pools, "closed": closed})
        config = Config.model_validate_json(whole, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidConfigError(f"{where}: {first['msg']}") from error
    if minor <= SCHEMA_MINOR:
        _refuse_unknown(config, {**raw, "providers": providers, "pools": pools, "closed": closed}, "")
    _check_references(config)
    return config


def digest(data: bytes) -> str:
    """`sha256:` and the hex of the canonical bytes (uncompressed)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def config_digest(config: Config) -> str:
    """The digest of everything in the namespace."""
    return digest(encode(config))


def pool_digest(config: Config, pool: Pool | ClosedPool) -> str:
    """The digest of one pool's compiled section with its providers: what `status.config.digest` shows.

    The pools that it may go on to, and those behind its targets, belong to it.
    """
    others = _reached(config, pool)
    used = {target.provider for each in (pool, *others) if isinstance(each, Pool) for target in each.targets}
    section: dict[str, Any] = {
        "pool": _plain(pool),
        "providers": [_plain(provider) for provider in config.providers if provider.name in used],
    }
    if others:
        section["pools"] = [_plain(each) for each in others]
    return digest(_canonical(section))


def _reached(config: Config, pool: Pool | ClosedPool) -> list[Pool | ClosedPool]:
    """The pools that a request may go on to from this one, by name."""
    if not _onward(pool):
        return []
    known: dict[str, Pool | ClosedPool] = {each.name: each for each in config.pools}
    known.update((each.name, each) for each in config.closed)
    found: dict[str, Pool | ClosedPool] = {pool.name: pool}
    waiting: list[Pool | ClosedPool] = [pool]
    for here in waiting:  # it grows as they are found
        for name in _onward(here):
            if name not in found:
                found[name] = known[name]
                waiting.append(known[name])
    return [found[name] for name in sorted(found) if name != pool.name]


def _onward(pool: Pool | ClosedPool) -> list[str]:
    if not isinstance(pool, Pool):
        return []
    return [name for each in pool.fallback.pools for name in each.pools] + [each.pool for each in pool.pool_targets]


def _plain(model: BaseModel) -> Any:
    return model.model_dump(mode="json", by_alias=True)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _parse(data: bytes) -> dict[str, Any]:
    if data.startswith(_GZIP_MAGIC):
        data = _inflate(data)
    if not data.strip():
        raise InvalidConfigError("the config is empty")
    try:
        raw = json.loads(data)
    except RecursionError as error:
        raise InvalidConfigError("the config is nested too deeply") from error
    except ValueError as error:
        raise InvalidConfigError(f"the config is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidConfigError(f"the config must be a JSON object, not {type(raw).__name__}")
    return raw


def _inflate(data: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    try:
        out = decoder.decompress(data, MAX_DECODED_BYTES)
    except zlib.error as error:
        raise InvalidConfigError(f"the config is not gzip: {error}") from error
    if decoder.unconsumed_tail:
        raise InvalidConfigError(f"the config is larger than {MAX_DECODED_BYTES} bytes")
    if not decoder.eof:
        raise InvalidConfigError("the gzipped config is cut short")
    return out


def _minor(raw: dict[str, Any]) -> int:
    version = raw.get("schemaVersion")
    if isinstance(version, str) and len(version) > _LONGEST_VERSION:
        raise InvalidConfigError(f"schemaVersion must be like 1.0, not {len(version)} characters")
    parts = version.split(".") if isinstance(version, str) else []
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise InvalidConfigError(f"schemaVersion must be like 1.0, not {version!r}"[:_LONGEST_SENTENCE])
    if int(parts[0]) != SCHEMA_MAJOR:
        raise InvalidConfigError(f"schemaVersion {version} is not readable here: this sidecar reads {SCHEMA_MAJOR}.x")
    return int(parts[1])


def _readable_providers(raw: dict[str, Any], features: frozenset[str]) -> tuple[list[Any], dict[str, list[str]]]:
    """The providers to read, and for each of the others by name what it requires beyond `features`."""
    readable, missing = [], {}
    for provider in _list(raw, "providers"):
        lacking = _lacking(provider, features)
        if lacking:
            missing[str(provider.get("name"))] = lacking
        else:
            readable.append(provider)
    return readable, missing


def _readable_pools(
    raw: dict[str, Any], features: frozenset[str], missing: dict[str, list[str]]
) -> tuple[list[Any], list[Any]]:
    readable, closed = [], _list(raw, "closed")
    for pool in _list(raw, "pools"):
        lacking = set(_lacking(pool, features))
        for target in _list(pool, "targets") if isinstance(pool, dict) else []:
            lacking.update(missing.get(str(target.get("provider")), ()) if isinstance(target, dict) else ())
        if lacking:
            words = ", ".join(sorted(lacking))
            message = f"this sidecar is too old for the pool: it lacks {words}; restart the pod to get a newer one"
            kept = {name: pool.get(name) for name in ("name", "models", "callers")}
            closed.append({**kept, "code": "sidecar_too_old", "message": message})
        else:
            readable.append(pool)
    return readable, closed


def _list(raw: dict[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    if not isinstance(value, list):
        raise InvalidConfigError(f"{key} must be a list")
    return list(value)


def _lacking(raw: object, features: frozenset[str]) -> list[str]:
    requires = raw.get("requires") if isinstance(raw, dict) else None
    return (
        [str(name) for name in requires if isinstance(name, str) and name not in features]
        if isinstance(requires, list)
        else []
    )


def _refuse_unknown(model: BaseModel, raw: dict[str, Any], path: str) -> None:
    known = {field.alias or name for name, field in type(model).model_fields.items()}
    for key in raw:
        if key not in known:
            raise InvalidConfigError(f"{path}{key} is not a field of schema {SCHEMA_MAJOR}.{SCHEMA_MINOR}")
    for name, field in type(model).model_fields.items():
        value, wire = getattr(model, name), field.alias or name
        if wire not in raw:  # its default counts: an older writer
            continue
        if isinstance(value, BaseModel):
            _refuse_unknown(value, raw[wire], f"{path}{wire}.")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    _refuse_unknown(item, raw[wire][index], f"{path}{wire}[{index}].")


def _check_references(config: Config) -> None:
    _unique("providers", [provider.name for provider in config.providers])
    _unique("pools", [pool.name for pool in config.pools] + [pool.name for pool in config.closed])
    providers: dict[str, Provider] = {provider.name: provider for provider in config.providers}
    pools = {pool.name for pool in config.pools} | {pool.name for pool in config.closed}
    for pool in config.pools:
        for onward in pool.fallback.pools:
            for name in onward.pools:
                if name not in pools:
                    raise InvalidConfigError(f"pool {pool.name}, fallback {onward.when}: no pool {name!r}")
        _unique(
            f"targets of pool {pool.name}",
            [target.name for target in pool.targets] + [each.name for each in pool.pool_targets],
        )
        if not pool.targets and not pool.pool_targets:
            raise InvalidConfigError(f"pool {pool.name} has no target")
        for inner in pool.pool_targets:
            if inner.pool not in pools:
                raise InvalidConfigError(f"pool {pool.name}, target {inner.name}: no pool {inner.pool!r}")
        for target in pool.targets:
            if target.provider not in providers:
                raise InvalidConfigError(f"pool {pool.name}, target {target.name}: no provider {target.provider!r}")
    _refuse_circles(config)


def _refuse_circles(config: Config) -> None:
    """A pool behind its own targets would have no end (B7)."""
    behind = {pool.name: {target.pool for target in pool.pool_targets} for pool in config.pools}
    ending: set[str] = {pool.name for pool in config.closed}
    while behind:
        ends = {name for name, inner in behind.items() if inner <= ending}
        if not ends:
            raise InvalidConfigError(f"pools lead to each other in a circle: {', '.join(sorted(behind))}")
        ending |= ends
        behind = {name: inner for name, inner in behind.items() if name not in ends}


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InvalidConfigError(f"{what}: the name {name!r} stands there twice")
