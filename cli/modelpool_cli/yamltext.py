"""YAML that kubectl reads back as exactly the values that were written.

PyYAML quotes what PyYAML would not take for a string; `scalars` knows what kubectl would not (`y`, `1_000`, `0o7`).
"""

import sys
from typing import Any

import yaml

from modelpool_cli import scalars


def dump(value: Any) -> str:
    """One document, block style, fields in their order, text of several lines as such."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize, default_flow_style=False
    )


class _Dumper(yaml.SafeDumper):
    """Writes a value that stands in two places twice: an alias would be a riddle to the reader."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def choose_scalar_style(self) -> str:
        style = str(super().choose_scalar_style())
        return '"' if style == "'" else style


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif not _stays_text(text):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _stays_text(text: str) -> bool:
    try:
        return isinstance(scalars.plain(text), str)
    except scalars.ScalarError:
        return False


_Dumper.add_representer(str, _text)
