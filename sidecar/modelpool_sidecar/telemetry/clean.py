"""What of a string that is not ours may stand in a span, a label or a log line.

Model names, ids and finish reasons come from clients and providers. They are cut to a length and made encodable: JSON
may carry a lone surrogate, which neither protobuf nor JSON output takes.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

MAX_CHARACTERS = 256
MAX_WORD = 32
MAX_WORDS = 16

_SHOWN_QUERY = "api-version="
"""The one query parameter that tells something about a call and is never a secret."""


def text(value: str, limit: int = MAX_CHARACTERS) -> str:
    """The value, at most `limit` characters long, anything that UTF-8 cannot carry replaced."""
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def words(values: Iterable[str]) -> tuple[str, ...]:
    """A list of short words, bounded in number and length."""
    return tuple(text(value, MAX_WORD) for value, _ in zip(values, range(MAX_WORDS), strict=False))


def url(value: str) -> str:
    """The URL without user, password, fragment and query: any of them may hold a key (`api-version` alone is kept)."""
    parts = urlsplit(value)
    host = parts.netloc.rpartition("@")[2]
    shown = [
        item if item.lower().startswith(_SHOWN_QUERY) else "REDACTED" for item in parts.query.split("&") if parts.query
    ]
    return text(urlunsplit((parts.scheme, host, parts.path, "&".join(shown), "")), 2048)
