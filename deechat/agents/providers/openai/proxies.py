"""The proxy of the environment that stands before a server.

The HTTP library would make all proxies of the environment, even for a server that needs none of them, and fail with the
first that it cannot make. Here one is chosen first. `NO_PROXY` is read as curl reads it, with ports besides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies

# The schemes of a proxy's address, and their meanings. GNOME writes `socks`.
_SCHEMES = {"http": "http", "https": "https", "socks5": "socks5", "socks5h": "socks5h", "socks": "socks5h"}
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_EXPECTED = "an address such as http://127.0.0.1:3128 or socks5h://127.0.0.1:1080"
_SHOWABLE = re.compile(
    r"(?:[A-Za-z][A-Za-z0-9+.-]{0,10}://)?(?:\*\*\*@)?(?:\[[\w.:]{0,60}\]?|[\w. -]{0,100})(?::\d{0,5})?/?"
)
_USER = re.compile(r"(?<=//)[^/]*@|^[^/]*@")


class NoProxyError(ValueError):
    """The environment's value for a proxy is none; the error's words show no password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: `url` may hold a user and a password, `shown` does not. The environment's `variable` names it."""

    url: str = field(repr=False)
    shown: str
    variable: str

    @property
    def is_socks(self) -> bool:
        return self.shown.startswith("socks")


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy through which a server is asked; None where it is asked directly.

    Raises `NoProxyError` when the environment's value for it is no proxy.
    """
    parts, variables = urlsplit(url), getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if variables.get(kind)), "")
    if not kind or _is_exempt(parts.hostname or "", parts.port or _PORTS.get(parts.scheme), variables.get("no", "")):
        return None
    value, variable = variables[kind].strip(), f"{kind.upper()}_PROXY"
    proxy = _parts(value)
    if proxy is None:
        raise NoProxyError(f"{variable} is {_shown(value)}, but {_EXPECTED} is expected")
    scheme = _SCHEMES[proxy.scheme]
    netloc = proxy.netloc if proxy.port else f"{proxy.netloc.removesuffix(':')}:{_PORTS[scheme]}"
    return Proxy(f"{scheme}://{netloc}", f"{scheme}://{netloc.rpartition('@')[2]}", variable)


def _parts(value: str) -> SplitResult | None:
    """Take a proxy's address apart; None where it is none."""
    try:
        proxy = urlsplit(value if "://" in value else f"http://{value}")
        is_sound = proxy.scheme in _SCHEMES and bool(proxy.hostname) and proxy.port != 0 and " " not in value
    except ValueError:
        return None
    return proxy if is_sound else None


def _shown(value: str) -> str:
    hidden = _USER.sub("***@", value)
    if _SHOWABLE.fullmatch(hidden) and value != "://":
        return repr(hidden)
    scheme, sign, _ = value.partition("://")
    return repr(f"{scheme}://***") if sign and scheme.isalnum() else "of another kind (not shown)"


def _is_exempt(host: str, port: int | None, listed: str) -> bool:
    host = host.lower().rstrip(".")
    return any(_names(each, host, port) for each in re.split(r"[\s,]+", listed.lower()) if each)


def _names(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of `NO_PROXY` is for a host: itself, a domain of it, or a network around it."""
    entry = entry.rpartition("://")[2]
    place = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?|([^:]*):(\d+)|(.*)", entry)
    bracketed, port_there, name, port_here, rest = place.groups() if place else ("",) * 5
    wanted = port_there or port_here
    if wanted and int(wanted) != port:
        return False
    named = bracketed or name or rest or ""
    try:
        return ip_address(host) in ip_network(named, strict=False)
    except ValueError:
        domain = named.lstrip("*").strip(".")
        return named == "*" or (bool(domain) and (host == domain or host.endswith(f".{domain}")))
