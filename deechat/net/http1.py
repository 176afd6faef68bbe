"""HTTP/1.1 on one connection (RFC 9112): a request goes out, its response's head and body come in.

One parser a job. h11 writes and checks requests, and reads heads and the bodies that are not in chunks; it takes and
refuses the servers that the SDK's HTTP library does. httptools reads chunks, in C: h11 takes 6 µs for each, and with
most model servers each token is one. A body's piece is all that one read of the socket brought.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import h11
import httptools

from deechat.net.connection import Connection, NetError, WriteError
from deechat.net.deadline import Deadline

MAX_HEAD = 100_000  # bytes of a response's head
MAX_INTERIM = 100  # responses of status 1xx before the one that counts
MAX_SILENT = 100_000  # bytes of framing without a byte of the body

Fields = list[tuple[bytes, bytes]]


class LocalProtocolError(NetError):
    """A request that cannot be written."""


class RemoteProtocolError(NetError):
    """A response that is not HTTP/1.1, or not whole."""


# -- requests ----------------------------------------------------------------------------------------------------------


class Timeouts(NamedTuple):
    """How many seconds a server may take for a connection, for each part of a request, and for each read."""

    connect: float
    write: float
    read: float


class Request:
    """The bytes of a request.

    `state` returns h11's state of a connection once they are out. `only_reads`: the server changes nothing by it, so it
    may be sent twice. It serves a second connection too, as long as nothing was heard on the first.
    """

    __slots__ = ("data", "only_reads", "state", "timeouts")

    def __init__(
        self, data: bytes, state: Callable[[], h11.Connection], timeouts: Timeouts, *, only_reads: bool
    ) -> None:
        self.data = data
        self.state = state
        self.timeouts = timeouts
        self.only_reads = only_reads

    @classmethod
    def of(cls, method: str, target: bytes, fields: Fields, content: bytes, timeouts: Timeouts) -> Request:
        """Return a request of its own. Raises `LocalProtocolError`."""
        state = _fresh()
        with _named():
            head = h11.Request(method=method, target=target, headers=fields)
            data = b"".join([state.send(event) or b"" for event in (head, h11.Data(data=content), h11.EndOfMessage())])
        return cls(data, lambda: state, timeouts, only_reads=method == "GET")


class Form:
    """POST requests that differ in their bodies alone: h11 writes and checks their head once. Raises as `Request.of`.

    The provider takes 0.60 ms of processor time for an answer of one token, 0.78 with a head written for each.
    """

    def __init__(self, target: bytes, fields: Fields, timeouts: Timeouts) -> None:
        with _named():
            head = h11.Request(method="POST", target=target, headers=[*fields, (b"Content-Length", b"0")])
            # The length stands last, so it is the last 0.
            self._begin, _, self._end = (_fresh().send(head) or b"").rpartition(b"0")
        # h11 is told of the same request without a body and with these fields alone: the framing of the response
        # depends on the method, the reuse of the connection on `Connection`, and nothing on the rest.
        kept = [(name, value) for name, value in head.headers if name in {b"host", b"connection"}]
        self._told = h11.Request(method="POST", target=b"/", headers=kept)
        self._timeouts = timeouts

    def request(self, body: bytes) -> Request:
        """Return the request with this body."""
        data = b"%b%d%b%b" % (self._begin, len(body), self._end, body)
        return Request(data, self._state, self._timeouts, only_reads=False)

    def _state(self) -> h11.Connection:
        state = _fresh()
        state.send(self._told)
        state.send(h11.EndOfMessage())
        return state


def _fresh() -> h11.Connection:
    return h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)


@contextmanager
def _named() -> Iterator[None]:
    """Name h11's errors as ours."""
    try:
        yield
    except h11.LocalProtocolError as exc:
        raise LocalProtocolError(str(exc)) from exc
    except h11.RemoteProtocolError as exc:
        raise RemoteProtocolError(str(exc)) from exc


# -- heads -------------------------------------------------------------------------------------------------------------

# RFC 9112, sections 4 and 5, without their obsolete parts: other letters than ASCII's, and folded lines.
_PLAIN = re.compile(rb"HTTP/1\.1 200 ([\t\x20-\x7e]*)\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e]*\r\n)+)\r\n")
_FRAMING = frozenset({b"transfer-encoding", b"content-length"})


