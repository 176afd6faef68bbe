"""WebSockets (RFC 6455) on the connections of gunicorn's gevent worker: `wsproto` parses, this module moves the bytes.

A route that a rule with `websocket=True` leads to returns `Sockets.serve(session)`. By then the gate has checked the
handshake as any other request, and its `Origin` as that of a request that changes something: browsers send cookies
with it, and no CORS holds it back. `session` is called with a `WebSocket` and speaks until it returns.

Each socket has a greenlet that reads. It answers pings and closes, keeps whole messages for `receive`, and finds out
that a peer is gone while the session is busy. Compression is never agreed on: a peer could fill memory with little.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import gevent
from flask import Response, request
from gevent.lock import BoundedSemaphore
from gevent.socket import wait_read
from wsproto.connection import SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from deechat.errors import BadRequestError, BusyError, UpgradeRequiredError
from deechat.net.wait import Waiter
from deechat.web.bodies import LARGEST_BODY
from deechat.web.streams import Streams

LARGEST_MESSAGE = LARGEST_BODY  # bytes; one that announces more is refused before it comes
HELD = LARGEST_MESSAGE  # bytes of messages that wait for the session; then nothing more is read
SEND_SECONDS = 60.0  # that a peer may take nothing of a message that is being sent
CLOSE_SECONDS = 5.0  # that a peer may take to answer a close
MOST_UNANSWERED = 2  # pings in a row, each after a heartbeat of silence
# Control frames and empty fragments cost work and bring nothing. A client that pings each second sends 10.
MOST_EMPTY, EMPTY_SECONDS = 300, 10.0
PIECE = 65_536
_OVERHEAD = 100  # bytes that a message takes besides its text, about
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

NORMAL, NO_CODE, LOST, INTERNAL, RESTART = 1000, 1005, 1006, 1011, 1012
RESTARTING = "The server is being restarted; come again in a moment."

log = logging.getLogger(__name__)


class Close(NamedTuple):
    """The end of a socket.

    `code` is 1005 when the peer gave none, and 1006 when it went without a close. `ours`: this side closed.
    """

    code: int
    reason: str = ""
    ours: bool = False


class SocketClosedError(Exception):
    """Nothing can be sent any more. A session may let it pass: it ends then."""

    def __init__(self, close: Close) -> None:
        super().__init__(f"the socket was closed with {close.code}")
        self.close = close


Session = Callable[["WebSocket"], None]


class Sockets:
    """All open sockets. They are counted among the streams, and a server that leaves closes them in words."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._open: set[WebSocket] = set()
        self._leaving = False

    def serve(self, session: Session) -> Response:
        """Return the response that accepts the handshake and runs the session, which is closed with 1000 at its end.

        Raises `UpgradeRequiredError`, `BadRequestError` and `BusyError`, which are answered as HTTP.
        """
        key = _read_handshake()
        sock = request.environ.get("gunicorn.socket")
        if sock is None:
            raise BadRequestError("There is no connection here that could become a WebSocket.")
        if self._leaving:
            raise BusyError(RESTARTING, retry_after=2)
        leave = self._streams.take_place()
        response = _Upgraded(lambda: self._run(sock, key, session, leave))
        response.call_on_close(leave)
        return response

    def _run(self, sock: Any, key: bytes, session: Session, leave: Callable[[], None]) -> None:
        ours = WebSocket(sock, self._streams.heartbeat)
        self._open.add(ours)
        try:
            ours.run(key, session)
        finally:
            self._open.discard(ours)
            leave()

    def leave(self) -> None:
        """Close all sockets with 1012, and return at once."""
        self._leaving = True
        for each in self._open:
            gevent.spawn(each.close, RESTART, RESTARTING)


class _Upgraded(Response):
    """A response that is no HTTP: it takes the connection over, and tells gunicorn at its end that all is done."""

    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__(status=101)
        self._run = run

    def __call__(self, _environ: Any, _start_response: Any) -> Iterable[bytes]:
        self._run()
        raise StopIteration  # gunicorn closes the connection then, and says nothing on it


def _read_handshake() -> bytes:
    """Return the key of the request's handshake."""
    if request.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        raise UpgradeRequiredError("Only version 13 of the WebSocket protocol is spoken here (RFC 6455).")
    key = request.headers.get("Sec-WebSocket-Key", "").strip()
    try:
        sound = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        sound = False
    if not sound:
        raise BadRequestError("Sec-WebSocket-Key must be 16 bytes in Base64.")
    return key.encode()


