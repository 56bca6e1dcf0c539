"""The two objects that carry a namespace's config to its sidecars: their bytes, and what is read back from them.

Equal contents have equal bytes, so that nothing is written twice. Beside the config stands the accepted form of each
object, from which a refused edit falls back after a restart of the operator (B47), and the number of sidecars. Values
of credentials stand in the Secret alone.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from modelpool_config import codec, mount
from modelpool_operator import resources
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.provider import Provider
from modelpool_operator.checks import pool, provider
from modelpool_operator.conditions import moment
from modelpool_operator.forms import Accepted
from modelpool_operator.problems import Key

MAX_BYTES = 1024 * 1024
"""What the API server takes as the data of one ConfigMap or Secret."""
LIMIT_BYTES = MAX_BYTES - 32 * 1024
"""Where we stop: sidecars.json must always fit, and keys count too."""
WARN_BYTES = MAX_BYTES * 7 // 10
PLAIN_BYTES = 256 * 1024
"""A larger config is gzipped; a smaller one can be read with kubectl."""

MAX_ACCEPTED_BYTES = 16 * 1024 * 1024
"""How much JSON the accepted forms may be: whoever may write the ConfigMap must not be able to fill our memory."""

PLAIN, ZIPPED, ACCEPTED = "config.json", "config.json.gz", "accepted.json.gz"
_SKEW = timedelta(minutes=1)
"""By how much the clock of the replica that wrote may be ahead."""
MANAGED_BY = ("app.kubernetes.io/managed-by", "modelpool")
INSTANCE = "modelpool.dev/instance"
WRITTEN = "modelpool.dev/written"


@dataclass(frozen=True, slots=True)
class Content:
    """What a ConfigMap of ours holds. `config`: canonical bytes; `accepted`: gzipped; either may be absent in one that
    somebody edited."""

    config: bytes | None
    accepted: bytes | None
    sidecars: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """An object of ours as it stands at the API server. `instance` None: it is not ours. `strange`: keys that nobody of
    us wrote, by the member that they stand in."""

    version: str
    instance: str | None
    content: Content = field(default=Content(None, None, None), repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    written: datetime | None = None
    size: int = 0
    """Bytes, as the API server counts them."""
    strange: tuple[tuple[str, str], ...] = ()

    def since(self, now: datetime) -> datetime | None:
        """When it was written; None where nobody knows, or where the time that is noted is still to come."""
        return self.written if self.written is not None and self.written <= now + _SKEW else None


def config_map(namespace: str, instance: str, content: Content, written: datetime) -> dict[str, Any]:
    """The ConfigMap, as it is applied."""
    metadata = _metadata(mount.CONFIG_MAP, namespace, instance, written)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **_members(content)}


def _members(content: Content) -> dict[str, dict[str, str]]:
    assert content.config is not None
    assert content.accepted is not None
    data, binary = {mount.SIDECARS_FILE: str(content.sidecars)}, {ACCEPTED: _coded(content.accepted)}
    if len(content.config) <= PLAIN_BYTES:
        data[PLAIN] = content.config.decode()
    else:
        binary[ZIPPED] = _coded(codec.compress(content.config))
    return {"data": data, "binaryData": binary}


def secret(namespace: str, instance: str, credentials: Mapping[str, str], written: datetime) -> dict[str, Any]:
    """The Secret, as it is applied: `data` only, because what `stringData` brings never goes away again."""
    data = {f"{mount.CREDENTIAL_PREFIX}{name}": _coded(value.encode()) for name, value in sorted(credentials.items())}
    metadata = _metadata(mount.SECRET, namespace, instance, written)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def size_bytes(body: Mapping[str, Any]) -> int:
    """The size of a ConfigMap's or Secret's data as the API server counts it."""
    is_secret = body.get("kind") == "Secret"
    plain = {} if is_secret else body.get("data") or {}
    coded = body.get("data" if is_secret else "binaryData") or {}
    decoded = sum(len(key) + len(text or "") // 4 * 3 for key, text in coded.items())
    return decoded + sum(len(key) + len(text.encode()) for key, text in plain.items())


def read(obj: Mapping[str, Any]) -> Found:
    """An object back from the API server. Bytes that cannot be read count as absent: they are written anew."""
    metadata = obj["metadata"]
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    version = metadata.get("resourceVersion", "")
    if labels.get(MANAGED_BY[0]) != MANAGED_BY[1]:
        return Found(version, None)
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    written = _time(notes.get(WRITTEN))
    instance, size = notes.get(INSTANCE, ""), size_bytes(obj)
    if obj.get("kind") == "Secret":
        held = _credentials(data)
        known = {f"{mount.CREDENTIAL_PREFIX}{name}" for name in held}
        strange_keys = tuple(("data", key) for key in data if key not in known)
        return Found(version, instance, credentials=held, written=written, size=size, strange=strange_keys)
    zipped = _decoded(binary.get(ZIPPED))
    config = data[PLAIN].encode() if PLAIN in data else _unzipped(zipped, codec.MAX_DECODED_BYTES)
    content = Content(config, _decoded(binary.get(ACCEPTED)), _number(data.get(mount.SIDECARS_FILE)))
    strange = [("data", key) for key in data if key not in (PLAIN, mount.SIDECARS_FILE)]
    strange += [("binaryData", key) for key in binary if key not in (ZIPPED, ACCEPTED)]
    return Found(version, instance, content, written=written, size=size, strange=tuple(strange))


def pack(accepted: Accepted) -> bytes:
    """Accepted objects as they are kept beside the config."""
    each = [
        {
            **resource.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"metadata", "status"}),
            "metadata": resource.metadata.model_dump(
                mode="json", by_alias=True, include={"name", "namespace", "creation_timestamp"}, exclude_none=True
            ),
        }
        for _key, resource in sorted(accepted.items())
    ]
    return codec.compress(json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def fitted(content: Content) -> Content:
    """The content, without the accepted forms where there is no room for them: a config that runs comes first."""
    assert content.config is not None
    assert content.accepted is not None
    if len(content.config) + len(content.accepted) < PLAIN_BYTES:
        return content
    fits = size_bytes({"kind": "ConfigMap", **_members(content)}) <= LIMIT_BYTES
    return content if fits else replace(content, accepted=NOTHING)


def unpack(data: bytes | None, namespace: str) -> Accepted:
    """The accepted objects of a namespace; what this version cannot accept any more is left out."""
    raw = _unzipped(data, MAX_ACCEPTED_BYTES)
    try:
        each = json.loads(raw) if raw else []
    except (ValueError, RecursionError):
        return {}
    observed = resources.observe(each if isinstance(each, list) else [])
    found: dict[Key, Provider | ModelPool] = {}
    found.update({("Provider", *name): each for name, each in observed.providers.items() if not provider.judge(each)})
    found.update({("ModelPool", *name): each for name, each in observed.pools.items() if not pool.judge(each)})
    return {key: resource for key, resource in found.items() if key[1] == namespace}


def removal(strange: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """The merge patch that takes keys away which are not ours to have."""
    patch: dict[str, Any] = {}
    for member, key in strange:
        patch.setdefault(member, {})[key] = None
    return patch


NOTHING = pack({})
"""No accepted form."""


def _metadata(name: str, namespace: str, instance: str, written: datetime) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "labels": {MANAGED_BY[0]: MANAGED_BY[1]},
        "annotations": {INSTANCE: instance, WRITTEN: moment(written)},
    }


def _credentials(data: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for key, coded in data.items():
        value = _decoded(coded)
        if key.startswith(mount.CREDENTIAL_PREFIX) and value is not None and value.isascii():
            found[key.removeprefix(mount.CREDENTIAL_PREFIX)] = value.decode("ascii")
    return found


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str | None) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _unzipped(data: bytes | None, most: int) -> bytes | None:
    if data is None:
        return None
    decoder = zlib.decompressobj(wbits=31)
    try:
        found = decoder.decompress(data, most)
    except zlib.error:
        return None
    return found if decoder.eof else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 8 else None


def _time(text: str | None) -> datetime | None:
    """Only as we write it: what lacks a zone cannot be compared."""
    try:
        return None if text is None else datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