class Head(NamedTuple):
    """A response's head. The names of `fields` are in small letters, those of `raw` as they came."""

    status: int
    reason: bytes
    version: bytes
    fields: Fields
    raw: Fields

    @classmethod
    def of(cls, response: h11.Response) -> Head:
        """Return the head that h11 read."""
        fields, raw = list(response.headers), response.headers.raw_items()
        return cls(response.status_code, bytes(response.reason), bytes(response.http_version), fields, raw)

    @property
    def is_chunked(self) -> bool:
        """Whether its body is in chunks; h11 takes no other coding of a transfer."""
        return any(name == b"transfer-encoding" for name, _ in self.fields) and self.status not in {204, 304}

    @property
    def keeps_alive(self) -> bool:
        """Whether its connection is to be used again; RFC 9112, section 9.3, without HTTP/1.0's own ways."""
        options = b",".join(value for name, value in self.fields if name == b"connection").lower().split(b",")
        return self.version >= b"1.1" and b"close" not in {option.strip() for option in options}


def read_plain_head(raw: bytes) -> tuple[Head, bytes] | None:
    """Return the head that the first read of a response to GET or POST holds, and the rest of the read.

    None where the head is not all there, or is not plain: HTTP/1.1, 200, in chunks that alone say where the body ends.
    A plain head means the same to h11. With h11 alone the provider takes 0.75 ms of processor time for an answer of one
    token, 0.60 with this.
    """
    found = _PLAIN.match(raw)
    if found is None:
        return None
    lines = [line.partition(b":") for line in found[2].split(b"\r\n")[:-1]]
    fields = [(name, value.strip(b" \t")) for name, _, value in lines]
    small = [(name.lower(), value) for name, value in fields]
    if [each for each in small if each[0] in _FRAMING] != [(b"transfer-encoding", b"chunked")]:
        return None
    return Head(200, found[1], b"1.1", small, fields), raw[found.end() :]


# -- bodies ------------------------------------------------------------------------------------------------------------

# httptools cannot begin at a body, so it is given a head.
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_CUT = "peer closed connection without sending complete message body (incomplete chunked read)"


class Framing(Protocol):
    """Tells where a body ends.

    `first`: the part of the body that came with the head. `done`: all of it was given. `fault`: why the rest cannot be
    read. `reusable`: once it is done, the connection can have another request.
    """

    first: bytes
    done: bool
    reusable: bool
    fault: RemoteProtocolError | None

    def feed(self, raw: bytes) -> bytes:
        """Return the part of the body in a read of the connection, which is b"" at its end."""


class Unchunked:
    """A body of a known length, one up to the connection's end, or none: h11 knows which."""

    def __init__(self, state: h11.Connection) -> None:
        self.done = self.reusable = False
        self.fault: RemoteProtocolError | None = None
        self._h11 = state
        self.first = self._next()

    def feed(self, raw: bytes) -> bytes:
        self._h11.receive_data(raw)
        return self._next()

    def _next(self) -> bytes:
        pieces: list[bytes] = []
        try:
            while isinstance(event := self._h11.next_event(), h11.Data):
                pieces.append(bytes(event.data))
        except h11.RemoteProtocolError as exc:
            self.fault = RemoteProtocolError(str(exc))
        else:
            if isinstance(event, h11.EndOfMessage):
                self.done = True
                self.reusable = self._h11.their_state is h11.DONE and not self._h11.trailing_data[0]
        return b"".join(pieces)


class Chunked:
    """A body in chunks, of which `came` is here. For each of them httptools calls C and nothing in Python."""

    def __init__(self, came: bytes, *, keeps_alive: bool) -> None:
        self.done = False
        self.reusable = keeps_alive
        self.fault: RemoteProtocolError | None = None
        self._seen = _Seen()
        self._parser = httptools.HttpResponseParser(self._seen)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # there are servers that pad it
        self._parser.feed_data(_CHUNKED)
        self.first = self.feed(came) if came else b""

    def feed(self, raw: bytes) -> bytes:
        seen = self._seen
        if not raw:
            self.fault = RemoteProtocolError(_CUT)
            return b""
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserError as exc:
            self.reusable = False  # something follows
            if not seen.is_whole:
                self.fault = RemoteProtocolError(str(exc))
        self.done = seen.is_whole
        pieces = seen.pieces
        if len(pieces) == 1:
            return pieces.pop()
        data = b"".join(pieces)
        pieces.clear()
        return data


