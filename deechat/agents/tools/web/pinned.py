"""Requests over checked connections, and the TLS of these. It knows no page and no redirect."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.ssltransport import SSLTransport

from deechat.agents.tools.web.urls import Target
from deechat.net.checked import Allowance, Connector, TimedSocket


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
        """Do nothing: the context that TLS is made with verifies, and has its authorities loaded once."""

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
    """Return the context that verifies certificates and names against the authorities that browsers trust."""
    return verifying(DEFAULT_CA_BUNDLE_PATH)


def verifying(authorities: str) -> ssl.SSLContext:
    """Return a context that verifies certificates against a file of authorities, and names against certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname are its defaults
    context.hostname_checks_common_name = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authorities)
    return context
