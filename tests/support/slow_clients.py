"""Clients that take their time: raw connections that say a piece of a request, and the rest drop by drop."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence

DRIP = b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"


class Dripping:
    """So many connections that each send `head`, then `drop` each second; with `again` they come back after as long."""

    def __init__(
        self, port: int, count: int, head: bytes = DRIP, drop: bytes = b" ", again: float | None = None
    ) -> None:
        self._address = ("127.0.0.1", port)
        self._count = count
        self._head = head
        self._drop = drop
        self._again = again
        self._closed = [0.0] * count  # when
        self._over = threading.Event()
        self.answers: Counter[int] = Counter()  # how often which status came; 0: none
        self._sockets: list[socket.socket | None] = [None] * count
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Dripping:
        for place in range(self._count):
            self._sockets[place] = self._connect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for sock in self._sockets:
            if sock is not None:
                sock.close()

    @property
    def open(self) -> int:
        return sum(sock is not None for sock in self._sockets)

    def _connect(self) -> socket.socket | None:
        sock = socket.socket()
        sock.settimeout(2)
        try:
            sock.connect(self._address)
            sock.sendall(self._head)
        except OSError:
            sock.close()
            return None
        sock.setblocking(False)
        return sock

    def _run(self) -> None:
        while not self._over.wait(1):
            for place, sock in enumerate(self._sockets):
                if self._over.is_set():
                    return
                self._sockets[place] = self._go_on(place, sock)

    def _go_on(self, place: int, sock: socket.socket | None) -> socket.socket | None:
        if sock is not None:
            answer = self._drip(sock)
            if answer is None:
                return sock
            self.answers[int(answer.split()[1]) if answer else 0] += 1
            sock.close()
            self._closed[place] = time.monotonic()
        if self._again is not None and time.monotonic() > self._closed[place] + self._again:
            return self._connect()
        return None

    def _drip(self, sock: socket.socket) -> bytes | None:
        """Sends a drop, or gives what was answered."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            return sock.recv(4096)
        with contextlib.suppress(ConnectionError):
            sock.send(self._drop)
            return None
        return b""


def read_all(sock: socket.socket, pieces: Sequence[bytes] = ()) -> bytes:
    """Sends the pieces and reads to the end, which may be a reset."""
    read = b""
    try:
        for piece in pieces:
            sock.sendall(piece)
        while data := sock.recv(65_536):
            read += data
    except ConnectionError:
        pass
    return read
