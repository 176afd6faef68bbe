"""Addresses: which are public, which are this machine's own, and which network a peer is counted by.

Pure functions: nothing is looked up and nothing is connected here.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

UNKNOWN = "an unknown address"
LOOPBACK = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))

# The library's own `is_global` differs between Python's releases, so all that matters is written out here too.
_REFUSED_4 = [
    ipaddress.IPv4Network(each)
    for each in (
        "0.0.0.0/8",  # this network, the unspecified address
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers; Alibaba's metadata, 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's own services to a machine: public by its number only
        "169.254.0.0/16",  # link-local; most clouds' metadata, 169.254.169.254
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocols; Oracle's metadata, 192.0.0.192
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
# The range of the public Internet. IPv4-mapped and IPv4-compatible addresses, NAT64, unique local (AWS's
# metadata, fd00:ec2::254), link-local, site-local and multicast lie outside.
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_6 = [
    ipaddress.IPv6Network(each)
    for each in (
        "2001::/23",  # protocols: Teredo, which holds an IPv4 address, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3ffe::/16",  # 6bone, given back
        "3fff::/20",  # documentation
    )
]
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})  # the third quarter of an address whose last holds an IPv4 address

_INSIDE = frozenset({"localhost", "localdomain", "local", "internal", "home.arpa", "onion", "metadata.goog"})
_INSIDE_ALONE = frozenset({"metadata", "instance-data"})


def is_public(address: str) -> bool:
    """Check whether an address is one of the public Internet, for one host, and holds no other address.

    A text that is no address, or has a scope (`%`), is not.
    """
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(number, ipaddress.IPv4Address):
        return number.is_global and not any(number in network for network in _REFUSED_4)
    if number.scope_id is not None or number not in _PUBLIC_6 or (int(number) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return number.is_global and not any(number in network for network in _REFUSED_6)


def is_address(host: str) -> bool:
    """Check whether a host is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_inside(host: str) -> bool:
    """Check whether a name is kept for this machine, its network or its cloud. Nothing is looked up."""
    return host in _INSIDE_ALONE or any(host == each or host.endswith("." + each) for each in _INSIDE)


@lru_cache(1000)
def address_of(peer: str) -> str:
    """Return the peer's address in its usual form, an IPv4 address in IPv6 as IPv4; `UNKNOWN` for any other text."""
    try:
        parsed = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return UNKNOWN
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


@lru_cache(1000)
def network_of(peer: str) -> str:
    """Return the network that a peer is counted by: its IPv4 address, or the /64 of its IPv6 address.

    A person on IPv6 has a whole network of addresses.
    """
    address = address_of(peer)
    if ":" not in address:
        return address
    return str(ipaddress.IPv6Network((ipaddress.IPv6Address(address), 64), strict=False))


@lru_cache(1000)
def is_loopback(host: str | bytes) -> bool:
    """Check whether a host, by name, by address or by an address's bytes, is this machine's own loopback."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host if isinstance(host, bytes) else address_of(host))
    except ValueError:
        return False
    return any(address in network for network in LOOPBACK)
