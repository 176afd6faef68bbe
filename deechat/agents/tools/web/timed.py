"""Sockets that keep a deadline and a measure, whatever the other side does. They know no name and no protocol."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from typing import Any


class Allowance:
    """How long a fetch may still take, and how many bytes a server may still send."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._bytes = 0

    def left(self) -> float:
        """Gives the seconds that are left. Raises `TimeoutError` when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time is up")
        return left

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline - 0.05  # a timer may be a little early

    @property
    def is_overdrawn(self) -> bool:
        return self._bytes < 0

    def grant(self, size: int) -> None:
        """Lets the server send this many bytes from now on."""
        self._bytes = size

    def take(self, size: int) -> None:
        """Notes that bytes came. Raises `OSError` when they were more than granted."""
        self._bytes -= size
        if self._bytes < 0:
            raise OSError("the server sends more than it may")


class TimedSocket(socket.socket):
    """A socket whose every operation has the time that is left, so that a drip cannot outlive the deadline."""

    def __init__(self, family: int, allowance: Allowance) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._allowance = allowance

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        self._turn()
        data = super().recv(*args, **kwargs)
        self._allowance.take(len(data))
        return data

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._turn()
        size = super().recv_into(*args, **kwargs)
        self._allowance.take(size)
        return size

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._turn()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._turn()
        super().sendall(*args, **kwargs)

    def end(self) -> None:
        """Closes it now, also where a file of it is still open: `close` would wait for that, on an error for ever."""
        descriptor = self.detach()
        if descriptor >= 0:
            os.close(descriptor)

    def _turn(self) -> None:
        time.sleep(0)  # lets the other greenlets in: a fast server would keep the hub to itself
        self.settimeout(self._allowance.left())


def connected(address: str, port: int, allowance: Allowance, seconds: float) -> TimedSocket:
    """Connects to a numeric address. Raises `OSError`, with nothing left open."""
    number = ipaddress.ip_address(address)  # raises ValueError for a name: none is ever looked up here
    made = TimedSocket(socket.AF_INET6 if number.version == 6 else socket.AF_INET, allowance)
    try:
        made.settimeout(min(seconds, allowance.left()))
        made.connect((str(number), port))
    except BaseException:
        made.close()
        raise
    return made
