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

from deechat.agents.providers.transport_socket import Connection

MAX_SILENT = 100_000  # bytes of framing without a byte of the body
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_CUT = "peer closed connection without sending complete message body (incomplete chunked read)"


class Deadline:
    """A time by which something has to be there, `seconds` after `since`, which is now; `seconds` None for never."""

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

    def feed(self, raw: bytes | None) -> bytes:
        """Takes a read of the connection, b"" for its end, None for what is here; gives what of the body is in it."""
        pieces: list[bytes] = []
        try:
            self._parse(raw, pieces)
        except (h11.RemoteProtocolError, httptools.HttpParserError) as exc:
            self.fault = httpx2.RemoteProtocolError(str(exc))
        return b"".join(pieces)

    def _parse(self, raw: bytes | None, pieces: list[bytes]) -> None:
        """Adds what of the body is in a read to the pieces, and notices its end. Raises what is wrong."""
        raise NotImplementedError


class Unchunked(Framing):
    """A body of a known length, one up to the connection's end, or none: h11 knows which, and what it wants to read."""

    def __init__(self, state: h11.Connection) -> None:
        self._h11 = state
        self.first = self.feed(None)

    def _parse(self, raw: bytes | None, pieces: list[bytes]) -> None:
        if raw is not None:
            self._h11.receive_data(raw)
        while isinstance(event := self._h11.next_event(), h11.Data):
            pieces.append(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            self.done = True
            self.reusable = self._h11.their_state is h11.DONE and not self._h11.trailing_data[0]


class Chunked(Framing):
    """Chunks, `came` being what is here of them. For each of them httptools calls C and nothing in Python."""

    def __init__(self, came: bytes, *, keeps_alive: bool) -> None:
        self.reusable = keeps_alive
        self._seen = _Seen()
        self._parser = httptools.HttpResponseParser(self._seen)
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # there are servers that pad it
        self._parser.feed_data(_CHUNKED)
        self.first = self.feed(came or None)

    def _parse(self, raw: bytes | None, pieces: list[bytes]) -> None:
        if raw is None:
            return
        if not raw:
            raise h11.RemoteProtocolError(_CUT)
        try:
            self._parser.feed_data(raw)
        except httptools.HttpParserError:
            if not self._seen.is_whole:
                raise
            self.reusable = False  # something follows
        finally:
            pieces += self._seen.pieces
            self._seen.pieces.clear()
            self.done = self._seen.is_whole


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

    `patience` gives how long the next piece may take, and may be replaced. Reading that ends before the body does
    closes the connection at once; else `release` gets it, where it can be used again.
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
            while data := self.piece():
                yield data
        except BaseException:
            self.close()
            raise

    def piece(self) -> bytes:
        """Gives the next piece, b"" at the end. Raises the HTTP library's errors; the body is to be closed then."""
        if data := self._framing.first:
            self._framing.first = b""  # it may be large, and streams are long
            return data
        framing, seconds = self._framing, self.patience()
        began, silent, deadline = time.monotonic(), 0, None
        while not (framing.done or framing.fault):
            raw = self._connection.read(seconds)
            if data := framing.feed(raw):
                return data
            deadline = deadline or Deadline(seconds, began)  # nearly always there is something in a read
            seconds = deadline.left()
            silent += len(raw)
            if silent > MAX_SILENT:
                raise httpx2.RemoteProtocolError("it sent chunks with nothing in them")
        if framing.fault:
            raise framing.fault
        return b""

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._framing.done and self._framing.reusable:
            self._release(self._connection)
        else:
            self._connection.close()
