"""HTTP/1.1 under the SDK, for bodies that are streams of small chunks.

The HTTP library's own transport wakes its reader for each HTTP chunk, which is each token with most model servers. This
one gives what a read of the socket brought. It does that for plain requests straight to a server; any other is left to
the library's own. h11 reads the heads, as it does there, so that both take and refuse the same servers.

`form` is for completions, which are many and alike; `handle_request` is for whatever else the SDK asks.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx2

from deechat.agents.providers.transport_body import Body
from deechat.agents.providers.transport_exchange import Exchange, response_of
from deechat.agents.providers.transport_head import Head
from deechat.agents.providers.transport_request import Form, Outgoing
from deechat.agents.providers.transport_socket import Connection, Origin


class Uncoded(NamedTuple):
    """An answer to be read as it is, without the HTTP library's response around it, which is larger than all else."""

    content_type: str
    body: Body


class Transport(httpx2.BaseTransport):
    """Asks servers directly, verified by `trust`; keeps `max_idle` connections for `idle_seconds`.

    `ordinary` takes the requests that are not plain, and is closed with this.
    """

    def __init__(
        self, trust: ssl.SSLContext, ordinary: httpx2.BaseTransport, *, max_idle: int, idle_seconds: float
    ) -> None:
        trust.set_alpn_protocols(["http/1.1"])
        self._trust = trust
        self._ordinary = ordinary
        self._idle = Idle(max_idle, idle_seconds)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Asks as the HTTP library wants it."""
        if not _is_plain(request):
            return self._ordinary.handle_request(request)
        return response_of(*self._ask(Origin.of(request.url), lambda: Outgoing.of(request)))

    def form(self, like: httpx2.Request) -> Callable[[bytes], Uncoded | httpx2.Response] | None:
        """Gives what sends a request that is like this one with another body; None where the request is not plain."""
        if not _is_plain(like):
            return None
        origin, form = Origin.of(like.url), Form(like)

        def ask(body: bytes) -> Uncoded | httpx2.Response:
            head, its_body = self._ask(origin, lambda: form.request(body))
            fields = dict(head.fields)
            if 200 <= head.status < 300 and b"content-encoding" not in fields:
                return Uncoded(fields.get(b"content-type", b"").decode("latin-1"), its_body)
            return response_of(head, its_body)

        return ask

    def _ask(self, origin: Origin, write: Callable[[], Outgoing]) -> tuple[Head, Body]:
        """Asks, a second time where a kept connection had ended before the server can have taken the request."""
        request = write()
        kept = self._idle.take(origin)
        if kept is not None:
            exchange = Exchange(kept, request)
            try:
                return exchange.answer(self._idle.put)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if not exchange.is_untaken:
                    raise
            request = write()  # h11 has heard of the other connection
        connection = Connection.to(origin, self._trust, request.timeouts.get("connect"))
        return Exchange(connection, request).answer(self._idle.put)

    def close(self) -> None:
        """Closes idle connections; one in use is closed when it is given back."""
        self._idle.close()
        self._ordinary.close()


def _is_plain(request: httpx2.Request) -> bool:
    return (
        request.url.scheme in {"http", "https"}
        and request.method in {"GET", "POST"}
        and isinstance(request.stream, httpx2.ByteStream)
        and request.extensions.keys() <= {"timeout"}
    )


class Idle:
    """Connections between two requests, the one that was used last at the end."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._kept: list[tuple[float, Connection]] = []
        self._lock = threading.Lock()

    def take(self, origin: Origin) -> Connection | None:
        """Gives a connection that is still open, None when there is none; closes those that are not, or are old."""
        for overdue in self._overdue():
            overdue.close()
        while (connection := self._newest(origin)) is not None:
            if connection.is_quiet():
                return connection
            connection.close()
        return None

    def _overdue(self) -> list[Connection]:
        now = time.monotonic()
        with self._lock:
            overdue = [connection for until, connection in self._kept if until <= now]
            self._kept = [kept for kept in self._kept if kept[0] > now]
        return overdue

    def _newest(self, origin: Origin) -> Connection | None:
        with self._lock:
            for place in reversed(range(len(self._kept))):
                if self._kept[place][1].origin == origin:
                    return self._kept.pop(place)[1]
        return None

    def put(self, connection: Connection) -> None:
        """Keeps a connection, and closes the one that waited longest when they become too many."""
        with self._lock:
            self._kept.append((time.monotonic() + self._seconds, connection))
            surplus = self._kept.pop(0) if len(self._kept) > self._most else None
        if surplus is not None:
            surplus[1].close()

    def close(self) -> None:
        """Closes all; from now on none is kept."""
        with self._lock:
            self._most, kept, self._kept = 0, self._kept, []
        for _, connection in kept:
            connection.close()
