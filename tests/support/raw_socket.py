"""A WebSocket client that says what no client would: bytes as they stand."""

from __future__ import annotations

import os
import socket
import struct
from typing import Self

from wsproto.frame_protocol import XorMaskerSimple

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """Gives a frame as a client sends it."""
    return header(opcode, len(payload), fin=fin, masked=masked, rsv=rsv) + (_mask(payload) if masked else payload)


def header(opcode: int, length: int, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """Gives a frame's header without its mask."""
    first, bit = (fin << 7) | (rsv << 4) | opcode, masked << 7
    if length < 126:
        return bytes([first, bit | length])
    if length < 65_536:
        return bytes([first, bit | 126]) + struct.pack("!H", length)
    return bytes([first, bit | 127]) + struct.pack("!Q", length)


def _mask(payload: bytes) -> bytes:
    mask = os.urandom(4)
    return mask + bytes(XorMaskerSimple(mask).process(bytearray(payload)))


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


class RawSocket:
    """A connection to an address whose handshake was accepted; `refused` is the answer of one that was not."""

    def __init__(self, port: int, path: str = "/api/echo", *headers: str, patience: float = 30) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: localhost:{port}",
            "Upgrade: websocket",
            "Connection: keep-alive, Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
        ]
        named = {each.partition(":")[0].lower() for each in headers}
        lines = [each for each in lines if each.partition(":")[0].lower() not in named]
        self.send("\r\n".join([*lines, *(each for each in headers if not each.endswith(":")), "", ""]).encode())
        self._rest = b""
        head, _, self._rest = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        self.head = head.decode()
        self.status = int(self.head.split()[1])

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            data = self._sock.recv(65_536)
            assert data, f"it ended within a head: {self._rest!r}"
            self._rest += data
        return self._rest

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            data = self._sock.recv(65_536)
            if not data:
                raise EOFError
            self._rest += data
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def read(self) -> tuple[int, bytes]:
        """Gives the next frame: its opcode and payload. Raises `EOFError`."""
        first, length = self._take(2)
        assert first & 0x70 == 0, "a reserved bit: it compresses"
        assert length < 128, "a server's frame is not masked"
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return first & 15, self._take(length)

    def read_close(self) -> int | None:
        """Reads on to the close and gives its code, None without one. Raises `EOFError`."""
        while True:
            opcode, payload = self.read()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0] if payload else None

    def at_end(self) -> bool:
        """Whether the server has ended the connection, and said nothing more."""
        return not self._rest and not self._sock.recv(1)

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Goes without a word, by a reset, as a lost network looks in the end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def close(self) -> None:
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
