"""Which network a peer speaks from, as a person on IPv6 has a whole network of addresses; which hosts are loopback."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address

UNKNOWN = "an unknown address"


@lru_cache(1000)
def address_of(peer: str) -> str:
    """Return the peer's address in its usual form, an IPv4 address in IPv6 as IPv4; `UNKNOWN` for any other text."""
    try:
        parsed = ip_address(peer.partition("%")[0])
    except ValueError:
        return UNKNOWN
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@lru_cache(1000)
def network_of(peer: str) -> str:
    """Return what the peer is counted by: its IPv4 address, or the /64 of its IPv6 address."""
    address = address_of(peer)
    if ":" not in address:
        return address
    return str(IPv6Network((IPv6Address(address), 64), strict=False))


def is_loopback(host: str) -> bool:
    """Check whether a host, by name or address, is this machine's own loopback."""
    address = address_of(host)
    return host == "localhost" or (address != UNKNOWN and ip_address(address).is_loopback)
