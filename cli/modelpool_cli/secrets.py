"""Keys that do not stand in the manifests: `--secret NAME/KEY=env:VAR` or `file:PATH`; a caller's own: `--key`.

A value never stands on the command line, where every process of the machine could read it, and in no message.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_VALUE_BYTES = 1024 * 1024
_SHAPE = "NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH"
_KEY_SHAPE = "env:VARIABLE or file:PATH"

NEEDS_MANIFESTS = "--secret gives a key to manifests: name them with -f, or set OPENAI_API_KEY instead of it"


class SecretError(Exception):
    """A value that was named is not there; the message says which and where it was looked for."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value is."""

    kind: Literal["env", "file"]
    where: str


@dataclass(frozen=True, slots=True)
class Given:
    """Where the value of one key of one Secret is."""

    name: str
    key: str
    source: Source


def parse(text: str) -> Given:
    """One `--secret`. What is wrong with it is told as argparse tells it."""
    ref, equals, origin = text.partition("=")
    name, slash, key = ref.partition("/")
    if not (equals and slash and name and key and "/" not in key):
        raise argparse.ArgumentTypeError(f"must look like {_SHAPE}")
    source = _source(origin)
    if source is None:
        raise argparse.ArgumentTypeError(f"{ref}: a value comes from a variable or a file: {_SHAPE}")
    return Given(name, key, source)


def parse_key(text: str) -> Source:
    """The value of `--key`, which is no key: what was given may be one, so it is not repeated."""
    source = _source(text)
    if source is None:
        raise argparse.ArgumentTypeError(f"a key comes from a variable or a file: {_KEY_SHAPE}")
    return source


def _source(text: str) -> Source | None:
    kind, colon, where = text.partition(":")
    if not colon or not where or kind not in ("env", "file"):
        return None
    return Source("env" if kind == "env" else "file", where)


def read(given: Sequence[Given], env: Mapping[str, str]) -> dict[tuple[str, str], bytes]:
    """The values by Secret and key. Raises SecretError."""
    return {(each.name, each.key): _value(f"--secret {each.name}/{each.key}", each.source, env) for each in given}


def read_key(source: Source | None, env: Mapping[str, str]) -> str | None:
    """A caller's own key, without white space around it; None where none was given. Raises SecretError."""
    if source is None:
        return None
    key = _value("--key", source, env).decode("utf-8", "surrogateescape").strip()
    if not key or not (key.isascii() and key.isprintable()):
        what = "empty" if not key else "no key: it has characters that a header cannot carry"
        raise SecretError(f"--key {source.kind}:{source.where} is {what}")
    return key


def _value(named: str, source: Source, env: Mapping[str, str]) -> bytes:
    if source.kind == "env":
        value = env.get(source.where)
        if not value:
            raise SecretError(f"{named}: the variable {source.where} is {'empty' if value == '' else 'not set'}")
        return value.encode("utf-8", "surrogateescape")
    try:
        with Path(source.where).expanduser().open("rb") as file:
            data = file.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise SecretError(f"{named}: cannot read {source.where}: {error.strerror}") from error
    if len(data) > MAX_VALUE_BYTES:
        raise SecretError(f"{named}: {source.where} is larger than {MAX_VALUE_BYTES} bytes")
    return data
