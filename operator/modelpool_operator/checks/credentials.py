"""Whether the Secrets that a Provider names hold what can be sent.

A credential is found by namespace, Secret and key; the sidecar finds it by the name of a file, which is readable and
unique. A missing or unusable Secret keeps the last copied value (B47a): the finding stands, the value too.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelpool_operator import defaults
from modelpool_operator.api.credentials import SecretRef
from modelpool_operator.api.provider import Provider
from modelpool_operator.api.types import plain
from modelpool_operator.checks.finding import Finding
from modelpool_operator.problems import Path, Problem, nearest
from modelpool_operator.resources import Name

_LISTED = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Keys:
    """The credentials of one Provider. `missing`: what has neither a value nor a last one; then it cannot be asked."""

    values: Mapping[str, str] = field(repr=False)
    problems: tuple[Problem, ...]
    missing: tuple[Problem, ...]


def gather(
    provider: Provider,
    secrets: Mapping[Name, Mapping[str, bytes]],
    copied: Mapping[str, str],
    unreadable: Mapping[Name, str] | None = None,
) -> Keys:
    """The credentials that a Provider names, by file; `copied` are the values of the namespace's last config;
    `unreadable` are Secrets that are there and could not be read, with why."""
    namespace = provider.metadata.namespace
    key = ("Provider", namespace, provider.metadata.name)
    values: dict[str, str] = {}
    problems: list[Problem] = []
    missing: list[Problem] = []
    for path, ref, prefix in _references(provider):
        name = file_name(namespace, ref)
        why = (unreadable or {}).get((namespace, ref.name))
        found = _pending(path, ref, why) if why else _value(namespace, secrets, path, ref, prefix)
        if isinstance(found, str):
            values[name] = found
            continue
        problems.append(found.problem(key))
        if name in copied:
            values[name] = copied[name]
        else:
            missing.append(problems[-1])
    return Keys(values, tuple(problems), tuple(missing))


def secret_names(provider: Provider) -> frozenset[str]:
    """The Secrets that a Provider names, all in its own namespace."""
    return frozenset(ref.name for _path, ref, _prefix in _references(provider))


def file_name(namespace: str, ref: SecretRef) -> str:
    """The file of a credential: Secret and key to read, a hash so that no two of them meet; at most 253 characters."""
    identity = json.dumps([namespace, ref.name, ref.key]).encode()
    return f"{ref.name[:110]}-{ref.key[:110]}-{hashlib.sha256(identity).hexdigest()[:10]}"


def _references(provider: Provider) -> Iterator[tuple[Path, SecretRef, str]]:
    """Where a Secret is named, the reference, and what will stand in front of the value."""
    api_key = provider.spec.auth.api_key if provider.spec.auth else None
    if api_key is not None:
        header = api_key.header or defaults.API_KEY_HEADER
        prefix = defaults.api_key_prefix(header) if api_key.prefix is None else api_key.prefix
        yield ("spec", "auth", "apiKey", "secretRef"), api_key.secret_ref, prefix
    for index, header_entry in enumerate(provider.spec.headers or ()):
        if header_entry.secret_ref is not None:
            yield ("spec", "headers", index, "secretRef"), header_entry.secret_ref, ""


def _pending(path: Path, ref: SecretRef, why: str) -> Finding:
    text = f'names the Secret "{ref.name}", which could not be read yet: {why}'
    return Finding(path, text, "CredentialPending", "ResolvedRefs")


def _value(
    namespace: str, secrets: Mapping[Name, Mapping[str, bytes]], path: Path, ref: SecretRef, prefix: str
) -> str | Finding:
    data = secrets.get((namespace, ref.name))
    if data is None:
        text = f'names the Secret "{ref.name}", which is not in namespace {namespace}; '
        make = f"kubectl create secret generic {ref.name} -n {namespace} --from-literal={ref.key}=YOUR_KEY"
        return Finding(path, text + make, "SecretNotFound", "ResolvedRefs")
    if ref.key not in data:
        near = nearest(ref.key, data)
        has = f"did you mean {plain(near)}?" if near else f"it has {_listed(sorted(data)) or 'no key at all'}"
        text = f'names the key "{ref.key}", which the Secret "{ref.name}" does not have; {has}'
        return Finding((*path, "key"), text, "SecretNotFound", "ResolvedRefs")
    value = _plain(data[ref.key])
    why = _why_unusable(value, prefix)
    if why is None:
        return str(value)
    text = f'names the key "{ref.key}" of the Secret "{ref.name}", whose value {why}; '
    return Finding(path, f"{text}kubectl edit secret {ref.name} -n {namespace}", "InvalidCredential", "ResolvedRefs")


def _listed(names: list[str]) -> str:
    """The names as far as people read them."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(plain(name) for name in names[:_LISTED]) + more


def _plain(raw: bytes) -> str | None:
    """The value without the one newline that editors and `echo` leave behind; None where it is not ASCII."""
    try:
        return re.sub(r"\r?\n\Z", "", raw.decode("ascii"))
    except UnicodeDecodeError:
        return None


def _why_unusable(value: str | None, prefix: str) -> str | None:
    if value is None:
        return "has characters that no header can carry"
    if not value.strip():
        return "is empty"
    if value != value.strip(" "):
        return "begins or ends with a space; only one newline at its end is stripped"
    if _CONTROL.search(value):
        return "has control characters, such as a line break in its middle or a second one at its end"
    if prefix.strip() and value.lower().startswith(prefix.lower()):
        return f'begins with "{prefix}", which auth.apiKey.prefix puts in front of it'
    return None
