"""gunicorn's gevent worker, taught to leave: no stream and no idle connection holds it back."""

from __future__ import annotations

import socket
from contextlib import suppress
from types import FrameType
from typing import Any

import gevent
from gunicorn.workers.ggevent import GeventWorker


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """Ends streams and closes idle keep-alive connections when it is asked to leave.

    gunicorn waits for every connection, whether a request is under way on it or not, up to `graceful_timeout`: without
    this each restart would take as long as a browser keeps its connection open.
    """

    def init_process(self) -> None:
        self._idle: set[Any] = set()
        super().init_process()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        self._idle.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self._idle.discard(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        self._idle.discard(sock)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        finally:
            self._idle.add(sock)
            if not self.alive:
                _end(sock)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)  # a signal handler must not block

    def _let_go(self) -> None:
        self.wsgi.extensions["deechat"].close_streams()
        for client in list(self._idle):
            _end(client)


def _end(client: Any) -> None:
    """Lets whoever reads from the connection see its end, as if the client had left."""
    with suppress(OSError):  # it has
        client.shutdown(socket.SHUT_RD)
