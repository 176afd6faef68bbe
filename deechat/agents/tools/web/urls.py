"""URLs: the host and port that one leads to, and which are refused as they stand.

One parser reads a URL here and in the request: that of `requests`. The host's address is checked once more, where it is
connected.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from deechat.agents.tools.base import ToolError
from deechat.net.addresses import is_address, is_inside, is_public

LONGEST_URL = 4000  # characters
LONGEST_HOST = 253

_PORTS = {"http": 80, "https": 443}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029]")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Target:
    """The server that a URL leads to.

    `host` is lower case and ASCII, without a dot at its end and without brackets; `url` has that host, and neither
    credentials nor a fragment.
    """

    url: str
    host: str
    port: int
    is_secure: bool


def target_of(url: str, *, ports: frozenset[int] = frozenset(_PORTS.values())) -> Target:
    """Read a URL. Raises `ToolError` where it is not a plain http or https URL of a public name or address."""
    parts = _split(_checked(url))
    host = _host(parts)
    port = _port(parts)
    if port not in ports:
        raise ToolError(f"The URL asks for port {port}. Only the ports {_listed(ports)} are fetched from.")
    shown = f"[{host}]" if ":" in host else host
    netloc = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
    return Target(parts._replace(netloc=netloc, fragment="").geturl(), host, port, parts.scheme == "https")


def next_target(current: Target, location: str, *, ports: frozenset[int]) -> Target:
    """Return where a redirect leads, from the header as it came. https may lead to http: no secret goes along."""
    with contextlib.suppress(UnicodeError):  # headers come as Latin-1, and are UTF-8 where they are not ASCII
        location = location.encode("latin-1").decode()
    location = location.strip()
    if _CONTROLS.search(location):  # `urljoin` would take some of them out, and find another host in the rest
        raise ToolError(f"{current.url} redirects to {location[:80]!a}, which is no URL.")
    try:
        joined = urljoin(current.url, location)
    except ValueError as error:
        raise ToolError(f"{current.url} redirects to {location[:80]!a}, which is no URL.") from error
    try:
        return target_of(joined, ports=ports)
    except ToolError as error:
        raise ToolError(f"{current.url} redirects to {joined[:200]!a}, which is refused: {error.message}") from error


def host_of(arguments: Mapping[str, object]) -> str:
    """Return the host that a call's arguments lead to, as `Target.host` does.

    For remembering "always allow this host". Such a yes covers the whole call: redirects inside it may lead to other
    public hosts, each of them checked. Raises `ToolError` where there is no host that could be allowed: for a URL that
    is refused as it stands, such as one with an address that is not public.
    """
    given = arguments.get("url")
    url = given if isinstance(given, str) else ""
    host = _host(_split(_checked(url)))
    if is_address(host) and not is_public(host):  # said before a fault of the port: another one would not do
        raise ToolError(f"{host} is not an address of the public Internet, so it is refused.")
    return target_of(url).host


def _checked(url: str) -> str:
    """Refuse a URL that parsers may read in different ways."""
    url = url.strip()
    if not url:
        raise ToolError("The URL is empty. Give it in full, such as https://example.com/page.")
    if len(url) > LONGEST_URL:
        raise ToolError(f"The URL has {len(url):,} characters; {LONGEST_URL:,} are the most.")
    if found := _CONTROLS.search(url):
        raise ToolError(f"The URL holds {found[0]!a}, which stands in no URL. Give it without, or as %XX.")
    found = re.match(r"https?://([^/?#]+)", url, re.IGNORECASE)
    if not found:
        scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", url)
        what = f"The scheme {scheme[1][:20]!a}" if scheme and scheme[1].lower() not in _PORTS else f"{url[:80]!a}"
        raise ToolError(f"{what} is not fetched. Give a URL in full, such as https://example.com/page.")
    if "@" in found[1]:
        raise ToolError("The URL holds a user name or a password. Give it without; nothing is logged in to.")
    if "%" in found[1] or re.search(":0+$", found[1]):
        raise ToolError(f"{found[1][:80]!a} is no host and port. Give a URL such as https://example.com/page.")
    return url


def _split(url: str) -> SplitResult:
    """Split a URL in the form in which it is requested: quoted, and its host as ASCII."""
    try:
        prepared = requests.Request("GET", url).prepare().url or ""
        parts = urlsplit(prepared)
        parts.port  # noqa: B018  # raises ValueError for a text that is no port
    except (requests.RequestException, HTTPError, ValueError) as error:
        raise ToolError(f"{url[:200]!a} is no URL that can be read. Check its host and port.") from error
    if len(prepared) > LONGEST_URL:  # quoting makes it longer
        raise ToolError(f"The URL has {len(prepared):,} characters when quoted; {LONGEST_URL:,} are the most.")
    return parts


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if ":" in host and "%" not in host:
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(host))
    if len(host) > LONGEST_HOST or not _NAME.fullmatch(host):
        raise ToolError(f"{host[:80]!a} is no host's name. Give a URL such as https://example.com/page.")
    if is_inside(host):
        raise ToolError(f"{host} is a name inside this machine's network or cloud. Only public hosts are fetched from.")
    return host


def _port(parts: SplitResult) -> int:
    return _PORTS[parts.scheme] if parts.port is None else parts.port


def _listed(ports: frozenset[int]) -> str:
    return " and ".join(str(each) for each in sorted(ports))
