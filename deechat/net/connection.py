"""A connection to a server, plain or over TLS: bytes out, bytes in, and errors of its own. It knows no HTTP."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from deechat.net.deadline import Deadline
from deechat.net.rounds import LARGE, Alone, Readable

SIZE = 65_536  # bytes of a read
SHARE = 65_536  # bytes that are read before others have their turn
LEAST = SHARE // 64  # bytes that a read counts for at least: a small one takes its time too
RECORDS = 64  # TLS records in a read: a server may send each token as one
SOON = 0.01  # seconds


class NetError(Exception):
    """A server that cannot be reached, or that leaves or breaks off."""


class ConnectError(NetError):
    """No connection: the name is unknown, no server listens, or TLS does not trust it."""


class ConnectTimeout(NetError):  # noqa: N818 - the three timeouts are named as socket libraries name them
    """No connection within its time."""


class WriteError(NetError):
    """The connection broke while a request was sent."""


class WriteTimeout(NetError):  # noqa: N818
    """The server took nothing of a request for the time of a write."""


class ReadError(NetError):
    """The connection broke while a response was read."""


class ReadTimeout(NetError):  # noqa: N818
    """The server sent nothing for the time of a read."""


class Origin(NamedTuple):
    """Where a connection leads; two requests to equal ones may share it."""

    is_secure: bool
    host: str
    port: int


Connect = Callable[[str, int, float], socket.socket]
"""Connects to a host and a port within so many seconds, or raises `OSError`."""
Watch = Callable[[int], Readable]
"""Makes the `Readable` of a descriptor that does not block."""


def connect(host: str, port: int, seconds: float) -> socket.socket:
    """Return a socket that is connected to a host. Raises `OSError`, `TimeoutError` when it takes longer.

    An IPv4 address is connected as it stands, in 0.10 ms of processor time: gevent would look even that up in a thread,
    which takes 0.44.
    """
    try:
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return socket.create_connection((host, port), seconds)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Connection:
    """An open connection. Its one user closes it.

    A read of a fast server never waits, so reads yield to other greenlets every `SHARE` bytes.
    """

    def __init__(self, origin: Origin, sock: socket.socket, watch: Watch = Alone) -> None:
        self.origin = origin
        self._sock = sock
        # Without TLS the descriptor is read past the socket: it does not block, since gevent's never do.
        readable = watch(sock.fileno())
        self._reader = _Records(sock, readable) if origin.is_secure else readable
        self._share = 0

    @classmethod
    def open(
        cls, origin: Origin, trust: ssl.SSLContext, seconds: float, connect: Connect = connect, watch: Watch = Alone
    ) -> Connection:
        """Return a new connection, with TLS where the origin has it. Raises `ConnectError` and `ConnectTimeout`."""
        with _named(ConnectTimeout, ConnectError):
            sock = connect(origin.host, origin.port, seconds)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                secured = trust.wrap_socket(sock, server_hostname=origin.host) if origin.is_secure else sock
                return cls(origin, secured, watch)
            except BaseException:
                sock.close()
                raise

    def write(self, data: bytes, seconds: float) -> None:
        """Send all of it, waiting `seconds` for each part. Raises `WriteError` and `WriteTimeout`."""
        rest = memoryview(data)
        with _named(WriteTimeout, WriteError):
            self._sock.settimeout(seconds)
            while rest:
                rest = rest[self._sock.send(rest) :]

    def read(self, seconds: float) -> bytes:
        """Return the bytes that came, `SIZE` at most, b"" at the end. Raises `ReadError` and `ReadTimeout`."""
        if self._share >= SHARE:
            self._share = 0
            time.sleep(0)
        try:
            data = self._reader.read(SIZE, seconds)
        except TimeoutError as exc:
            raise ReadTimeout(str(exc)) from exc
        except OSError as exc:
            raise ReadError(str(exc)) from exc
        self._share += max(len(data), LEAST)
        return data

    def read_until(self, deadline: Deadline) -> bytes:
        """Read as `read` does, until the deadline at the latest."""
        try:
            left = deadline.left()
        except TimeoutError as exc:
            raise ReadTimeout(str(exc)) from exc
        return self.read(left)

    def is_quiet(self) -> bool:
        """Check whether it is open and nothing came: between two responses only its end may come."""
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close it at once; TLS tells the server nothing."""
        self._reader.close()
        self._sock.close()


class _Records:
    """The reading side of a connection over TLS, which gives one record a read: joins all records that are here.

    A reader that has read all is told of the next bytes by the descriptor, as without TLS: OpenSSL reads no further
    ahead than the record that it is at. To be closed before its socket is.
    """

    def __init__(self, sock: socket.socket, readable: Readable) -> None:
        self._sock = sock
        self._readable = readable
        self._fault: OSError | None = None

    def read(self, size: int, seconds: float) -> bytes:
        """Return the bytes that came, b"" at the end. Raises `TimeoutError` and other `OSError`s."""
        deadline = Deadline(seconds)
        while True:
            left = deadline.left(0.0)
            is_late = not self._readable.wait(left) if self._readable.is_empty else left == 0.0
            data = self._records(size)  # too late too: it may be that only its round had not come yet
            if data is not None:
                if len(data) >= LARGE:
                    self._readable.hurry()
                return data
            if is_late:
                raise TimeoutError("timed out")

    def _records(self, size: int) -> bytes | None:
        """Return the content of the records that are here; None where there is none."""
        if self._fault:
            raise self._fault
        pieces: list[bytes] = []
        self._readable.is_empty = False  # until OpenSSL says so: bytes that it holds back make no descriptor readable
        self._sock.settimeout(0)
        while size > 0 and len(pieces) < RECORDS:
            try:
                piece = self._sock.recv(size)
            except ssl.SSLWantReadError:
                self._readable.is_empty = True
                break
            except ssl.SSLWantWriteError:
                # OpenSSL has to answer the other side first and has no room for that. No event of reading tells when
                # there is room, so the reader looks again in a moment, and hardly ever has to.
                time.sleep(SOON)
                break
            except OSError as exc:
                if not pieces:
                    raise
                self._fault = exc  # OpenSSL says it once: afterwards the socket seems to have ended well
                break
            if not piece:
                return b"".join(pieces)  # the next read says the end again
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces) if pieces else None

    def close(self) -> None:
        self._readable.close()


@contextmanager
def _named(late: type[NetError], failed: type[NetError]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as exc:
        raise late(str(exc)) from exc
    except (OSError, UnicodeError) as exc:  # a name that is no host's is a UnicodeError
        raise failed(str(exc)) from exc
