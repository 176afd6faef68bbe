"""A hostile web on one machine: names with any addresses, and sites of plain sockets that answer with any bytes."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from deechat.agents.tools.base import ToolError
from deechat.agents.tools.context import ToolContext
from deechat.agents.tools.web.web_fetch import Fetcher
from deechat.net.checked import Allowance, TimedSocket, connect_address

PUBLIC = "93.184.216.34"
OTHER = "151.101.1.140"

Answer = bytes | Callable[[socket.socket, str], None]


def page(
    body: str | bytes, kind: str | None = "text/html; charset=utf-8", *, status: str = "200 OK", **headers: str
) -> bytes:
    """Gives a response as bytes; `headers` have _ for -."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {kind}"] if kind is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return page("", status=status, Location=location)


def zipped(body: bytes) -> bytes:
    return page(gzip.compress(body), Content_Encoding="gzip")


class Site:
    """A server of plain sockets. `answers` go by path; `accepted` counts connections, `heads` keeps what was asked.

    With `waits` off it answers at once, whatever is asked.
    """

    def __init__(self, answers: dict[str, Answer], tls: ssl.SSLContext | None = None, waits: bool = True) -> None:
        self.answers, self.accepted, self.heads = answers, 0, []  # type: tuple[dict[str, Answer], int, list[str]]
        self._tls, self._waits = tls, waits
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            secured = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with secured:
                head = b""
                while self._waits and b"\r\n\r\n" not in head and (data := secured.recv(65536)):
                    head += data
                self.heads.append(head.decode("latin-1"))
                path = self.heads[-1].split(" ")[1] if head else "/"
                answer = self.answers.get(path, self.answers.get("*", page("nothing here", status="404 Not Found")))
                if callable(answer):
                    answer(secured, self.heads[-1])
                else:
                    secured.sendall(answer)


class Web:
    """Names, addresses and sites, and a list of every look-up and every connection that was tried."""

    def __init__(self) -> None:
        self.names: dict[str, Sequence[str] | Callable[[], Sequence[str]]] = {"example.com": [PUBLIC]}
        self.sites: dict[tuple[str, int], Site] = {}
        self.looked_up: list[str] = []
        self.connected: list[tuple[str, int]] = []

    def site(self, answers: dict[str, Answer] | Answer, address: str = PUBLIC, port: int = 80, **more: Any) -> Site:
        site = Site(answers if isinstance(answers, dict) else {"*": answers}, **more)
        self.sites[address, port] = site
        return site

    def fetcher(self, **more: Any) -> Fetcher:
        return Fetcher(**({"resolve": self._resolve, "connect": self._connect, "seconds": 60} | more))

    def fetch(self, url: str = "http://example.com/", *, context: ToolContext | None = None, **more: Any) -> str:
        return self.fetcher(**more).fetch(url, context)

    def refusal(self, url: str = "http://example.com/", **more: Any) -> str:
        with pytest.raises(ToolError) as caught:
            self.fetch(url, **more)
        assert len(caught.value.message) < 1_000
        return caught.value.message

    def close(self) -> None:
        for site in self.sites.values():
            site.close()

    def _resolve(self, host: str, _seconds: float) -> Sequence[str]:
        self.looked_up.append(host)
        addresses = self.names.get(host, ())
        return addresses() if callable(addresses) else addresses

    def _connect(self, address: str, port: int, allowance: Allowance, seconds: float) -> TimedSocket:
        self.connected.append((address, port))
        if (address, port) not in self.sites:
            raise ConnectionRefusedError(111, "Connection refused")
        return connect_address("127.0.0.1", self.sites[address, port].port, allowance, seconds)


def opened() -> Iterator[Web]:
    web = Web()
    try:
        yield web
    finally:
        web.close()


def drip(head: bytes, drop: bytes) -> Answer:
    """Gives an answer that goes on for ever, drop by drop."""

    def answer(connection: socket.socket, _head: str) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return answer
