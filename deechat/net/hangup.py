"""Tells when the other end of a connection has hung up, while nothing is read from it or written to it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.socket import wait_read


class Peekable(Protocol):
    """A socket, or an object around one."""

    def fileno(self) -> int: ...
    def recv(self, size: int, flags: int, /) -> bytes: ...


def when_hung_up(connection: Peekable, then: Callable[[], object]) -> Callable[[], object]:
    """Call `then` once the other end hangs up; return a function that ends the watch.

    A next request that comes on the connection ends the watch too.
    """

    def watch() -> None:
        try:
            wait_read(connection.fileno())
            gone = not connection.recv(1, socket.MSG_PEEK)
        except OSError:
            gone = True
        if gone:
            then()

    return gevent.spawn(watch).kill
