"""Who is at the other end of a loopback connection: the process, and whether it speaks for others.

A proxy on this machine connects from 127.0.0.1 like a browser does, and need not say for whom. Its address and headers
can be what a stranger likes; who holds the socket cannot. The kernel names the socket by both addresses (`sock_diag`,
else `/proc/net/tcp`), `/proc/PID/fd` names the process that holds it, and a process that also listens where other
machines reach it speaks for others. So does one that answers a connection to such a place, which another process
accepted and handed on, as `inetd` does. Both hold for its parents too while they are the same program, such as `socat`
with `fork`. A process that started this server, and its children, speaks for itself. A process that cannot be found or
looked into is nobody's: another user's, or in another container.

Only Linux tells; elsewhere every loopback connection passes here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from posix import close  # gevent's looks at the file first, which fails when its process is gone
from typing import NamedTuple

from deechat.net.addresses import is_loopback

REMEMBERED = 32  # processes that were met: browsers, scripts, proxies
GUESSED = 4  # of them, and of those that began last, are tried first
NEAR = 12  # numbers before and after the last one, where the next connection is looked for
KNOWN_FOR = 60.0  # seconds after which a process is read as a whole again
_LISTEN = 10  # TCP_LISTEN of the kernel
_ANY = 0xFFFFFFFF  # states, as bits
_CONNECTED = sum(1 << state for state in (1, 4, 5, 8, 9, 11))  # established, and those in which one side has ended

# include/uapi/linux/netlink.h, sock_diag.h and inet_diag.h
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _DUMP = 4, 20, 1, 0x300
_ERROR, _DONE = 2, 3
_CODE, _JUMP, _PORT_FROM, _PORT_TO = 1, 1, 2, 3  # the attribute that holds a filter, and a filter's instructions
_HEADER = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI")  # family, protocol, extensions, states; then the socket's id
_ID = struct.Struct(">HH16s16s")  # ports and addresses; then interface and cookie
_REST = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_ANSWER = struct.Struct("=BBBB48xIIIII")  # family, state, …; the id; expires, two queues, uid, inode
_MOST = 8192  # bytes that the kernel puts into one message
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address that is written as one of IPv6


class Address(NamedTuple):
    """One end of a TCP connection."""

    host: bytes
    """The address as the network writes it: 4 bytes, or 16; 4 also for one of IPv4 that was written as one of IPv6."""
    port: int


class Socket(NamedTuple):
    """A TCP socket as the kernel lists it."""

    local: Address
    uid: int
    inode: int
    listens: bool


_NONE = Address(b"", 0)


@dataclass(frozen=True, slots=True)
class Stranger:
    """Why a loopback connection is not taken for one of this machine's own people."""

    hidden: bool
    """Whether the process could not be found or looked into, and so may be anybody's."""
    words: str
    """The findings, for the log."""


class _Process:
    """A process that held the other end of a connection before."""

    def __init__(self, folder: int, without: frozenset[int], numbers: dict[int, int], last: int) -> None:
        self.folder = folder  # its `fd`, held open: that is of no other process, though one be given its number later
        self.without = without  # the sockets that listen for other machines and are not its own
        self.numbers = numbers  # of its sockets, by inode: those of the last reading, and those found since
        self.last = last  # the number of the new socket that was found last
        self.read_at = time.monotonic()

    def __del__(self) -> None:
        close(self.folder)

    def holds(self, inode: int) -> bool:
        """Check whether it holds the socket, where it was or else near where the last new one was."""
        wanted, before = f"socket:[{inode}]", self.numbers.get(inode)
        near = (self.last, *range(self.last + 1, self.last + NEAR), *range(self.last - 1, 2, -1)[:NEAR])
        for number in near if before is None else (before,):
            with suppress(OSError):
                if os.readlink(str(number), dir_fd=self.folder) == wanted:
                    if before is None:
                        self.numbers[inode] = self.last = number
                    return True
        return False


