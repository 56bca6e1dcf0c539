"""Keys that do not stand in the manifests: `--secret NAME/KEY=env:VAR` or `file:PATH`.

A value never stands on the command line, where every process of the machine could read it, and in no message.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MAX_VALUE_BYTES = 1024 * 1024
_SHAPE = "NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH"

NEEDS_MANIFESTS = "--secret gives a key to manifests: name them with -f, or set OPENAI_API_KEY instead of it"


class SecretError(Exception):
    """A value that was named is not there; the message says which and where it was looked for."""


@dataclass(frozen=True, slots=True)
class Given:
    """Where the value of one key of one Secret is."""

    name: str
    key: str
    source: Literal["env", "file"]
    where: str


def parse(text: str) -> Given:
    """One `--secret`. What is wrong with it is told as argparse tells it."""
    ref, equals, origin = text.partition("=")
    name, slash, key = ref.partition("/")
    source, colon, where = origin.partition(":")
    if not (equals and slash and name and key and "/" not in key):
        raise argparse.ArgumentTypeError(f"must look like {_SHAPE}")
    if not colon or not where or source not in ("env", "file"):
        raise argparse.ArgumentTypeError(f"{ref}: a value comes from a variable or a file: {_SHAPE}")
    return Given(name, key, "env" if source == "env" else "file", where)


def read(given: Sequence[Given], env: Mapping[str, str]) -> dict[tuple[str, str], bytes]:
    """The values by Secret and key. Raises SecretError."""
    return {(each.name, each.key): _value(each, env) for each in given}


def _value(given: Given, env: Mapping[str, str]) -> bytes:
    named = f"--secret {given.name}/{given.key}"
    if given.source == "env":
        value = env.get(given.where)
        if not value:
            raise SecretError(f"{named}: the variable {given.where} is {'empty' if value == '' else 'not set'}")
        return value.encode("utf-8", "surrogateescape")
    try:
        with Path(given.where).expanduser().open("rb") as file:
            data = file.read(MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise SecretError(f"{named}: cannot read {given.where}: {error.strerror}") from error
    if len(data) > MAX_VALUE_BYTES:
        raise SecretError(f"{named}: {given.where} is larger than {MAX_VALUE_BYTES} bytes")
    return data
