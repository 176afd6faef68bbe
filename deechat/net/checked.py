"""Connections to checked addresses only, under one deadline and one limit of bytes.

A host is resolved here, once for each connection. All its addresses are checked, and one of them is connected as a
number, so that no second look-up can give another. The checked address is the connected one, however a URL was parsed.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from deechat.errors import DeeChatError
from deechat.net.deadline import Deadline
from deechat.net.lookups import Lookups

MOST_ADDRESSES = 8  # of one host that are tried


class NotConnectedError(DeeChatError):
    """A host was not connected to: an address that is not permitted, no address, or no answer."""


class Allowance(Deadline):
    """The time that an exchange may still take, and the bytes that its server may still send."""

    __slots__ = ("_bytes",)

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._bytes = 0

    @property
    def is_overdrawn(self) -> bool:
        return self._bytes < 0

    def grant(self, size: int) -> None:
        """Let the server send this many bytes from now on."""
        self._bytes = size

    def take(self, size: int) -> None:
        """Count bytes that came. Raises `OSError` when they were more than granted."""
        self._bytes -= size
        if self._bytes < 0:
            raise OSError("the server sends more than it may")


class TimedSocket(socket.socket):
    """A socket whose every operation has the time that is left, so that a drip cannot outlive the deadline."""

    def __init__(self, family: int, allowance: Allowance) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._allowance = allowance

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        self._yield()
        data = super().recv(*args, **kwargs)
        self._allowance.take(len(data))
        return data

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._yield()
        size = super().recv_into(*args, **kwargs)
        self._allowance.take(size)
        return size

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._yield()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._yield()
        super().sendall(*args, **kwargs)

    def end(self) -> None:
        """Close it now, also where a file of it is still open: `close` would wait for that, on an error for ever."""
        descriptor = self.detach()
        if descriptor >= 0:
            os.close(descriptor)

    def _yield(self) -> None:
        time.sleep(0)  # lets the other greenlets in: a fast server would keep the hub to itself
        self.settimeout(self._allowance.left())


def connect_address(address: str, port: int, allowance: Allowance, seconds: float) -> TimedSocket:
    """Connect to a numeric address. Raises `OSError`, with nothing left open."""
    number = ipaddress.ip_address(address)  # raises ValueError for a name: none is ever looked up here
    made = TimedSocket(socket.AF_INET6 if number.version == 6 else socket.AF_INET, allowance)
    try:
        made.settimeout(min(seconds, allowance.left()))
        made.connect((str(number), port))
    except BaseException:
        made.close()
        raise
    return made


def resolve_host(host: str, seconds: float) -> list[str]:
    """Return a host's addresses as the system knows them, within so many seconds.

    Raises `TimeoutError`, and `OSError` or `UnicodeError` where there are none.
    """
    return Lookups.here().addresses(host, seconds)


Resolve = Callable[[str, float], Sequence[str]]  # host, seconds
Connect = Callable[[str, int, Allowance, float], TimedSocket]  # address, port, allowance, seconds


class Connector:
    """Resolves a host, checks all its addresses, and connects to one of them by its number."""

    def __init__(
        self, resolve: Resolve, permitted: Callable[[str], bool], ports: frozenset[int], connect: Connect
    ) -> None:
        self._resolve, self._permitted, self._ports, self._connect = resolve, permitted, ports, connect

    def socket_to(self, host: str, port: int, allowance: Allowance) -> TimedSocket:
        """Connect to a host at the first of its addresses that answers.

        Raises `TimeoutError` at the deadline, and `NotConnectedError`, with nothing connected, where any address is not
        permitted: a host with both kinds is a trick.
        """
        if port not in self._ports:
            raise NotConnectedError(f"Port {port} of {host} is not fetched from.")
        addresses = self._addresses(host, allowance)
        for address in addresses:
            if not self._permitted(address):
                raise NotConnectedError(
                    f"{host} leads to {address}, which is not an address of the public Internet, so it is refused."
                )
        return self._first(host, port, addresses[:MOST_ADDRESSES], allowance)

    def _addresses(self, host: str, allowance: Allowance) -> Sequence[str]:
        seconds = allowance.left()
        try:
            addresses = self._resolve(host, seconds)
        except TimeoutError as error:
            words = f"The name {host} could not be looked up in time. Its name servers may be silent."
            raise NotConnectedError(words) from error
        except (OSError, UnicodeError) as error:
            raise NotConnectedError(f"The host {host} was not found. Check its spelling.") from error
        if not addresses:
            raise NotConnectedError(f"The host {host} has no address.")
        return addresses

    def _first(self, host: str, port: int, addresses: Sequence[str], allowance: Allowance) -> TimedSocket:
        for index, address in enumerate(addresses):
            try:
                # A dead first address leaves the others their share of the time.
                return self._connect(address, port, allowance, allowance.left() / (len(addresses) - index))
            except OSError as error:
                failure = error
                allowance.left()
        reason = failure.strerror or "no answer in time"
        raise NotConnectedError(f"{host} does not take connections at port {port}: {reason}.") from failure
