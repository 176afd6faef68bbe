"""What comes over TLS, which gives a record a read: all that are here are one piece. It knows no HTTP.

Whoever has read until nothing was left is told of the next bytes by the descriptor, as without TLS, and is let in with
others: OpenSSL reads no further ahead than the record that it is at.
"""

from __future__ import annotations

import socket
import ssl
import time

from deechat.net.rounds import LARGE, Readable

RECORDS = 64  # in a piece: a server may send each token as one
SOON = 0.01  # seconds


class Records:
    """The reading side of a connection over TLS; to be closed before its socket is."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._readable = Readable.of(sock.fileno())
        self._fault: OSError | None = None

    def read(self, size: int, seconds: float | None) -> bytes:
        """Gives what is there, b"" at the end, waiting so long for it. Raises `TimeoutError` and other `OSError`s."""
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            is_late = not self._readable.wait(left) if self._readable.is_empty else left == 0.0
            data = self._taken(size)  # too late too: it may be that only its round had not come yet
            if data is not None:
                if len(data) >= LARGE:
                    self._readable.hurry()
                return data
            if is_late:
                raise TimeoutError("timed out")

    def _taken(self, size: int) -> bytes | None:
        """Gives the records that are here; None where there is none, or none whose content is for us."""
        if self._fault:
            raise self._fault
        pieces: list[bytes] = []
        self._readable.is_empty = False  # until OpenSSL says so: what it holds back makes no descriptor readable
        self._sock.settimeout(0)
        while size > 0 and len(pieces) < RECORDS:
            try:
                piece = self._sock.recv(size)
            except ssl.SSLWantReadError:
                self._readable.is_empty = True
                break
            except ssl.SSLWantWriteError:
                # OpenSSL has to answer the other side first, and there is no room for that, which no event of reading
                # tells: its reader looks again in a moment, and hardly ever has to.
                time.sleep(SOON)
                break
            except OSError as exc:
                if not pieces:
                    raise
                self._fault = exc  # said once by OpenSSL: after it the socket seems to have ended well
                break
            if not piece:
                return b"".join(pieces)  # said again to whoever asks again
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces) if pieces else None

    def close(self) -> None:
        self._readable.close()
