"""A connection to a server: bytes out, bytes in, and what goes wrong as the HTTP library's errors. It knows no HTTP."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx2

from deechat.net.rounds import Readable
from deechat.net.tls import Records

SIZE = 65_536  # bytes of a read
SHARE = 65_536  # bytes that are read before others have their turn
LEAST = SHARE // 64  # what a read counts for at least, because it takes its time however little it brings


class Origin(NamedTuple):
    """What a connection leads to; two requests to equal ones may share it."""

    is_secure: bool
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx2.URL) -> Origin:
        is_secure = url.scheme == "https"
        port = url.port if url.port is not None else 443 if is_secure else 80
        return cls(is_secure, url.raw_host.decode("ascii"), port)


Connect = Callable[[str, int, float | None], socket.socket]
"""What connects to a host and a port within so many seconds, or raises `OSError`."""


class Connection:
    """An open connection. Who has it is the only one to use it, and closes it.

    A read of a fast server never waits, so that nobody else would have a turn: reads give one every `SHARE` bytes.
    """

    def __init__(self, origin: Origin, sock: socket.socket) -> None:
        self.origin = origin
        self._sock = sock
        # Without TLS the descriptor is read past the socket: it does not block, since gevent's never do.
        self._arriving = Records(sock) if origin.is_secure else Readable.of(sock.fileno())
        self._share = 0

    @classmethod
    def to(
        cls, origin: Origin, trust: ssl.SSLContext, timeout: float | None, connect: Connect | None = None
    ) -> Connection:
        """Opens one, with TLS where the origin has it. Raises `ConnectError` and `ConnectTimeout`."""
        with _named(httpx2.ConnectTimeout, httpx2.ConnectError):
            sock = (connect or connected)(origin.host, origin.port, timeout)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                secured = trust.wrap_socket(sock, server_hostname=origin.host) if origin.is_secure else sock
                return cls(origin, secured)
            except BaseException:
                sock.close()
                raise

    def write(self, data: bytes, timeout: float | None) -> None:
        """Sends it all, waiting so long for each part that goes. Raises `WriteError` and `WriteTimeout`."""
        rest = memoryview(data)
        with _named(httpx2.WriteTimeout, httpx2.WriteError):
            self._sock.settimeout(timeout)
            while rest:
                rest = rest[self._sock.send(rest) :]

    def read(self, timeout: float | None) -> bytes:
        """Gives all that is there, `SIZE` bytes at most, b"" at the end. Raises `ReadError` and `ReadTimeout`."""
        if self._share >= SHARE:
            self._share = 0
            time.sleep(0)
        try:
            data = self._arriving.read(SIZE, timeout)
        except TimeoutError as exc:
            raise httpx2.ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise httpx2.ReadError(str(exc)) from exc
        self._share += max(len(data), LEAST)
        return data

    def is_quiet(self) -> bool:
        """Says whether it is open and nothing came. What comes between two responses is its end, or should not come."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Closes it at once, without a word to the server."""
        self._arriving.close()
        self._sock.close()


def connected(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connects. A number is not looked up: even that is a look-up in a thread, when sockets are those of greenlets."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return socket.create_connection((host, port), timeout)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


@contextmanager
def _named(late: type[httpx2.TimeoutException], failed: type[httpx2.NetworkError]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        raise late(str(exc)) from exc
    except (OSError, UnicodeError) as exc:  # a name that is no host's is a UnicodeError
        raise failed(str(exc)) from exc
