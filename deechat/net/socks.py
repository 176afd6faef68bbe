"""Connections through a SOCKS5 proxy: RFC 1928, with the user and password of RFC 1929. It knows no HTTP.

Names go to the proxy as they are and are looked up there, for `socks5` as for `socks5h`: a machine that needs a proxy
to reach a server often cannot look its name up either.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from deechat.net.connection import connect
from deechat.net.deadline import Deadline

_VERSION, _PASSWORDS = 5, 1  # of the protocol, and of its part about passwords
_OPEN, _WITH_PASSWORD = 0, 2  # ways to log in
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4  # kinds of addresses
_REPLIES = {
    1: "the SOCKS proxy failed",
    2: "the SOCKS proxy does not allow it",
    3: "the SOCKS proxy finds the network unreachable",
    4: "the SOCKS proxy finds the host unreachable",
    5: "the connection was refused to the SOCKS proxy",
    6: "the SOCKS proxy waited too long",
    7: "the SOCKS proxy does not connect",
    8: "the SOCKS proxy does not know this kind of address",
}
_NO_PROXY = "it does not answer as a SOCKS5 proxy does"


class SocksError(OSError):
    """The proxy refused, or the server is no SOCKS5 proxy."""


class Socks(NamedTuple):
    """A SOCKS5 proxy."""

    host: str
    port: int
    user: bytes
    password: bytes

    @classmethod
    def of(cls, url: str) -> Socks:
        """Return the proxy at an address that was checked before."""
        parts = urlsplit(url)
        user, password = (unquote(each or "").encode()[:255] for each in (parts.username, parts.password))
        return cls(parts.hostname or "", parts.port or 1080, user, password)

    def connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Return a socket that leads to a server. Raises `OSError`, `TimeoutError` when all of it takes longer."""
        deadline = Deadline(seconds)
        sock = connect(self.host, self.port, seconds)
        try:
            talk = _Talk(sock, deadline)
            self._log_in(talk)
            talk.send(bytes([_VERSION, _CONNECT, 0]), _address(host), struct.pack(">H", port))
            version, reply, _, kind = talk.receive(4)
            if version != _VERSION or reply:
                raise SocksError(_REPLIES.get(reply, _NO_PROXY))
            talk.receive({_IPV4: 4, _IPV6: 16}.get(kind) or talk.receive(1)[0])
            talk.receive(2)
            sock.settimeout(seconds)
        except BaseException:
            sock.close()
            raise
        return sock

    def _log_in(self, talk: _Talk) -> None:
        way = _WITH_PASSWORD if self.user else _OPEN
        talk.send(bytes([_VERSION, 1, way]))
        version, chosen = talk.receive(2)
        if version != _VERSION:
            raise SocksError(_NO_PROXY)
        if chosen != way:
            raise SocksError("the SOCKS proxy wants another way to log in" if self.user else "it wants a password")
        if way == _WITH_PASSWORD:
            talk.send(bytes([_PASSWORDS, len(self.user)]), self.user, bytes([len(self.password)]), self.password)
            if talk.receive(2)[1]:
                raise SocksError("the SOCKS proxy does not take this user and password")


class _Talk:
    """Sends to a proxy and receives from it until a deadline, however slowly its bytes come."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def send(self, *parts: bytes) -> None:
        self._sock.settimeout(self._deadline.left())
        self._sock.sendall(b"".join(parts))

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._sock.settimeout(self._deadline.left())
            more = self._sock.recv(size - len(data))
            if not more:
                raise SocksError(_NO_PROXY)
            data += more
        return data


def _address(host: str) -> bytes:
    for kind, family in ((_IPV4, socket.AF_INET), (_IPV6, socket.AF_INET6)):
        try:
            return bytes([kind]) + socket.inet_pton(family, host.strip("[]"))
        except (OSError, ValueError):
            continue
    name = host.encode()[:255]
    return bytes([_NAME, len(name)]) + name