class Neighbours:
    """Looks up the processes behind loopback connections.

    A process is read as a whole when it is met, whenever anything new listens for other machines, and after
    `KNOWN_FOR`. Between, only the one connection is looked for, where it was or near where the last new one was: a
    client with a thousand costs no more.
    """

    def __init__(self) -> None:
        # By number, the latest last; None is one that speaks for others, which is read anew each time.
        self._met: OrderedDict[int, _Process | None] = OrderedDict()

    def stranger(self, there: tuple[str, int], here: tuple[str, int]) -> Stranger | None:
        """Return why the connection from `there` to `here` may be somebody else's; None when it is of this machine."""
        if sys.platform != "linux":
            return None
        try:
            end, listening = _look_up(_parsed(there), _parsed(here))
            if end is None or not end.inode:
                return Stranger(True, "nobody holds the other end of the connection any more")
            if os.geteuid() not in (0, end.uid):
                return Stranger(True, f"its process is of another user (uid {end.uid}), which cannot be looked into")
            public = {each.inode: each.local for each in listening if not is_loopback(each.local.host)}
            return None if self._is_known(end.inode, public) else self._look(end.inode, public)
        except OSError as exc:
            return Stranger(True, f"this system does not tell who holds a connection ({exc.strerror})")

    def _is_known(self, inode: int, public: dict[int, Address]) -> bool:
        """Check whether a process that was met lately holds the connection, and still speaks for itself alone."""
        since = time.monotonic() - KNOWN_FOR
        known = [each for each in reversed(self._met.values()) if each and each.read_at > since]
        likely = [each for each in known if inode in each.numbers] or known[:GUESSED]
        return any(each.without >= public.keys() and each.holds(inode) for each in likely)

    def _look(self, inode: int, public: dict[int, Address]) -> Stranger | None:
        for pid in self._candidates():
            with suppress(OSError), _open(pid) as folder:
                held = _sockets(folder)
                if inode in held:
                    found = _judge(pid, inode, held.keys(), public)
                    self._meet(pid, None if found else _Process(os.dup(folder), frozenset(public), held, held[inode]))
                    return found
        return Stranger(True, "its process cannot be looked into: it is protected, or in another container")

    def _meet(self, pid: int, process: _Process | None) -> None:
        self._met[pid] = process
        self._met.move_to_end(pid)
        if len(self._met) > REMEMBERED:
            self._met.popitem(last=False)

    def _candidates(self) -> list[int]:
        """Return the processes in the order in which they are likely: just begun, met before, the others."""
        pids = sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)  # noqa: PTH208
        for pid in self._met.keys() - set(pids):
            del self._met[pid]
        return list(dict.fromkeys([*pids[:GUESSED], *reversed(self._met), *pids]))


def _judge(pid: int, inode: int, held: Set[int], public: dict[int, Address]) -> Stranger | None:
    """Return why a process that holds these sockets, or one that it was split off from, speaks for others."""
    line = list(_same_program(pid, held))
    for each, sockets in line:
        for listener in sockets & public.keys():
            where = public[listener]
            host = ip_address(where.host)
            return Stranger(False, f"{_name(each)} also listens on {host} port {where.port}, for others")
    if any(sockets - {inode} for _, sockets in line):
        accepted = _accepted({where.port for where in public.values()})
        for each, sockets in line:
            for connection in sockets & accepted.keys():
                return Stranger(False, f"{_name(each)} also answers at port {accepted[connection]}, for others")
    return None


def _same_program(pid: int, held: Set[int]) -> Iterator[tuple[int, Set[int]]]:
    """Return the process, then its parents while they are the same program, each with its sockets.

    The line ends before a process that started this server: that could do by itself anything it asks for.
    """
    with suppress(OSError, IndexError):
        while not _is_above(pid):
            yield pid, held
            parent = _parent(pid)
            # Not by the command line, which a process may write over.
            if not parent or _program(parent) != _program(pid):
                return
            with _open(parent) as folder:
                pid, held = parent, _sockets(folder).keys()


def _program(pid: int) -> tuple[int, int]:
    """Return which file the process runs, as device and inode."""
    file = Path(f"/proc/{pid}/exe").stat()
    return file.st_dev, file.st_ino


def _name(pid: int) -> str:
    return f"{_read(pid, 'comm').strip()} (process {pid})"


def _parent(pid: int) -> int:
    # The name in brackets may hold anything, brackets too; after it come the state and the parent.
    return int(_read(pid, "stat").rpartition(")")[2].split()[1])


def _is_above(pid: int) -> bool:
    """Check whether this process descends from another one, but for the first of all, which everything does."""
    above = os.getppid()
    with suppress(OSError, IndexError):
        while above not in (0, 1, pid):
            above = _parent(above)
    return above == pid > 1


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text(errors="replace")


@contextmanager
def _open(pid: int) -> Iterator[int]:
    folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        close(folder)


def _sockets(folder: int) -> dict[int, int]:
    """Return the sockets in a process's `fd`, inode to number. Raises `OSError` when it may not be looked into."""
    found: dict[int, int] = {}
    for name in os.listdir(folder):
        with suppress(OSError):  # it was closed meanwhile
            target = os.readlink(name, dir_fd=folder)
            if target.startswith("socket:["):
                found[int(target[8:-1])] = int(name)
    return found


def _parsed(address: tuple[str, int]) -> Address:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return _address(socket.inet_pton(family, host.partition("%")[0]), port)


