"""A response's body from its connection: what one read of the socket brought is one piece.

h11 gives each HTTP chunk alone and takes 6 µs for it, and with most model servers each token is one. So chunks are read
by httptools, in C. Everything else is read by h11, which gives a read as one piece anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import h11
import httptools
import httpx2

from deechat.net.connection import Connection

MAX_SILENT = 100_000  # bytes of framing without a byte of the body
# httptools cannot begin at a body, so it is given a head.
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_CUT = "peer closed connection without sending complete message body (incomplete chunked read)"


class Deadline:
    """A time by which something has to be there, `seconds` after `since`, or from now on; `seconds` None for never."""

    def __init__(self, seconds: float | None, since: float | None = None) -> None:
        self._until = None if seconds is None else (time.monotonic() if since is None else since) + seconds

    def left(self) -> float | None:
        """Gives the seconds that are left. Raises `ReadTimeout` when none are."""
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise httpx2.ReadTimeout("timed out")
        return left


class Framing:
    """Where a body ends.

    `first`: what of it came with the head. `done`: all of it was given. `fault`: what is wrong with it, after what was
    given. `reusable`: once it is done, the connection can have another request.
    """

    first: bytes
    done = False
    reusable: bool
    fault: httpx2.RemoteProtocolError | None = None

    def feed(self, raw: bytes) -> bytes:
        """Takes a read of the connection, b"" for its end; gives what of the body is in it."""
        raise NotImplementedError


class Unchunked(Framing):
    """A body of a known length, one up to the connection's end, or none: h11 knows which, and what it wants to read."""

    def __init__(self, state: h11.Connection) -> None:
        self._h11 = state
        self.first = self._next()

    def feed(self, raw: bytes) -> bytes:
        self._h11.receive_data(raw)
        return self._next()

    def _next(self) -> bytes:
        """Gives what of the body h11 has, and notices its end."""
        pieces: list[bytes] = []
        try:
            while isinstance(event := self._h11.next_event(), h11.Data):
                pieces.append(bytes(event.data))
        except h11.RemoteProtocolError as exc:
            self.fault = httpx2.RemoteProtocolError(str(exc))
        else:
            if isinstance(event, h11.EndOfMessage):
                self.done = True
                self.reusable = self._h11.their_state is h11.DONE and not self._h11.trailing_data[0]
        return b"".join(pieces)


class Chunked(Framing):
    """Chunks, `came` being what is here of them. For each of them httptools calls C and nothing in Python."""

    def __init__(self, came: bytes, *, keeps_alive: bool) -> None:
        self.reusable = keeps_alive
        self._seen = _Seen()
        self._parser = httptools.HttpResponseParser(self._seen)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # there are servers that pad it
        self._parser.feed_data(_CHUNKED)
        self.first = self.feed(came) if came else b""

    def feed(self, raw: bytes) -> bytes:
        seen = self._seen
        if not raw:
            self.fault = httpx2.RemoteProtocolError(_CUT)
            return b""
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserError as exc:
            self.reusable = False  # something follows
            if not seen.is_whole:
                self.fault = httpx2.RemoteProtocolError(str(exc))
        self.done = seen.is_whole
        pieces = seen.pieces
        if len(pieces) == 1:
            return pieces.pop()
        data = b"".join(pieces)
        pieces.clear()
        return data


class _Seen:
    """What the parser calls. It does not know the parser, so that both go without the garbage collector."""

    def __init__(self) -> None:
        self.is_whole = False
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append

    def on_message_begin(self) -> None:
        """Refuses a second message, which is nobody's answer."""
        if self.is_whole:
            raise ValueError

    def on_message_complete(self) -> None:
        self.is_whole = True


class Body(httpx2.SyncByteStream):
    """The body, to be read once, with a bound on what frames it.

    `patience` gives how long the next piece may take where its reader does not say so, and may be replaced. `close`
    gives the connection to `release` where the body was read to its end and it can be used again, and else closes it.
    """

    def __init__(
        self,
        connection: Connection,
        framing: Framing,
        seconds: float | None,
        release: Callable[[Connection], None],
    ) -> None:
        self.patience: Callable[[], float | None] = lambda: seconds
        self._connection = connection
        self._framing = framing
        self._release = release
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            while data := self.piece(self.patience()):
                yield data
        except BaseException:
            self.close()
            raise

    def piece(self, seconds: float | None) -> bytes:
        """Gives the next piece, b"" at the end. Raises the HTTP library's errors; the body is to be closed then."""
        framing = self._framing
        if data := framing.first:
            framing.first = b""  # it may be large, and streams are long
            return data
        if framing.done or framing.fault:
            return self._end()
        began = time.monotonic()
        raw = self._connection.read(seconds)
        # Nearly always there is something in a read.
        return framing.feed(raw) or self._later_piece(Deadline(seconds, began), len(raw))

    def _later_piece(self, deadline: Deadline, silent: int) -> bytes:
        """Reads on behind reads that held nothing of the body, until `deadline`; `silent` bytes came by now."""
        framing = self._framing
        while not (framing.done or framing.fault):
            if silent > MAX_SILENT:
                raise httpx2.RemoteProtocolError("it sent chunks with nothing in them")
            raw = self._connection.read(deadline.left())
            if data := framing.feed(raw):
                return data
            silent += len(raw)
        return self._end()

    def _end(self) -> bytes:
        if self._framing.fault:
            raise self._framing.fault
        return b""

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._framing.done and self._framing.reusable:
            self._release(self._connection)
        else:
            self._connection.close()
