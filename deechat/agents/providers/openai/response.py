"""The body of a streamed response, read by read, each waiting as long as it may.

The HTTP library has one read timeout a request and gives each HTTP chunk alone, which is each token with most servers.
Here the first byte may take longer than the next ones, and all that one read of the socket brought comes together. Our
own transport does so by itself; behind the library's own, which is there for proxies, it is done here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import closing
from types import TracebackType
from typing import Any

from deechat.agents.providers.openai.faults import broken
from deechat.net.deadline import Deadline

SLICE = 8_192  # bytes of a piece at most, so that its reader can let others have a turn in between
MAX_BODY = 500_000_000  # an answer of 1 MB in chunks of a letter each

# The bytes behind a chunk whose successor is in the same read: data of the next one, or the end of all.
_MORE = re.compile(rb"\r\n(?:0*[1-9A-Fa-f][0-9A-Fa-f]*(?:;[^\r\n]*)?\r\n.|0+\r\n\r\n)", re.DOTALL)


class Patience:
    """How long the model server may be silent: `first_byte` seconds from now, then `stall` seconds each time.

    `limit`: seconds of silence that are allowed, as an error tells them. `steady`: the same while each read has all of
    it anew; None while one deadline holds for all that is left, which `is_ending` says too.
    """

    def __init__(self, first_byte: float, stall: float) -> None:
        self.limit = first_byte
        self.steady: float | None = None
        self._stall = stall
        self._deadline = Deadline(first_byte)
        self.is_ending = False

    def alive(self) -> None:
        """Note that a byte of the answer came."""
        if not self.is_ending:
            self.limit = self.steady = self._stall

    def end_within(self, seconds: float) -> None:
        """Allow so much more for everything that is left."""
        self.is_ending, self.steady = True, None
        self._deadline = Deadline(seconds)

    def go_on(self) -> None:
        """Take the deadline back: it was not the end."""
        self.is_ending = False
        self.alive()

    def left(self) -> float:
        """Return how long the next read may wait; a moment at least, for bytes that have come already."""
        return self.steady or self._deadline.left(least=0.001)

    def over(self) -> bool:
        """Check whether the time that `end_within` gave has passed."""
        return self.is_ending and self._deadline.is_over


class _Tap:
    """Stands in for the `read` of a response's connection, which is a public extension of the HTTP library.

    It is asked exactly when all of the reads before it is used up. It leaves with the `with`, before the connection
    goes back to its pool.
    """

    def __init__(self, connection: Any, patience: Patience) -> None:
        self._connection = connection
        self._read: Callable[[int, float], bytes] = connection.read
        self._patience = patience
        self._raw = b""
        self._at = 0

    def __enter__(self) -> _Tap:
        self._connection.read = self._listen
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        del self._connection.read

    def _listen(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - ours counts
        self._raw = self._read(max_bytes, self._patience.left())
        self._at = 0
        return self._raw

    def more_after(self, data: bytes) -> bool:
        """Check whether the next piece is here for sure, so that asking for it waits for nothing."""
        at = self._raw.find(data, self._at)
        if at < 0:
            return False
        self._at = at + len(data)
        return _MORE.match(self._raw, self._at) is not None


class Answer:
    """An open response: its content type, its body to be read once, and a way to close it.

    There are many, and they last long, so each holds as little as reading needs. `opened` is one of three:

    - a body of ours, which is read as it is;
    - a response of the HTTP library over ours, where it is compressed; `stream` is among its extensions;
    - a response of that library alone, with an HTTP proxy between, which is read through a tap.
    """

    __slots__ = ("_open", "content_type")

    def __init__(self, content_type: str, opened: Any) -> None:
        self.content_type = content_type
        self._open = opened

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close it. A connection whose body was not read to its end is closed at once."""
        self._open.close()

    def reads(self, patience: Patience) -> Generator[bytes, None, None]:
        """Yield the bytes of each read of the socket, in slices that are read in a moment.

        A compressed read may unpack to a thousand times its size. Raises the errors of `Client.foreign`, and
        `ModelError` when there is no end to it.
        """
        size = 0
        is_ours = not hasattr(self._open, "extensions")  # which the library's responses have
        with closing(_by_library(self._open, patience)) as pieces:
            # Nearly always without a generator in between: each is one more to be woken for every token.
            read = self._open.read if is_ours else lambda _: next(pieces, b"")
            while data := read(patience.steady or patience.left()):  # `left` says the same, by a call
                if not size:
                    patience.alive()
                size += len(data)
                if size > MAX_BODY:
                    raise broken(f"it sent more than {MAX_BODY // 1_000_000} MB")
                if len(data) <= SLICE:
                    yield data
                    continue
                for at in range(0, len(data), SLICE):
                    yield data[at : at + SLICE]


def _by_library(response: Any, patience: Patience) -> Generator[bytes, None, None]:
    """Yield a body's reads by way of the HTTP library."""
    stream = response.extensions.get("stream")
    if stream is None:
        yield from _gathered(response, patience)
    else:
        stream.patience = patience.left
        yield from response.iter_bytes()


def _gathered(response: Any, patience: Patience) -> Generator[bytes, None, None]:
    with _Tap(response.extensions["network_stream"], patience) as tap:
        gathered: list[bytes] = []
        for data in response.iter_bytes():
            patience.alive()
            gathered.append(data)
            if not tap.more_after(data):
                yield b"".join(gathered)
                gathered = []
        if gathered:
            yield b"".join(gathered)
