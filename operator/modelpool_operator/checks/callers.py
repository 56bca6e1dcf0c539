"""Whether the Secret that a pool's callers name holds keys, and what the sidecars get of them: digests.

The entries are judged one by one: a bad one is left out with a sentence and stops no other. A Secret that is missing
or unreadable keeps the last copied digests (B47a); where there are none nobody may use the pool. No sentence holds a
value.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelpool_config import callerkeys
from modelpool_operator.api.modelpool import ModelPool
from modelpool_operator.api.types import plain, shown
from modelpool_operator.checks.finding import Finding
from modelpool_operator.problems import Path, nearest
from modelpool_operator.resources import Name

PATH: Path = ("spec", "callers")
_REF: Path = (*PATH, "keys", "secretRef")
_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}\Z")
_VISIBLE = re.compile(r"[\x21-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class CallerKeys:
    """`file`: what the sidecars read, with `content` where there is one."""

    secret: str
    file: str
    content: str | None = field(repr=False)
    findings: tuple[Finding, ...]
    names: frozenset[str] | None
    """The entries that are there, good or bad; None where nobody knows."""

    @property
    def keyless(self) -> bool:
        """Whether no key opens the pools that name it."""
        return self.content is None or not callerkeys.decode(self.content)


def secret_names(pool: ModelPool) -> frozenset[str]:
    """The Secret with the keys of its callers, in its own namespace; none where everybody may use it."""
    return frozenset() if pool.spec.callers is None else frozenset({pool.spec.callers.keys.secret_ref.name})


def file_name(namespace: str, secret: str) -> str:
    """The file of a Secret of keys; it meets no file of a provider's credential."""
    identity = json.dumps(["callers", namespace, secret]).encode()
    return f"{secret[:110]}-callers-{hashlib.sha256(identity).hexdigest()[:10]}"


def source(secret: str) -> str:
    """How people know it."""
    return f"Secret {secret}"


def gather(
    namespace: str,
    secret: str,
    secrets: Mapping[Name, Mapping[str, bytes]],
    copied: Mapping[str, str],
    unreadable: Mapping[Name, str],
) -> CallerKeys:
    """The digests of a Secret's keys. `copied`, `unreadable`: as those of `credentials.gather`."""
    file = file_name(namespace, secret)
    why, data = unreadable.get((namespace, secret)), secrets.get((namespace, secret))
    if data is None or why:
        content = copied.get(file)
        kept = "the last copied keys stay in force" if content is not None else "nobody may use the pool"
        names = None if content is None else frozenset(callerkeys.decode(content))
        return CallerKeys(secret, file, content, (_absent(namespace, secret, why, kept),), names)
    digests, findings = _judge(namespace, secret, data)
    return CallerKeys(secret, file, callerkeys.encode(digests), tuple(findings), frozenset(data))


def nameless(pool: ModelPool, keys: CallerKeys) -> Iterator[Finding]:
    """Callers with limits and without a key: nobody comes under that name."""
    for index, entry in enumerate((pool.spec.callers.entries if pool.spec.callers else None) or ()):
        if keys.names is not None and entry.name not in keys.names:
            near = nearest(entry.name, keys.names)
            hint = f"; did you mean {plain(near)}?" if near else ""
            text = f'is {shown(entry.name)}, which has no key in the Secret "{keys.secret}"{hint}'
            yield Finding((*PATH, "entries", index, "name"), text, "SecretNotFound", "ResolvedRefs")


def _absent(namespace: str, secret: str, why: str | None, kept: str) -> Finding:
    if why:
        text = f'names the Secret "{secret}", which could not be read yet: {why}; {kept}'
        return Finding(_REF, text, "CredentialPending", "ResolvedRefs")
    make = f"kubectl create secret generic {secret} -n {namespace} --from-literal=CALLER=YOUR_KEY"
    text = f'names the Secret "{secret}", which is not in namespace {namespace}; {kept}; {make}'
    return Finding(_REF, text, "SecretNotFound", "ResolvedRefs")


def _judge(namespace: str, secret: str, data: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[Finding]]:
    """Each name with the digest of its key, and what is wrong with the entries that are left out."""
    owners: dict[bytes, str] = {}
    faults: list[tuple[str, str]] = []
    for name in sorted(data):
        digest = callerkeys.digest(key) if (key := _key(data[name])) is not None else b""
        fault = _fault(name, key)
        if fault is None and digest in owners:
            fault = f'is the same key as that of "{owners[digest]}", which keeps it'
        if fault is None:
            owners[digest] = name
        else:
            faults.append((name, fault))
    edit = f"kubectl edit secret {secret} -n {namespace}"
    found = [
        _finding(f'names the Secret "{secret}", whose entry "{plain(name)}" {why}; {edit}') for name, why in faults
    ]
    if not data:
        found = [_finding(f'names the Secret "{secret}", which has no entry: nobody may use the pool; {edit}')]
    return {name: digest for digest, name in owners.items()}, found


def _finding(text: str) -> Finding:
    return Finding(_REF, text, "InvalidCredential", "ResolvedRefs")


def _key(raw: bytes) -> str | None:
    """The key without the one newline that editors and `echo` leave behind; None where it is not ASCII."""
    try:
        return re.sub(r"\r?\n\Z", "", raw.decode("ascii"))
    except UnicodeDecodeError:
        return None


def _fault(name: str, key: str | None) -> str | None:
    if not _NAME.match(name):
        return "has a name that no Secret's entry can have: letters, digits, -, _ and ."
    if key is None or not _VISIBLE.match(key):
        return "has characters that no key can have: visible ASCII without spaces is what clients can send"
    if not key:
        return "is empty"
    if len(key) < callerkeys.SHORTEST:
        return f"is too short: a key has at least {callerkeys.SHORTEST} characters, as openssl rand -hex 24 makes them"
    if len(key) > callerkeys.LONGEST:
        return f"is too long: a key has at most {callerkeys.LONGEST} characters"
    return None
