"""gunicorn's gevent worker, taught to leave and to speak: no idle connection holds it back, and its errors are JSON."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from http import HTTPStatus
from types import FrameType
from typing import Any, NamedTuple

import gevent
import gevent.socket
from gevent import monkey
from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

PATIENCE_WITH_READERS = 8.0  # seconds after which a stream that nobody reads does not hold the worker any longer

_SystemSocket = monkey.get_original("socket", "socket")


class _Refusal(NamedTuple):
    status: HTTPStatus
    code: str
    words: str


_OUR_MISTAKE = _Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong inside DeeChat.")
_TOO_LONG = _Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", "The address is too long.")
_TOO_MUCH = _Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large.")
_NO = _Refusal(HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "What the header Expect wants is not done here.")
_NO_HTTP = _Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "That is not HTTP that can be understood.")

# What gunicorn answers before there is a request for the application, or after that failed; the first that fits counts.
_REFUSALS: list[tuple[type[Exception], _Refusal]] = [
    (errors.InvalidResponseHeader, _OUR_MISTAKE),
    (errors.InvalidResponseHeaderName, _OUR_MISTAKE),
    (errors.LimitRequestLine, _TOO_LONG),
    (errors.LimitRequestHeaders, _TOO_MUCH),
    (errors.ExpectationFailed, _NO),
    (errors.ParseException, _NO_HTTP),
    (Exception, _OUR_MISTAKE),
]


class _Client(gevent.socket.socket):
    """A client's connection, for whom nearly everything that is sent to it has room in its buffers."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends it all. gevent's own first asks the system how much at a time it may be, for each token that is."""
        try:
            sent = 0 if flags else os.write(self.fileno(), data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """Ends streams and closes idle keep-alive connections when it is asked to leave.

    gunicorn waits for every connection, whether a request is under way on it or not, up to `graceful_timeout`: without
    this each restart would take as long as a browser keeps its connection open.
    """

    _quitting = False

    def init_process(self) -> None:
        # gunicorn looks up thirty settings for each request, by a fallback of Python's for what an object lacks.
        plain = {name: each.get() for name, each in self.cfg.settings.items() if not hasattr(type(self.cfg), name)}
        self.cfg.__dict__.update(plain)
        self._idle: set[Any] = set()
        self._busy: set[Any] = set()
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        client = _Client(client.family, client.type, client.proto, client.detach())
        self._idle.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        self._idle.discard(sock)
        self._busy.add(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._busy.discard(sock)
            self._idle.add(sock)
            if not self.alive:
                _end(sock)

    def handle_error(self, _req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answers in the contract's words where gunicorn has a page of its own."""
        if not isinstance(exc, Exception):
            return  # this greenlet is being ended
        refusal = next(refusal for kind, refusal in _REFUSALS if isinstance(exc, kind))
        if refusal is _OUR_MISTAKE:
            self.log.error("a request met a mistake in the program", exc_info=exc)
        else:
            # Its kind alone: its words may quote a header.
            self.log.warning("refused what %s sent (%s)", addr[0] if addr else "somebody", type(exc).__name__)
        with suppress(OSError):
            client.sendall(_as_http(refusal))
        # Reads on for a moment: closing over unread bytes resets the connection, and the answer may be lost.
        util.close_graceful(client)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Leaves once: Ctrl+C reaches the worker from the terminal and again from the master.

        The second one would end the process in the middle of closing the database.
        """
        if not self._quitting:
            self._quitting = True
            super().handle_quit(sig, frame)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)  # a signal handler must not block

    def _let_go(self) -> None:
        self.wsgi.extensions["deechat"].leave()
        last_call = time.monotonic() + PATIENCE_WITH_READERS
        while True:  # connections still come in until gunicorn has looked whether it shall leave, once a second
            for client in list(self._idle):
                _end(client)
            if time.monotonic() > last_call:
                for client in list(self._busy):
                    _end(client, how=socket.SHUT_RDWR)
            gevent.sleep(0.2)


def _as_http(refusal: _Refusal) -> bytes:
    body = json.dumps({"error": {"code": refusal.code, "message": refusal.words}}).encode()
    lines = (
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def _end(client: Any, how: int = socket.SHUT_RD) -> None:
    """Lets whoever reads from the connection, or writes to it, see its end, as if the client had left."""
    # On the system's own socket: gevent's would raise an error in whoever reads, and gunicorn logs it with a traceback.
    with suppress(OSError), _SystemSocket(fileno=os.dup(client.fileno())) as plain:  # OSError: it has
        plain.shutdown(how)
