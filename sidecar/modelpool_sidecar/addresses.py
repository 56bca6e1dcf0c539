"""Whether a provider's address may be connected to: never a link-local one, never a cloud's metadata service.

Judged on the address that a name resolved to, at the moment of connecting: a name that points somewhere else tomorrow,
or an odd spelling of the address (`2852039166`, `0xa9fea9fe`), ends at the same place.
"""

import ipaddress

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def refused(address: str) -> str | None:
    """Why this IP address must not be connected to; None where it may. What is no IP address is not judged here."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    parsed = _embedded(parsed)
    if parsed.is_link_local:
        return f"{parsed} is a link-local address, which no provider may have"
    if parsed in _METADATA:
        return f"{parsed} is a cloud metadata address, which no provider may have"
    return None


def _embedded(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address inside an IPv6 one, where there is one that the network would deliver to."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
