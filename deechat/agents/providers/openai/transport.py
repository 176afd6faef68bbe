"""Our connections as a transport of the SDK's HTTP library, with its requests, responses and errors.

The library's own transport wakes its reader for each HTTP chunk, which is each token with most model servers. Ours
returns all that a read of the socket brought. `form` is for completions, which are many and alike, and goes past the
library; `handle_request` is for the SDK's other requests. This module is loaded with the SDK: it needs its library.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx2

from deechat.agents.providers.openai.proxies import Proxy
from deechat.agents.providers.openai.response import Answer
from deechat.net import connection, http1
from deechat.net.connection import NetError, Origin, Watch
from deechat.net.http1 import Body, Form, Head, Request, Timeouts
from deechat.net.pool import Pool
from deechat.net.socks import Socks

MAX_ERROR_BODY = 64_000
_ERRORS: dict[type[NetError], type[httpx2.TransportError]] = {
    connection.ConnectError: httpx2.ConnectError,
    connection.ConnectTimeout: httpx2.ConnectTimeout,
    connection.WriteError: httpx2.WriteError,
    connection.WriteTimeout: httpx2.WriteTimeout,
    connection.ReadError: httpx2.ReadError,
    connection.ReadTimeout: httpx2.ReadTimeout,
    http1.LocalProtocolError: httpx2.LocalProtocolError,
    http1.RemoteProtocolError: httpx2.RemoteProtocolError,
}


def make_transport(
    trust: ssl.SSLContext, proxy: Proxy | None, *, max_idle: int, idle_seconds: float, watch: Watch
) -> Transport | None:
    """Return a transport that goes straight to servers or through a SOCKS proxy; None for an HTTP proxy."""
    make_pool = partial(Pool, trust, max_idle=max_idle, idle_seconds=idle_seconds, watch=watch)
    if proxy is None:
        ordinary: httpx2.BaseTransport = httpx2.HTTPTransport(verify=trust, trust_env=False)
        return Transport(make_pool(), ordinary)
    if not proxy.is_socks:
        return None

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.UnsupportedProtocol(f"{request.method} is not sent through a SOCKS proxy")

    return Transport(make_pool(connect=Socks.of(proxy.url).connect), httpx2.MockTransport(refuse))


class Transport(httpx2.BaseTransport):
    """Asks over the connections of `pool`; `ordinary` takes the requests that are not done here. It closes both."""

    def __init__(self, pool: Pool, ordinary: httpx2.BaseTransport) -> None:
        self._pool = pool
        self._ordinary = ordinary

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Ask as the library wants it."""
        timeouts = _timeouts(request)
        if timeouts is None:
            return self._ordinary.handle_request(request)
        with _translated():
            sent = Request.of(request.method, request.url.raw_path, request.headers.raw, request.content, timeouts)
            return _response(*self._pool.ask(_origin(request.url), sent))

    def form(self, like: httpx2.Request) -> Callable[[bytes], Answer | httpx2.Response] | None:
        """Return a function that sends a POST like this one with another body; None where it is not done here.

        It returns an `Answer` for a status of 2xx and no content coding: a response of the library would be larger than
        all else that an open stream needs. It raises `NetError`.
        """
        timeouts = _timeouts(like)
        if timeouts is None:
            return None
        origin, form = _origin(like.url), Form(like.url.raw_path, like.headers.raw, timeouts)

        def ask(content: bytes) -> Answer | httpx2.Response:
            head, body = self._pool.ask(origin, form.request(content))
            fields = dict(head.fields)
            if 200 <= head.status < 300 and b"content-encoding" not in fields:
                return Answer(fields.get(b"content-type", b"").decode("latin-1"), body)
            response = _response(head, body)
            bound_error(response)
            return response

        return ask

    def close(self) -> None:
        """Close idle connections; one in use is closed when it is given back."""
        self._pool.close()
        self._ordinary.close()


def bound_error(response: httpx2.Response) -> None:
    """Bound how much is read of an error's body: the SDK would read it to its end."""
    if response.status_code >= 300 and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        try:
            for data in self._stream:
                size += len(data)
                yield data
                if size > MAX_ERROR_BODY:
                    return
        except httpx2.TransportError:
            return  # the status counts, and the words that came

    def close(self) -> None:
        self._stream.close()


class _Stream(httpx2.SyncByteStream):
    """A body as the library reads it. `patience` returns how long the next piece may take, and may be replaced."""

    def __init__(self, body: Body) -> None:
        self.patience: Callable[[], float] = lambda: body.seconds
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        try:
            with _translated():
                while data := self._body.read(self.patience()):
                    yield data
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._body.close()


def _timeouts(request: httpx2.Request) -> Timeouts | None:
    """Return the timeouts of a request that is sent here; None for one that is not.

    It is GET or POST with a body of bytes, each of its times is set, and it wishes nothing else.
    """
    times = request.extensions.get("timeout", {})
    connect, write, read = times.get("connect"), times.get("write"), times.get("read")
    if (
        request.url.scheme in {"http", "https"}
        and request.method in {"GET", "POST"}
        and isinstance(request.stream, httpx2.ByteStream)
        and request.extensions.keys() <= {"timeout"}
        and connect is not None
        and write is not None
        and read is not None
    ):
        return Timeouts(connect, write, read)
    return None


def _origin(url: httpx2.URL) -> Origin:
    is_secure = url.scheme == "https"
    port = url.port if url.port is not None else 443 if is_secure else 80
    return Origin(is_secure, url.raw_host.decode("ascii"), port)


def _response(head: Head, body: Body) -> httpx2.Response:
    """Return a response of the library, with its `_Stream` among its extensions."""
    stream = _Stream(body)
    extensions = {"http_version": b"HTTP/" + head.version, "reason_phrase": head.reason, "stream": stream}
    return httpx2.Response(head.status, headers=head.raw, stream=stream, extensions=extensions)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except NetError as exc:
        raise _ERRORS[type(exc)](str(exc)) from exc