class _Seen:
    """Receives the parser's calls. It does not know the parser, so both are freed without the garbage collector."""

    def __init__(self) -> None:
        self.is_whole = False
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append

    def on_message_begin(self) -> None:
        """Refuse a second message, which answers no request."""
        if self.is_whole:
            raise ValueError

    def on_message_complete(self) -> None:
        self.is_whole = True


class Body:
    """A response's body, to be read once, with a bound on its framing. `seconds` is the request's time for a read."""

    def __init__(
        self, connection: Connection, framing: Framing, seconds: float, release: Callable[[Connection], None]
    ) -> None:
        self.seconds = seconds
        self._connection = connection
        self._framing = framing
        self._release = release
        self._is_closed = False

    def read(self, seconds: float) -> bytes:
        """Return the next piece, b"" at the end. Raises `NetError`; the body is to be closed then."""
        framing = self._framing
        if data := framing.first:
            framing.first = b""  # it may be large, and streams are long
            return data
        if framing.done or framing.fault:
            return self._end()
        raw, silent = self._connection.read(seconds), 0
        deadline = None  # nearly every read brings a piece, and there is one for each token
        while not (data := framing.feed(raw)) and not (framing.done or framing.fault):
            deadline = deadline or Deadline(seconds)
            silent += len(raw)
            if silent > MAX_SILENT:
                raise RemoteProtocolError("it sent chunks with nothing in them")
            raw = self._connection.read_until(deadline)
        return data or self._end()

    def _end(self) -> bytes:
        if self._framing.fault:
            raise self._framing.fault
        return b""

    def close(self) -> None:
        """Release the connection where the body was read to its end and it can be used again; else close it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._framing.done and self._framing.reusable:
            self._release(self._connection)
        else:
            self._connection.close()


# -- one request -------------------------------------------------------------------------------------------------------


class Exchange:
    """A request on a connection, and its response. Every failure closes the connection."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._is_sent = self._is_heard = False

    @property
    def is_untaken(self) -> bool:
        """Whether asking again is safe: no byte came, and the request did not go out whole or only reads."""
        return not self._is_heard and (not self._is_sent or self._request.only_reads)

    def answer(self, release: Callable[[Connection], None]) -> tuple[Head, Body]:
        """Send the request and read the head. `release` gets the connection once it can have another request."""
        try:
            with _named():
                self._send()
                head, framing = self._read_head()
            if not self._is_sent:
                release = Connection.close
            body = Body(self._connection, framing, self._request.timeouts.read, release)
        except BaseException:
            self._connection.close()
            raise
        return head, body

    def _send(self) -> None:
        """Send it in one piece, so that the usual one is one packet."""
        try:
            self._connection.write(self._request.data, self._request.timeouts.write)
            self._is_sent = True
        except WriteError:
            pass  # a server may answer and close before it has read all, and then its answer counts

    def _read_head(self) -> tuple[Head, Framing]:
        """Read to the end of the head. All of it has to be there in the time of one read, however it drips."""
        deadline = Deadline(self._request.timeouts.read)
        raw = self._hear(deadline)
        if plain := read_plain_head(raw):
            head, rest = plain
            return head, Chunked(rest, keeps_alive=head.keeps_alive)
        state = self._request.state()
        state.receive_data(raw)
        head = Head.of(self._read_response(state, deadline))
        if not head.is_chunked:
            return head, Unchunked(state)
        return head, Chunked(state.trailing_data[0], keeps_alive=head.keeps_alive)

    def _read_response(self, state: h11.Connection, deadline: Deadline) -> h11.Response:
        for _ in range(MAX_INTERIM):
            while (event := state.next_event()) is h11.NEED_DATA:
                state.receive_data(self._hear(deadline))
            if isinstance(event, h11.Response):
                return event
        raise RemoteProtocolError("it announced its answer without end")

    def _hear(self, deadline: Deadline) -> bytes:
        raw = self._connection.read_until(deadline)
        if not raw:
            raise RemoteProtocolError("Server disconnected without sending a response.")
        self._is_heard = True
        return raw
