"""A proxy that breaks connections at any byte, as networks do."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from types import TracebackType

from server import Server

EVENT = re.compile(rb"data: [^\n]*\n\n")


class CuttingProxy:
    """Passes bytes between clients and a server, and cuts the first connections.

    Connection number n is cut when `cuts[n]` bytes of the response's body have passed, chunk sizes included; later
    ones are left alone. `all_cut` is set when a connection came after the last that is cut, `heartbeat` when one of
    those passed a heartbeat.
    """

    def __init__(self, server: Server, cuts: list[int]) -> None:
        self._server = server
        self._cuts = list(cuts)
        self.all_cut = threading.Event()
        self.heartbeat = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CuttingProxy:
        self._begin(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _shut(self._listener, *self._open)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()

    def _begin(self, work: object, *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))  # type: ignore[arg-type]
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._server.port))
                except OSError:  # it is not there just now
                    client.close()
                    continue
                self._open += [client, server]
                cut = self._cuts.pop(0) if self._cuts else None
                if cut is None:
                    self.all_cut.set()
                self._begin(self._ask, client, server)
                self._begin(self._answer, server, client, cut)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one side has left, or was cut
            while data := client.recv(65_536):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, cut: int | None) -> None:
        with contextlib.suppress(OSError):  # likewise
            self._hand_on(server, client, cut)
        _shut(server, client)

    def _hand_on(self, server: socket.socket, client: socket.socket, cut: int | None) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (data := server.recv(65_536)):
                return
            head += data
        head, end, body = head.partition(b"\r\n\r\n")
        client.sendall(head + end)
        left = cut
        while True:
            if left is None and b"heartbeat" in body:
                self.heartbeat.set()
            client.sendall(body if left is None else body[:left])
            if left is not None and (left := left - len(body)) <= 0:
                return
            if not (body := server.recv(65_536)):
                return


class EventCutter(CuttingProxy):
    """Cuts a connection right behind its event number `every`; `cuts` counts them. Comments are no events.

    From `most` cuts on it leaves connections alone.

    It cuts behind no event that holds one of the words `last`: some clients take a response that was cut between its
    last event and its end for a failure, and no server can help that.
    """

    def __init__(self, server: Server, every: int, last: tuple[bytes, ...] = (), most: int = 10**9) -> None:
        super().__init__(server, [])
        self._every = every
        self._last = last
        self._most = most
        self.cuts = 0

    def _hand_on(self, server: socket.socket, client: socket.socket, _cut: int | None) -> None:
        passed, sent, count, looked_at = b"", 0, 0, 0
        while data := server.recv(65_536):
            passed += data
            for event in EVENT.finditer(passed, looked_at):
                count, looked_at = count + 1, event.end()
                if any(word in event[0] for word in self._last):
                    count = 0  # the connection may bring another response
                elif count >= self._every and self.cuts < self._most:
                    self.cuts += 1
                    client.sendall(passed[sent:looked_at])
                    return
            client.sendall(passed[sent:])
            sent = len(passed)


def _shut(*sockets: socket.socket) -> None:
    """Ends the connections, also for a thread that waits for bytes of them, which closing alone would not."""
    for each in sockets:
        with contextlib.suppress(OSError):  # it is over already
            each.shutdown(socket.SHUT_RDWR)
