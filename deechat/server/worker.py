"""gunicorn's gevent worker, with a stop, errors and places of our own.

No idle connection holds it back when it leaves, its errors are JSON, and slow connections cannot take all its places.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from http import HTTPStatus
from types import FrameType
from typing import Any, NamedTuple

import gevent
import gevent.socket
from gevent import monkey
from gunicorn import util
from gunicorn.http import errors
from gunicorn.http.body import LengthReader
from gunicorn.workers.ggevent import GeventWorker

from deechat.net.addresses import address_of, network_of
from deechat.server.admission import Place, Places, Step
from deechat.server.logs import Tally

PATIENCE_WITH_READERS = 8.0  # seconds after which a stream without a reader does not hold the worker any longer
LARGEST_HEAD = 65_536  # bytes of a request line and its headers; gunicorn alone takes 100 headers of 8 kB each
# An unwanted body of up to so many bytes is read, so that the connection can go on; a larger one, or one of unknown
# size, ends the connection after the answer.
UNWANTED_BODY = 16_384
LINGER_SECONDS, LINGER_BYTES = 2.0, 10_000_000  # so that a client that is still sending gets to see its answer

SEND_SECONDS = 60.0  # that a client may read nothing of its answer

log = logging.getLogger(__name__)
_SystemSocket = monkey.get_original("socket", "socket")


class _Refusal(NamedTuple):
    status: HTTPStatus
    code: str
    words: str
    retry_after: int | None = None


_OUR_MISTAKE = _Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong inside DeeChat.")
_TOO_LONG = _Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", "The address is too long.")
_TOO_MUCH = _Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The headers are too large.")
_NO = _Refusal(HTTPStatus.EXPECTATION_FAILED, "expectation_failed", "What the header Expect wants is not done here.")
_TOO_SLOW = _Refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request took too long to arrive.")
_NO_PLACE = _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "All places are taken; try again soon.", retry_after=5)
_NO_HTTP = _Refusal(HTTPStatus.BAD_REQUEST, "bad_request", "That is not HTTP that can be understood.")

# The answers to gunicorn's errors before the application has a request, or after that failed; the first that fits
# counts.
_REFUSALS: list[tuple[type[Exception], _Refusal]] = [
    (errors.InvalidResponseHeader, _OUR_MISTAKE),
    (errors.InvalidResponseHeaderName, _OUR_MISTAKE),
    (errors.LimitRequestLine, _TOO_LONG),
    (errors.LimitRequestHeaders, _TOO_MUCH),
    (errors.ExpectationFailed, _NO),
    (errors.ParseException, _NO_HTTP),
    (Exception, _OUR_MISTAKE),
]


class Connection(gevent.socket.socket):
    """A client's connection: nearly everything that is sent to it has room in its buffers, and it knows its place.

    The application finds it in its environment as `gunicorn.socket`, and says by it whether a request has passed the
    gate, from which peer it comes, and when it reads a body.
    """

    def __init__(self, plain: Any, peer: str, places: Places, make_room: Callable[[Place], None]) -> None:
        """`make_room` ends the connection that has this place."""
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self.place = Place(network_of(peer), time.monotonic())
        self._places = places
        self._make_room = make_room
        self._request: Any = None
        self._expects_continue = False
        self._unwanted = False  # the request has a body that is too large to read for nothing

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send it all. gevent's own first asks the system for the size of a piece, once for each token."""
        try:
            sent = 0 if flags else os.write(self.fileno(), data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            super().sendall(memoryview(data)[sent:], flags)

    def recv(self, *arguments: Any) -> bytes:
        try:
            data: bytes = super().recv(*arguments)
        except OSError as exc:
            raise _lost(exc) from exc
        place = self.place
        if place.idle:
            place.since = time.monotonic()
        if (chosen := self._places.receive(place, len(data))) is not None:
            self._make_room(chosen)
        if place.received > LARGEST_HEAD and place.step is Step.HEAD:
            raise errors.LimitRequestHeaders("the whole head")
        return data

    def begin(self, request: Any) -> None:
        """Note that a request's head is here. A client that asks whether its body may come is told by `begin_body`."""
        self._request = request
        self.place.enter_step(Step.ANSWER, time.monotonic())
        # gunicorn itself would tell the client to go on before the gate has checked it.
        self._expects_continue, request._expected_100_continue = request._expected_100_continue, False
        reader = request.body.reader
        small = isinstance(reader, LengthReader) and reader.length <= UNWANTED_BODY
        self._unwanted = self._expects_continue or not small
        self.settimeout(SEND_SECONDS)
        if self._unwanted:
            request.force_close()

    def come_in(self) -> None:
        """Note that the request has passed the gate."""
        self._places.go_inside(self.place)

    def stay_outside(self, peer: str) -> None:
        """Note that the request has not passed the gate, at least not yet, and from whom it is."""
        self.place.peer = network_of(peer)
        self._places.go_outside(self.place)

    def begin_body(self) -> None:
        """Note that the body is being read; tell a client that waits for that."""
        self.place.enter_step(Step.BODY, time.monotonic())
        if self._expects_continue:
            self._expects_continue = False
            self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def end_body(self, *, whole: bool) -> None:
        """Note that reading is over. Behind a body that is not whole the next request cannot be found."""
        self.place.enter_step(Step.ANSWER, time.monotonic())
        if self._unwanted == whole:
            self._unwanted = self._request.must_close = not whole

    def linger(self) -> None:
        """Read on for a moment before the close if a body was left: it would reset the connection under the answer."""
        if self._unwanted:
            util.close_graceful(self, LINGER_SECONDS, LINGER_BYTES)

    def end_request(self) -> None:
        self._request = None
        self.place.enter_step(Step.HEAD, time.monotonic())

    def end_step(self, refusal: _Refusal) -> None:
        """End the connection, with the refusal as its answer where a request has begun and none has yet."""
        if self.place.step is Step.BODY or not (self.place.idle or self.place.step is Step.ANSWER):
            with suppress(OSError):
                os.write(self.fileno(), _as_http(refusal))
        _end(self, socket.SHUT_RDWR)


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """Ends streams and closes idle keep-alive connections when it is asked to leave, and slow ones at any time.

    gunicorn waits for every connection, whether a request is under way on it or not, up to `graceful_timeout`: without
    this each restart would take as long as a browser keeps its connection open.
    """

    _quitting = False

    def init_process(self) -> None:
        # gunicorn looks up thirty settings for each request, by Python's fallback for missing attributes.
        plain = {name: each.get() for name, each in self.cfg.settings.items() if not hasattr(type(self.cfg), name)}
        self.cfg.__dict__.update(plain)
        self._open: dict[Place, Connection] = {}
        self._places = Places(self.worker_connections)
        self._tally = Tally(log.warning, later=gevent.spawn_later)
        super().init_process()

    def run(self) -> None:
        gevent.spawn(self._watch)
        super().run()

    @contextmanager
    def showing_life(self) -> Iterator[None]:
        """Tell the master each second that the worker lives, as `run` does later.

        The master ends a worker that is silent for `timeout` seconds, and a start may take longer: over a large
        database of an earlier version.
        """
        signs = gevent.spawn(self._show_life)
        try:
            yield
        finally:
            signs.kill()

    def _show_life(self) -> None:
        while True:
            self.notify()
            gevent.sleep(1)

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Return a context without a timeout: `_watch` ends slow connections, with one timer for all."""
        return nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        if listener.fileno() < 0:  # it came in the moment in which the worker began to leave
            client.close()
            return
        connection = Connection(client, addr[0] if addr else "", self._places, self._make_room)
        self._open[connection.place] = connection
        if (chosen := self._places.take(connection.place)) is not None:
            self._make_room(chosen)
        try:
            super().handle(listener, connection, addr)
        finally:
            self._places.leave(connection.place)
            del self._open[connection.place]

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> Any:
        sock.begin(req)
        try:
            return super().handle_request(listener_name, req, sock, addr)
        except StopIteration:
            sock.linger()
            raise
        except OSError as exc:
            raise _lost(exc) from exc
        finally:
            sock.end_request()
            if not self.alive:
                _end(sock)

    def handle_error(self, _req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer in the contract's words where gunicorn has a page of its own."""
        if not isinstance(exc, Exception):
            return  # this greenlet is being ended
        client.place.enter_step(Step.ANSWER, time.monotonic())
        refusal = next(refusal for kind, refusal in _REFUSALS if isinstance(exc, kind))
        if refusal is _OUR_MISTAKE:
            self.log.error("a request met a mistake in the program", exc_info=exc)
        else:
            # Its kind alone: its words may quote a header.
            self._tally.note(f"refused what was sent ({type(exc).__name__})", address_of(addr[0] if addr else ""))
        with suppress(OSError):
            client.sendall(_as_http(refusal))
        # Reads on for a moment: closing over unread bytes resets the connection, and the answer may be lost.
        util.close_graceful(client)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Leave once: Ctrl+C reaches the worker from the terminal and again from the master.

        The second one would end the process in the middle of closing the database.
        """
        if not self._quitting:
            self._quitting = True
            super().handle_quit(sig, frame)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(self._let_go)  # a signal handler must not block

    def _make_room(self, chosen: Place) -> None:
        self._tally.note("closed to make room", chosen.peer)
        self._open[chosen].end_step(_NO_PLACE)

    def _watch(self) -> None:
        while True:
            gevent.sleep(1)
            for place in self._places.overdue(time.monotonic()):
                if not place.idle:
                    self._tally.note("closed as too slow", place.peer)
                self._open[place].end_step(_TOO_SLOW)
                self._places.leave(place)

    def _let_go(self) -> None:
        self.wsgi.extensions["deechat"].leave()
        self._tally.say()
        last_call = time.monotonic() + PATIENCE_WITH_READERS
        while True:  # connections still come in until gunicorn has looked whether it shall leave, once a second
            for connection in list(self._open.values()):
                if connection.place.step is Step.HEAD:
                    _end(connection)
                elif time.monotonic() > last_call:
                    _end(connection, socket.SHUT_RDWR)
            gevent.sleep(0.2)


def _lost(error: OSError) -> OSError:
    """Return the error; that of a client which the network lost, or which reads nothing, becomes a reset.

    gunicorn passes over a reset, and logs the others with a traceback.
    """
    if isinstance(error, TimeoutError) or error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return ConnectionResetError(errno.ECONNRESET, "the client is gone")
    return error


def _as_http(refusal: _Refusal) -> bytes:
    body = json.dumps({"error": {"code": refusal.code, "message": refusal.words}}).encode()
    lines = (
        f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: same-origin",
        *([f"Retry-After: {refusal.retry_after}"] if refusal.retry_after else []),
    )
    return "\r\n".join([*lines, "", ""]).encode() + body


def _end(client: Any, how: int = socket.SHUT_RD) -> None:
    """Let the reader of the connection, or its writer, see its end, as if the client had left."""
    # On the system's own socket: gevent's would raise an error in the reader, and gunicorn logs it with a traceback.
    with suppress(OSError), _SystemSocket(fileno=os.dup(client.fileno())) as plain:  # OSError: it has left
        plain.shutdown(how)
