"""What the tests of the transport share: a server that sends exactly what a test says, and both transports.

A server's script has one item a request: bytes to send, or a callable that is given the connection's socket. After it
the connection stays open for the next request, unless the callable closed it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2

from deechat.agents.providers.openai.transport import Transport
from deechat.net.pool import Pool

Step = bytes | Callable[[socket.socket], object]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunks(*pieces: bytes) -> bytes:
    return b"".join(map(chunk, pieces)) + b"0\r\n\r\n"


class Server:
    """A thread a connection on 127.0.0.1; `requests` are the bytes that came, `ended` counts closed connections."""

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self.connections = self.ended = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Server:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1/chat?a=b"

    def wait(self, claim: Callable[[], bool], timeout: float = 30) -> bool:
        with self._changed:
            return self._changed.wait_for(claim, timeout)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self._changed.notify_all()
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self._open.add(sock)
            while (request := read_request(sock)) is not None:
                with self._changed:
                    self.requests.append(request)
                    step = self.script.pop(0)
                    self._changed.notify_all()
                if isinstance(step, bytes):
                    sock.sendall(step)
                else:
                    step(sock)
        except OSError:
            pass  # the client left, or would not have this certificate
        finally:
            with self._changed:
                self._open.discard(sock)
                self.ended += 1
                self._changed.notify_all()
            sock.close()


def read_request(sock: socket.socket) -> bytes | None:
    """Reads a request whole; None when the client left or this side has closed."""
    data = b""
    try:
        while not (head := re.match(rb"(?s).*?\r\n\r\n", data)) or len(data) < head.end() + _length(head[0]):
            more = sock.recv(65536)
            if not more:
                return None
            data += more
    except OSError:
        return None
    return data


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    return int(found[1]) if found else 0


def sends(*steps: bytes | float | None) -> Callable[[socket.socket], None]:
    """Gives a step of bytes to send and seconds to wait; None closes, at the end at the latest."""

    def step(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for each in steps:
                if isinstance(each, bytes):
                    sock.sendall(each)
                elif each is None:
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
                else:
                    time.sleep(each)

    return step


def resets(data: bytes) -> Callable[[socket.socket], None]:
    """Gives a step that sends this and resets the connection a moment later."""

    def step(sock: socket.socket) -> None:
        if data:
            sock.sendall(data)
            time.sleep(0.01)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    return step


def waits_for_leave(data: bytes = b"") -> Callable[[socket.socket], None]:
    """Gives a step that sends this and is silent until the client has closed."""

    def step(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if data:
                sock.sendall(data)
            while sock.recv(65536):
                pass

    return step


def floods(first: bytes, more: bytes) -> Callable[[socket.socket], None]:
    """Gives a step that sends without end, until the client has closed."""

    def step(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(first)
            while True:
                sock.sendall(more)

    return step


def drips(first: bytes, more: bytes, pause: float) -> Callable[[socket.socket], None]:
    """Gives a step that sends a little again and again, until the client has closed."""

    def step(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.sendall(first)
            while True:
                time.sleep(pause)
                sock.sendall(more)

    return step


def transport(
    trust: ssl.SSLContext | None = None, *, max_idle: int = 10, idle_seconds: float = 4.0
) -> httpx2.BaseTransport:
    trust = trust or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ordinary = httpx2.HTTPTransport(verify=trust, trust_env=False)
    return Transport(Pool(trust, max_idle=max_idle, idle_seconds=idle_seconds), ordinary)


def client(of: httpx2.BaseTransport | None = None, timeout: Any = 10.0) -> httpx2.Client:
    return httpx2.Client(transport=of or transport(), timeout=timeout, trust_env=False)


def pieces(http: httpx2.Client, url: str, **request: Any) -> list[bytes]:
    """Asks, and gives the body as it came."""
    with http.stream("POST", url, **{"content": b"{}", **request}) as response:
        return list(response.iter_bytes())


def outcome(http: httpx2.Client, url: str, method: str = "POST") -> object:
    """Gives all that a user of the library can tell of an answer: its parts, or its error and what came first."""
    body = b""
    try:
        with http.stream(method, url, content=b"{}" if method == "POST" else None) as response:
            for data in response.iter_bytes():
                body += data
    except httpx2.HTTPError as exc:
        return type(exc).__name__, body
    extensions = response.extensions
    head = (response.status_code, response.headers.raw, extensions["http_version"], extensions["reason_phrase"])
    return *head, response.request.url, body
