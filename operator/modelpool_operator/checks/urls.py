"""Where a base URL points, and whether we go there.

The judgement is on what is written; names are judged again by their addresses when the sidecar connects.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from modelpool_operator.api.types import plain

METADATA_HOSTS = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
METADATA_ADDRESSES = frozenset(
    ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""Clouds whose metadata service is not at a link-local address."""

_RFC_1918 = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_NAT64 = IPv6Network("64:ff9b::/96")
_PRIVATE_SUFFIXES = (".svc", ".svc.cluster.local", ".local", ".internal", ".localhost")
_OPERATIONS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/models")
_SAFE = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+", re.ASCII)
_PLACE = re.compile(r"([^\[\]]*@)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:@]*)(:[0-9]*)?", re.ASCII)
"""Credentials, host and port; urlsplit lets pass what stands between a bracket and the port."""

_HOST = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*", re.ASCII)
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)", re.ASCII)


def judge(url: str) -> str | None:
    """What is wrong with a base URL, as the rest of a sentence; None where nothing is. Never repeats a credential."""
    parts = _split(url)
    if parts is None:
        return "must be a URL like https://api.openai.com/v1"
    if parts.scheme not in ("http", "https"):
        return "must begin with https:// or http://"
    if "@" in parts.netloc:
        return "must not hold credentials; a key belongs in a Secret that auth names"
    if "?" in url or "#" in url:
        return "must not have a query or a fragment"
    return _judge_host(host_of(url)) or _judge_path(parts.path)


def host_of(url: str) -> str:
    """The host in lower case, without brackets and without the dot of the root."""
    return (urlsplit(url).hostname or "").removesuffix(".")


def is_public(host: str) -> bool:
    """Whether it is outside the house: no loopback, RFC 1918 or fc00::/7, no single label, no private name."""
    address = _address(host)
    if address is None:
        return "." in host and not host.endswith(_PRIVATE_SUFFIXES)
    if isinstance(address, IPv4Address):
        return not (address.is_loopback or any(address in network for network in _RFC_1918))
    return not (address.is_loopback or address in _UNIQUE_LOCAL)


BILLING = (
    "openai.com",
    "openai.azure.com",
    "anthropic.com",
    "cohere.com",
    "cohere.ai",
    "deepseek.com",
    "fireworks.ai",
    "generativelanguage.googleapis.com",
    "groq.com",
    "mistral.ai",
    "openrouter.ai",
    "perplexity.ai",
    "together.ai",
    "together.xyz",
    "x.ai",
)
"""Domains of APIs that are paid by use (B38). Others with a public name may be one's own servers."""


def bills_requests(host: str) -> bool:
    """Whether an API there is paid by use."""
    return any(host == domain or host.endswith(f".{domain}") for domain in BILLING)


def _split(url: str) -> SplitResult | None:
    if not _SAFE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    whole = parts.scheme and parts.netloc and _PLACE.fullmatch(parts.netloc)
    return parts if whole and port != 0 else None


def _judge_host(host: str) -> str | None:
    address = _address(host)
    if host in METADATA_HOSTS or address in METADATA_ADDRESSES:
        return f"must not point to a cloud's metadata service: {host}"
    if address is None:
        if not _HOST.fullmatch(host) or len(host) > 253 or _NUMBER.fullmatch(host.rpartition(".")[2]):
            return f"must name a host; {plain(host) or 'nothing'} is neither a name nor an address"
        return None
    if address.is_link_local:
        return f"must not point to a link-local address: {host}"
    if address.is_unspecified or address.is_multicast:
        return f"must point to one host, which {host} is not"
    return None


def _judge_path(path: str) -> str | None:
    inner = path.rstrip("/")
    if "//" in inner or "%2f" in inner.lower() or {".", ".."} & set(inner.split("/")):
        return "must not have //, %2f, . or .. in its path"
    for operation in _OPERATIONS:
        if inner.endswith(operation):
            return f"must end before the operation: leave out {operation}"
    return None


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, seen through the ways in which IPv6 carries IPv4."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
