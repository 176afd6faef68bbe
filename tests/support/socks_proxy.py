"""A SOCKS5 proxy of the tests: RFC 1928 with CONNECT alone, and the password of RFC 1929 where one is set."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

REFUSED = 5  # connection refused


class SocksProxy:
    """Listens from `__enter__` to `__exit__`; a thread a connection.

    `names` are the names that it knows, each with its port of loopback: who asks it does not look them up. `asked` has
    what it was asked for. `answer`, where it is set, is sent in the place of all that a proxy says.
    """

    def __init__(self, names: dict[str, int], password: tuple[str, str] | None = None) -> None:
        self.names = names
        self.password = password
        self.asked: list[tuple[str, int]] = []
        self.answer: bytes | None = None
        self._listener = socket.socket()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._answering: list[threading.Thread] = []

    def __enter__(self) -> SocksProxy:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(100)
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for sock in (self._listener, *self._open):
            sock.close()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def wait_passed_on(self) -> None:
        """Waits until the ends of all servers that were reached have been told to the clients."""
        for thread in self._answering:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._open.append(sock)
                self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self.answer is not None:
                sock.recv(100)
                sock.sendall(self.answer)
                sock.shutdown(socket.SHUT_RDWR)
                return
            self._greet(sock)
            upstream = self._connect(sock)
            if upstream is not None:
                self._open.append(upstream)
                self._answering.append(self._start(lambda: _pass_on(upstream, sock)))
                _pass_on(sock, upstream)

    def _greet(self, sock: socket.socket) -> None:
        _, count = _read(sock, 2)
        methods = _read(sock, count)
        method = 0 if self.password is None else 2
        sock.sendall(bytes([5, method if method in methods else 255]))
        if method:
            _, size = _read(sock, 2)
            user = _read(sock, size).decode()
            right = (user, _read(sock, _read(sock, 1)[0]).decode()) == self.password
            sock.sendall(bytes([1, 0 if right else 1]))
            if not right:
                raise EOFError

    def _connect(self, sock: socket.socket) -> socket.socket | None:
        _, _, _, kind = _read(sock, 4)
        raw = _read(sock, {1: 4, 4: 16}.get(kind) or _read(sock, 1)[0])
        host = raw.decode() if kind == 3 else socket.inet_ntop({1: socket.AF_INET, 4: socket.AF_INET6}[kind], raw)
        (port,) = struct.unpack(">H", _read(sock, 2))
        self.asked.append((host, port))
        known = self.names.get(host)
        sock.sendall(bytes([5, 0 if known else REFUSED, 0, 1, 0, 0, 0, 0, 0, 0]))
        return socket.create_connection(("127.0.0.1", known)) if known else None


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
