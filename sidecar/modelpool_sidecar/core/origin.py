"""Whether a request to a loopback port may have been made by a web page (B43): those must not spend a laptop's keys.

A page of a foreign site can reach 127.0.0.1 in two ways: directly, and then the browser names the page's origin; or by
letting its own host name resolve to 127.0.0.1, and then the browser names that host. Either is refused.
"""

import functools
import ipaddress
import re
from collections.abc import Iterable

from modelpool_sidecar.core.refusal import Refusal

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?")
_ORIGIN = re.compile(r"https?://(?P<host>[^/?#@]+)")


def judge_origin(headers: Iterable[tuple[str, str]]) -> Refusal | None:
    """The refusal of a request whose Host or Origin is not this machine; None where both are (no Origin is fine)."""
    hosts = 0
    for name, value in headers:
        if name == "host":
            hosts += 1
            if hosts > 1 or not is_loopback(value):
                break
        elif name == "origin" and not _is_local_origin(value):
            return Refusal(
                "foreign_origin",
                "requests from web pages of other origins are refused; call modelpool from a program on this machine",
            )
    else:
        if hosts == 1:
            return None
    return Refusal("foreign_host", "the Host header must be localhost or a loopback address, given once")


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether the value of a Host header is `localhost` or a loopback address, with any port or none."""
    matched = _HOST.fullmatch(host.lower())
    if matched is None:
        return False
    name = matched["name"]
    if name in ("localhost", "localhost."):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def _is_local_origin(origin: str) -> bool:
    matched = _ORIGIN.fullmatch(origin.lower())
    return matched is not None and is_loopback(matched["host"])
