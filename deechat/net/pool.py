"""Connections to servers, kept between requests."""

from __future__ import annotations

import ssl
import threading
import time

from deechat.net.connection import Connect, Connection, Origin, ReadError, Watch, WriteError, connect
from deechat.net.http1 import Body, Exchange, Head, RemoteProtocolError, Request
from deechat.net.rounds import Alone


class Pool:
    """Asks servers; keeps `max_idle` connections for `idle_seconds`.

    `trust` verifies servers, and is set here to offer HTTP/1.1 alone. `connect` makes the connections, `watch` the
    readers of their descriptors.
    """

    def __init__(
        self,
        trust: ssl.SSLContext,
        *,
        max_idle: int,
        idle_seconds: float,
        connect: Connect = connect,
        watch: Watch = Alone,
    ) -> None:
        trust.set_alpn_protocols(["http/1.1"])
        self._trust = trust
        self._connect, self._watch = connect, watch
        self._max_idle, self._idle_seconds = max_idle, idle_seconds
        self._idle: list[tuple[float, Connection]] = []  # each with its end; the one that was used last stands last
        self._lock = threading.Lock()

    def ask(self, origin: Origin, request: Request) -> tuple[Head, Body]:
        """Send a request; return its response's head, and its body to be read and closed. Raises `NetError`.

        It is sent again where a kept connection had ended before the server can have taken the request.
        """
        kept = self._acquire(origin)
        if kept is not None:
            exchange = Exchange(kept, request)
            try:
                return exchange.answer(self._release)
            except (WriteError, ReadError, RemoteProtocolError):
                if not exchange.is_untaken:
                    raise
        connection = Connection.open(origin, self._trust, request.timeouts.connect, self._connect, self._watch)
        return Exchange(connection, request).answer(self._release)

    def _acquire(self, origin: Origin) -> Connection | None:
        """Return an idle connection that is still open, None when there is none; close the ended and the old ones."""
        now = time.monotonic()
        with self._lock:
            overdue = [connection for end, connection in self._idle if end <= now]
            self._idle = [kept for kept in self._idle if kept[0] > now]
        for connection in overdue:
            connection.close()
        while (newest := self._newest(origin)) is not None:
            if newest.is_quiet():
                return newest
            newest.close()
        return None

    def _newest(self, origin: Origin) -> Connection | None:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][1].origin == origin:
                    return self._idle.pop(place)[1]
        return None

    def _release(self, connection: Connection) -> None:
        """Keep a connection, and close the one that was idle longest when they become too many."""
        with self._lock:
            self._idle.append((time.monotonic() + self._idle_seconds, connection))
            surplus = self._idle.pop(0) if len(self._idle) > self._max_idle else None
        if surplus is not None:
            surplus[1].close()

    def close(self) -> None:
        """Close all idle connections; one in use is closed when it is released."""
        with self._lock:
            self._max_idle, idle, self._idle = 0, self._idle, []
        for _, connection in idle:
            connection.close()