def _address(host: bytes, port: int) -> Address:
    return Address(host[12:] if host[:12] == _MAPPED else host, port)


# -- the kernel's sockets ----------------------------------------------------------------------------------------------


def _look_up(local: Address, remote: Address) -> tuple[Socket | None, list[Socket]]:
    """Return the connected socket with these ends, and all that listen."""
    family = socket.AF_INET if len(local.host) == 4 else socket.AF_INET6
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as link:
            found = _ask(link, family, _REQUEST, _ANY & ~(1 << _LISTEN), local=local, remote=remote)
            # A socket that listens at the same port is given in the place of one that has gone.
            connected = next((each for each in found if not each.listens), None)
            families = (socket.AF_INET, socket.AF_INET6)
            return connected, [
                each for family in families for each in _ask(link, family, _REQUEST | _DUMP, 1 << _LISTEN)
            ]
    except OSError:
        return _read_list(local, remote)


def _accepted(ports: Set[int]) -> dict[int, int]:
    """Return the connected sockets whose own port is one of these, inode to port."""
    families = (socket.AF_INET, socket.AF_INET6)
    found: list[Socket] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as link:
            for family in families:
                found += _ask(link, family, _REQUEST | _DUMP, _CONNECTED, attributes=_at(sorted(ports)))
    except OSError:
        found = [each for each, _ in _listed() if not each.listens]
    return {each.inode: each.local.port for each in found if each.local.port in ports}


def _at(ports: list[int]) -> bytes:
    """Return the filter by which the kernel lists only sockets at these ports, in one walk through its table.

    For each port: "at least", "at most", then a jump to the end, which takes the socket. A jump beyond it does not.
    """
    code = b""
    for left in range(len(ports), 0, -1):
        beyond = 0 if left > 1 else 4
        code += struct.pack("=BBHHH", _PORT_FROM, 8, 20 + beyond, 0, ports[-left])
        code += struct.pack("=BBHHH", _PORT_TO, 8, 12 + beyond, 0, ports[-left])
        code += struct.pack("=BBH", _JUMP, 4, 20 * left - 16)
    return struct.pack("=HH", 4 + len(code), _CODE) + code


def _ask(
    link: socket.socket,
    family: int,
    flags: int,
    states: int,
    *,
    local: Address = _NONE,
    remote: Address = _NONE,
    attributes: bytes = b"",
) -> list[Socket]:
    """Ask the kernel for TCP sockets: for the one with these ends, or for all in these states.

    Raises `OSError` where it does not answer such questions.
    """
    identity = _ID.pack(local.port, remote.port, local.host, remote.host) + _REST
    body = _QUERY.pack(family, socket.IPPROTO_TCP, 0, states) + identity + attributes
    found: list[Socket] = []
    link.sendto(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, flags, 1, 0) + body, (0, 0))
    while True:
        for kind, message in _messages(link.recv(_MOST)):
            if kind == _ERROR:
                code = -int.from_bytes(message[:4], sys.byteorder, signed=True)
                if code == errno.ENOENT:  # no such socket, or a kernel without IPv6
                    return []
                raise OSError(code, os.strerror(code))
            if kind == _DONE:
                return found
            found.append(_socket_of(message))
        if not flags & _DUMP:
            return found


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, position)
        yield kind, data[position + _HEADER.size : position + length]
        position += (length + 3) & ~3


def _socket_of(message: bytes) -> Socket:
    family, state, _timer, _retransmits, *_, uid, inode = _ANSWER.unpack_from(message)
    port, _, host, _ = _ID.unpack_from(message, 4)
    return Socket(_address(host[:4] if family == socket.AF_INET else host, port), uid, inode, state == _LISTEN)


def _read_list(local: Address, remote: Address) -> tuple[Socket | None, list[Socket]]:
    """Read the same from `/proc/net`, slower by far: the kernel writes a line for each connection."""
    sockets = list(_listed())
    connected = (each for each, other in sockets if not each.listens and (each.local, other) == (local, remote))
    return next(connected, None), [each for each, _ in sockets if each.listens]


def _listed() -> Iterator[tuple[Socket, Address]]:
    """Return all TCP sockets of `/proc/net`, each with its other end."""
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                _, ours, theirs, state, _, _, _, uid, _, inode, *_ = line.split()
                yield Socket(_unhex(ours), int(uid), int(inode), int(state, 16) == _LISTEN), _unhex(theirs)


def _unhex(text: str) -> Address:
    host, _, port = text.partition(":")
    # Words of 32 bits, each in the machine's own order.
    words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
    return _address(b"".join(word.to_bytes(4, sys.byteorder) for word in words), int(port, 16))
