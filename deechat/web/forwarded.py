"""The one place that decides which of a proxy's headers are believed.

A header may be written by a proxy or by anybody. So headers are believed in two ways only. They may make a request
less trusted, from any sender: one that names somebody elsewhere is not from this machine. And they may say who asks,
for counting and for the log, when a proxy that is trusted (`FORWARDED_ALLOW_IPS`) hands the request on.

gunicorn itself believes none: `deechat.server.serving` turns its own reading of such headers off, paths and scheme
included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from flask import current_app, request

from deechat.net.addresses import LOOPBACK, is_loopback

Network = IPv4Network | IPv6Network

PROXIES = "PROXIES"  # the key in Flask's configuration: the networks of trusted proxies elsewhere
HERE = frozenset({"localhost", "127.0.0.1", "[::1]"})
_KEY = "deechat.front"
# Headers that name who asks: the lists that proxies append to, and those with a single address.
_NAMING = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_ORIGINAL_FORWARDED_FOR",
    "HTTP_X_REAL_IP",
    "HTTP_X_CLIENT_IP",
    "HTTP_X_CLUSTER_CLIENT_IP",
    "HTTP_X_PROXYUSER_IP",
    "HTTP_X_ENVOY_EXTERNAL_ADDRESS",
    "HTTP_CF_CONNECTING_IP",
    "HTTP_CF_CONNECTING_IPV6",
    "HTTP_TRUE_CLIENT_IP",
    "HTTP_FASTLY_CLIENT_IP",
    "HTTP_FLY_CLIENT_IP",
)
# `for=` and `host=` of RFC 7239: a token, or a quoted string; blanks around the sign although it allows none.
_FORWARDED = re.compile(r'(?:^|[;,\s])(for|host)\s*=\s*(?:"([^"]*)"|([^;,\s]*))', re.IGNORECASE)
_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Front:
    """The way that one request came, by its connection and headers."""

    peer: str
    """The address that asks, for counting and for the log; a client behind a trusted proxy that appends to
    `X-Forwarded-For` cannot choose it."""
    direct: str
    """The address at the other end of the connection; empty for a Unix socket."""
    https: bool
    """Whether a proxy says that the browser spoke HTTPS. Anybody may say so: it only makes the cookie stricter."""
    hosts: tuple[str, ...]
    """The names that were asked for, in small letters: `Host`, then the name that a trusted proxy says it was."""
    names_elsewhere: bool
    """Whether a header says that the request comes from elsewhere, or through a proxy that does not say for whom."""

    @property
    def host(self) -> str:
        """The header `Host`, in small letters; empty without one."""
        return self.hosts[0]

    @property
    def is_for_here(self) -> bool:
        """Whether all names that were asked for are this machine's own."""
        return all(is_own_name(each) for each in self.hosts)

    def is_own(self, scheme: str, netloc: str) -> bool:
        """Check whether a page of `scheme://netloc` is one of ours; a port that is the scheme's own may be left out."""
        if scheme not in _PORTS:
            return False
        ours = {_with_port(each, scheme) for each in self.hosts if each}
        return _with_port(netloc.lower(), scheme) in ours


def front() -> Front:
    """Return the front of the request under way; it is read once."""
    environ = request.environ
    known: Front | None = environ.get(_KEY)
    if known is None:
        known = environ[_KEY] = read_front(environ, current_app.config.get(PROXIES, ()))
    return known


def peer() -> str:
    """Return the address that asks, within a request: for counting and for the log."""
    return front().peer


def read_front(environ: Mapping[str, Any], proxies: tuple[Network, ...] = ()) -> Front:
    """Read how a request came from its WSGI environ; `proxies` are trusted besides those on this machine."""
    proxies = LOOPBACK + proxies
    direct = str(environ.get("REMOTE_ADDR") or "")
    # A Unix socket has no address: who may connect to it is on this machine.
    trusted = not direct or _is_in(direct, proxies)
    hosts = [str(environ.get("HTTP_HOST", "")).lower()]
    if trusted:
        hosts += [each.lower() for each in _parts(environ, "HTTP_X_FORWARDED_HOST")]
    return Front(
        peer=_peer(direct, _parts(environ, "HTTP_X_FORWARDED_FOR"), proxies) if trusted else _plain(direct),
        direct=_plain(direct),
        https="https" in str(environ.get("HTTP_X_FORWARDED_PROTO", "")).lower()
        or "proto=https" in str(environ.get("HTTP_FORWARDED", "")).lower()
        or environ.get("wsgi.url_scheme") == "https",
        hosts=tuple(hosts),
        names_elsewhere=_names_elsewhere(environ),
    )


def _peer(direct: str, said: list[str], proxies: tuple[Network, ...]) -> str:
    """Return the last address in `said` that is no trusted proxy's.

    Each proxy appends the address that asked it, so all that stands before that one may be the client's invention.
    """
    known = [each for each in proxies if each.prefixlen]  # "everybody" is trusted to append, and is no proxy itself
    for each in reversed(said):
        address = _plain(each)
        if not address:
            break
        if not _is_in(address, known):
            return address
    return _plain(direct)


def _names_elsewhere(environ: Mapping[str, Any]) -> bool:
    named = [part for header in _NAMING if header in environ for part in _parts(environ, header)]
    forwarded = str(environ.get("HTTP_FORWARDED", ""))
    if forwarded:
        said = [(name.lower(), quoted or token) for name, quoted, token in _FORWARDED.findall(forwarded)]
        if not all(is_own_name(value.lower()) for name, value in said if name == "host"):
            return True
        clients = [value for name, value in said if name == "for"]
        named += clients if len(clients) > forwarded.count(",") else [forwarded]  # each proxy must say for whom
    if not named:
        return "HTTP_VIA" in environ
    return not all(is_loopback(_plain(each)) for each in named)


def _parts(environ: Mapping[str, Any], header: str) -> list[str]:
    return [each for each in map(str.strip, str(environ.get(header, "")).split(",")) if each]


def is_own_name(host: str) -> bool:
    """Check whether a host, with a port or without, has one of this machine's own names."""
    return re.sub(r":[0-9]*$", "", host) in HERE


def _with_port(netloc: str, scheme: str) -> str:
    return netloc if re.search(r":[0-9]+$", netloc) else f"{netloc.removesuffix(':')}:{_PORTS[scheme]}"


@lru_cache(100)  # few, as a header may be long
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address as proxies write it: plain, in brackets, with a port; None when it is none."""
    if len(text) > 100:
        return None
    bare = re.sub(r"^\[([^\]]*)\](:[0-9]+)?$", r"\1", text)
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        parsed = ip_address(bare)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _plain(text: str) -> str:
    """Return the address without port, brackets and mapping; empty when it is none."""
    parsed = _address(text)
    return str(parsed) if parsed else ""


def _is_in(text: str, networks: Iterable[Network]) -> bool:
    parsed = _address(text)
    return parsed is not None and any(parsed in network for network in networks)
