"""HTTP/1.1 to model servers, for bodies that are streams of small chunks.

The HTTP library's own transport wakes its reader for each HTTP chunk, which is each token with most model servers. This
one gives what a read of the socket brought, and takes and refuses the same servers.

`form` is for completions, which are many and alike; `handle_request` is for whatever the SDK asks by the HTTP library.
All that it asks today is done here; what it might ask some day in another way is left to the library's own transport.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx2

from deechat.net.body import Body
from deechat.net.connection import Connect, Connection, Origin
from deechat.net.exchange import Exchange
from deechat.net.head import Head
from deechat.net.request import Form, Outgoing


class Uncoded(NamedTuple):
    """An answer with a status of 2xx and no content coding, to be read as it is.

    The HTTP library's response would be around it, and is larger than all else that an open stream needs of a provider.
    """

    content_type: str
    body: Body


class Transport(httpx2.BaseTransport):
    """Asks servers; keeps `max_idle` connections for `idle_seconds`.

    `trust` verifies them, and is told here that they shall speak HTTP/1.1. `ordinary` takes the requests that are not
    done here, and is closed with this. `connect` makes the connections where they go through a proxy.
    """

    def __init__(
        self,
        trust: ssl.SSLContext,
        ordinary: httpx2.BaseTransport,
        *,
        max_idle: int,
        idle_seconds: float,
        connect: Connect | None = None,
    ) -> None:
        trust.set_alpn_protocols(["http/1.1"])
        self._trust = trust
        self._ordinary = ordinary
        self._connect = connect
        self._idle = Idle(max_idle, idle_seconds)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Asks as the HTTP library wants it."""
        if not _is_ours(request):
            return self._ordinary.handle_request(request)
        return _response(*self._ask(Origin.of(request.url), Outgoing.of(request)))

    def form(self, like: httpx2.Request) -> Callable[[bytes], Uncoded | httpx2.Response] | None:
        """Gives what sends a request that is like this one with another body; None where it is not done here."""
        if not _is_ours(like):
            return None
        origin, form = Origin.of(like.url), Form(like)

        def ask(body: bytes) -> Uncoded | httpx2.Response:
            head, its_body = self._ask(origin, form.request(body))
            fields = dict(head.fields)
            if 200 <= head.status < 300 and b"content-encoding" not in fields:
                return Uncoded(fields.get(b"content-type", b"").decode("latin-1"), its_body)
            return _response(head, its_body)

        return ask

    def _ask(self, origin: Origin, request: Outgoing) -> tuple[Head, Body]:
        """Asks, a second time where a kept connection had ended before the server can have taken the request."""
        kept = self._idle.take(origin)
        if kept is not None:
            exchange = Exchange(kept, request)
            try:
                return exchange.answer(self._idle.put)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if not exchange.is_untaken:
                    raise
        connection = Connection.to(origin, self._trust, request.timeouts.get("connect"), self._connect)
        return Exchange(connection, request).answer(self._idle.put)

    def close(self) -> None:
        """Closes idle connections; one in use is closed when it is given back."""
        self._idle.close()
        self._ordinary.close()


def _is_ours(request: httpx2.Request) -> bool:
    """Says whether the request is one of those that are sent here: with a body of bytes, and no wishes of its own."""
    return (
        request.url.scheme in {"http", "https"}
        and request.method in {"GET", "POST"}
        and isinstance(request.stream, httpx2.ByteStream)
        and request.extensions.keys() <= {"timeout"}
    )


def _response(head: Head, body: Body) -> httpx2.Response:
    """Gives an answer as the HTTP library has it; `body`, one of its extensions, takes its reader's patience."""
    return httpx2.Response(
        head.status,
        headers=head.raw,
        stream=body,
        extensions={"http_version": b"HTTP/" + head.version, "reason_phrase": head.reason, "body": body},
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