class WebSocket:
    """One socket. `receive` is for one greenlet; `send` and `close` are for any, and do not get between each other."""

    def __init__(self, sock: Any, heartbeat: float) -> None:
        self.closed: Close | None = None
        """How it was closed; None while it is open."""
        self._sock = sock
        self._heartbeat = heartbeat
        self._protocol = Connection(SERVER, [_Limit()])
        self._sending = BoundedSemaphore(1)
        self._parts: list[str] = []  # of the message that is coming
        self._inbox: deque[str] = deque()
        self._held = 0
        self._arrived, self._room = Waiter(), Waiter()
        self._empty, self._empty_since = 0, 0.0
        self._beside: list[gevent.Greenlet[..., None]] = []

    # -- for sessions --------------------------------------------------------------------------------------------------

    def receive(self) -> str | None:
        """Return the next message, None once the socket is closed and all that came before was returned."""
        while not self._inbox:
            if self.closed is not None:
                return None
            self._arrived.wait()
        text = self._inbox.popleft()
        self._held -= len(text) + _OVERHEAD
        Waiter.resume_soon([self._room])
        return text

    def send(self, *texts: str | bytes) -> None:
        """Send messages of text, in UTF-8 where they are bytes; return when the system has taken all of them.

        Raises `SocketClosedError`.
        """
        self._send(*(TextMessage(text if isinstance(text, str) else text.decode()) for text in texts))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close with a code and up to 123 bytes of words. Of several closes the first one counts."""
        with suppress(SocketClosedError), self._sending:
            self._check_open()
            self._note(Close(code, reason, ours=True))
            self._write(self._protocol.send(CloseConnection(code, reason)))

    def spawn(self, work: Callable[[], object]) -> None:
        """Do work beside the session, without the request's context; it ends with the session at the latest."""
        self._beside.append(gevent.spawn(self._do, work))

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(self, *events: Event) -> None:
        with self._sending:
            self._check_open()
            self._write(b"".join(map(self._protocol.send, events)))

    def _check_open(self) -> None:
        if self.closed is not None:
            raise SocketClosedError(self.closed)

    def _write(self, data: bytes) -> None:
        """Write the bytes of whole frames. Raises `SocketClosedError` when the peer is gone, or takes nothing."""
        rest = memoryview(data)
        try:
            while rest:
                # No `sendall`: its time is for all of it, and a slow peer is not one that is gone.
                rest = rest[self._sock.send(rest[: 4 * PIECE]) :]
        except OSError:
            self._lose()
            raise SocketClosedError(self.closed or Close(LOST)) from None
        except BaseException:  # the greenlet was ended within a frame
            self._lose()
            raise

    # -- the session and its reader ------------------------------------------------------------------------------------

    def run(self, key: bytes, session: Session) -> None:
        """Accept the handshake, run the session, and close."""
        self._sock.settimeout(SEND_SECONDS)
        with suppress(SocketClosedError):
            self._write(_acceptance(key))
        reader = gevent.spawn(self._read)
        try:
            self._do(partial(session, self))
        finally:
            gevent.killall(self._beside)
            self.close()
            reader.join(CLOSE_SECONDS)
            reader.kill()
            self._linger()

    def _do(self, work: Callable[[], object]) -> None:
        """Do the work; an error of it that is a mistake in the program closes the socket with 1011."""
        try:
            work()
        except SocketClosedError:
            pass
        except Exception:
            log.exception("the session of a WebSocket met a mistake in the program")
            self.close(INTERNAL, "Something went wrong inside DeeChat.")

    def _read(self) -> None:
        try:
            while self._protocol.state in {ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING}:
                self._protocol.receive_data(self._next_bytes())
                for event in self._protocol.events():
                    if not self._take(event):
                        return
        except (OSError, SocketClosedError):
            self._lose()

    def _next_bytes(self) -> bytes:
        """Return what comes next. Raises `ConnectionError` when the peer has left, or does not answer pings."""
        unanswered = 0
        while True:
            try:
                wait_read(self._sock.fileno(), timeout=self._heartbeat)  # in any case others have their turn
            except TimeoutError:
                if self._sending.locked():
                    continue  # a peer that reads slowly shows by that that it lives
                if unanswered == MOST_UNANSWERED:
                    raise ConnectionResetError("the peer is silent") from None
                unanswered += 1
                if self.closed is None:
                    self._send(Ping())
                continue
            data: bytes = self._sock.recv(PIECE)
            if not data:
                raise ConnectionResetError("the peer went without a close")
            return data

    def _take(self, event: Event) -> bool:
        """Act on an event; return whether more can be read."""
        if isinstance(event, CloseConnection):
            return self._take_close(event)
        if self.closed is not None:
            return True  # the other side may not know it yet
        if isinstance(event, BytesMessage):
            return self._refuse(CloseReason.UNSUPPORTED_DATA, "Only messages of text are taken here.")
        if isinstance(event, Ping | Pong) or (isinstance(event, TextMessage) and not event.data):
            if self._is_flood():
                return self._refuse(CloseReason.POLICY_VIOLATION, "Too many pings, pongs or empty fragments.")
            if isinstance(event, Ping):
                self._send(event.response())
        if isinstance(event, TextMessage):
            self._take_text(event)
        return True

    def _take_close(self, event: CloseConnection) -> bool:
        if self._protocol.state not in {ConnectionState.REMOTE_CLOSING, ConnectionState.CLOSED}:
            # The parser's own: it cannot go on.
            return self._refuse(event.code, _WORDS.get(event.code, _WORDS[CloseReason.PROTOCOL_ERROR]))
        if self._protocol.state is ConnectionState.REMOTE_CLOSING:
            self._note(Close(int(event.code), event.reason or ""))
            with self._sending:
                self._write(self._protocol.send(event.response()))
        return False

    def _refuse(self, code: int, words: str) -> bool:
        self.close(code, words)
        return False

    def _take_text(self, event: TextMessage) -> None:
        self._parts.append(event.data)
        if not event.message_finished:
            return
        text = "".join(self._parts)
        self._parts.clear()
        self._inbox.append(text)
        self._held += len(text) + _OVERHEAD
        Waiter.resume_soon([self._arrived])
        while self._held > HELD and self.closed is None:
            self._room.wait()

    def _is_flood(self) -> bool:
        now = time.monotonic()
        if now > self._empty_since + EMPTY_SECONDS:
            self._empty, self._empty_since = 0, now
        self._empty += 1
        return self._empty > MOST_EMPTY

    def _note(self, close: Close) -> None:
        """Note the close, if it is the first, and wake all that wait."""
        if self.closed is None:
            self.closed = close
            Waiter.resume_soon([self._arrived, self._room])

    def _lose(self) -> None:
        """Note that the connection is gone, and end waits on it."""
        self._note(Close(LOST))
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def _linger(self) -> None:
        """Read on for a moment: to close over unread bytes resets the connection, and our close may be lost."""
        left = LARGEST_MESSAGE
        if self._protocol.state is ConnectionState.CLOSED:
            return
        with suppress(OSError, gevent.Timeout), gevent.Timeout(CLOSE_SECONDS):
            self._sock.shutdown(socket.SHUT_WR)
            while left > 0:
                wait_read(self._sock.fileno())
                data = self._sock.recv(PIECE)
                left = left - len(data) if data else 0


