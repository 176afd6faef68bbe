"""Connections that lead to checked addresses only, under one deadline. It knows no page and no redirect.

A host is resolved here, once for each connection; all its addresses are checked, and one of them is connected as a
number, so that no second look-up can give another. Whatever a parser made of a URL, what is connected was checked.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.ssltransport import SSLTransport

from deechat.agents.tools.base import ToolError
from deechat.agents.tools.web.timed import Allowance, TimedSocket
from deechat.agents.tools.web.urls import Target
from deechat.net.lookups import Lookups

MOST_ADDRESSES = 8  # of one host that are tried

Resolve = Callable[[str, float], Sequence[str]]
Connect = Callable[[str, int, Allowance, float], TimedSocket]


def resolved(host: str, seconds: float) -> list[str]:
    """Gives a host's addresses as the system knows them, within so many seconds.

    Raises `TimeoutError`, and `OSError` or `UnicodeError` where there are none.
    """
    return Lookups.here().addresses(host, seconds)


class Connector:
    """Resolves, checks, connects. The only way in which this package's tools reach the network."""

    def __init__(
        self, resolve: Resolve, permitted: Callable[[str], bool], ports: frozenset[int], connect: Connect
    ) -> None:
        self._resolve, self._permitted, self._ports, self._connect = resolve, permitted, ports, connect

    def socket_to(self, host: str, port: int, allowance: Allowance) -> TimedSocket:
        """Connects to a host at the first of its addresses that answers.

        Raises `ToolError`, with nothing connected, where any address is not permitted: a host with both kinds is a
        trick, and what is public of it is not worth finding out.
        """
        if port not in self._ports:
            raise ToolError(f"Port {port} of {host} is not fetched from.")
        addresses = self._addresses(host, allowance)
        for address in addresses:
            if not self._permitted(address):
                raise ToolError(
                    f"{host} leads to {address}, which is not an address of the public Internet, so it is refused."
                )
        return self._first(host, port, addresses[:MOST_ADDRESSES], allowance)

    def _addresses(self, host: str, allowance: Allowance) -> Sequence[str]:
        try:
            addresses = self._resolve(host, allowance.left())
        except TimeoutError as error:
            words = f"The name {host} could not be looked up in time. Its name servers may be silent."
            raise ToolError(words) from error
        except (OSError, UnicodeError) as error:
            raise ToolError(f"The host {host} was not found. Check its spelling.") from error
        if not addresses:
            raise ToolError(f"The host {host} has no address.")
        return addresses

    def _first(self, host: str, port: int, addresses: Sequence[str], allowance: Allowance) -> TimedSocket:
        for index, address in enumerate(addresses):
            try:
                # A dead first address leaves the others their share of the time.
                return self._connect(address, port, allowance, allowance.left() / (len(addresses) - index))
            except OSError as error:
                failure = error
                allowance.left()
        raise ToolError(f"{host} does not take connections at port {port}: {_reason(failure)}.") from failure


class PinnedAdapter(HTTPAdapter):
    """Sends requests over connections of a `Connector`, and owns them. It reads no environment and keeps no cookies."""

    def __init__(self, target: Target, connector: Connector, allowance: Allowance, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._connector, self._allowance = connector, allowance
        self._sockets: list[TimedSocket] = []
        self._pool = HTTPConnectionPool(target.host, target.port, maxsize=1)
        make: Any = partial(_PinnedConnection, self._opened, tls if target.is_secure else None)
        self._pool.ConnectionCls = make

    def get_connection_with_tls_context(self, *_: Any, **__: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Does nothing: the context that TLS is made with verifies, and has its authorities loaded once."""

    def close(self) -> None:
        self._pool.close()
        super().close()
        for each in self._sockets:
            each.end()

    def _opened(self, host: str, port: int) -> TimedSocket:
        self._sockets.append(self._connector.socket_to(host, port, self._allowance))
        return self._sockets[-1]


class _PinnedConnection(HTTPConnection):
    """TLS is made over memory, so that its reads and writes too are those of `TimedSocket`, with or without gevent."""

    def __init__(
        self, opened: Callable[[str, int], TimedSocket], tls: ssl.SSLContext | None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._opened, self._tls = opened, tls
        self.default_port = 443 if tls else 80  # type: ignore[misc]  # decides whether `Host` names the port

    def connect(self) -> None:
        self.sock: Any = self._opened(self.host, self.port)
        if self._tls:
            self.sock = SSLTransport(self.sock, self._tls, server_hostname=self.host)
            self.is_verified = True


@cache
def public_tls() -> ssl.SSLContext:
    """Verifies certificates and names against the authorities that browsers trust."""
    return verifying(DEFAULT_CA_BUNDLE_PATH)


def verifying(authorities: str) -> ssl.SSLContext:
    """Makes a context that verifies certificates against a file of authorities, and names against certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname are its defaults
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authorities)
    return context


def _reason(error: OSError) -> str:
    return error.strerror or "no answer in time"