_WORDS: dict[int, str] = {
    CloseReason.PROTOCOL_ERROR: "That is not the WebSocket protocol.",
    CloseReason.INVALID_FRAME_PAYLOAD_DATA: "The text is not UTF-8.",
    CloseReason.MESSAGE_TOO_BIG: f"A message may have {LARGEST_MESSAGE // 1_000_000} MB.",
}


def _acceptance(key: bytes) -> bytes:
    """Return the answer to a handshake with this key."""
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    )
    return b"\r\n".join([*lines, b"", b""])


class _Limit(Extension):
    """Refuses a message by the length that its frames announce. No extension of the protocol: nothing is negotiated."""

    name = "limit"

    def __init__(self) -> None:
        self._before = self._now = 0  # bytes of the message: in the frames that came, and with the one that is coming

    def offer(self) -> bool | str:
        return False

    def enabled(self) -> bool:
        return True

    def frame_inbound_header(
        self, _proto: FrameDecoder | FrameProtocol, opcode: Opcode, _rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        # Called again for the same frame when its header comes in parts.
        if not opcode.iscontrol():
            self._now = payload_length + (self._before if opcode is Opcode.CONTINUATION else 0)
            if self._now > LARGEST_MESSAGE:
                return CloseReason.MESSAGE_TOO_BIG
        return RsvBits(rsv1=False, rsv2=False, rsv3=False)

    def frame_inbound_complete(self, _proto: FrameDecoder | FrameProtocol, _fin: bool) -> None:
        self._before = self._now
