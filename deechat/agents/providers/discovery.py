"""Finds a model server on this machine, over plain sockets, which gevent patches in a server."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from deechat.agents.providers.openai.listing import Row, rows_in
from deechat.net.deadline import Deadline

# In the order in which they are looked at: Ollama, llama.cpp, LM Studio, vLLM.
CANDIDATES = (11434, 8080, 1234, 8000)
HOST = "127.0.0.1"
MAX_FOUND = 256_000  # bytes of an answer: any program may have the port, and all others wait while its answer is read


def find_local_server(
    own_ports: Collection[int], within: float = 0.3, candidates: Sequence[int] = CANDIDATES
) -> str | None:
    """Return the base URL of the first server that lists a model that can chat within so many seconds; None else.

    `own_ports` are never looked at. It takes no longer than `within` for each candidate, and raises nothing.
    """
    for port in candidates:
        if port not in own_ports and any(row.can_chat for row in _models(port, within)):
            return f"http://{HOST}:{port}/v1"
    return None


def _models(port: int, within: float) -> list[Row]:
    deadline = Deadline(within)
    request = f"GET /v1/models HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    with (
        suppress(OSError, ValueError, RecursionError, http.client.HTTPException),
        socket.create_connection((HOST, port), timeout=within) as sock,
        _Reader(sock, deadline) as reader,
        http.client.HTTPResponse(reader) as response,  # type: ignore[arg-type] # all that it wants is `makefile`
    ):
        sock.sendall(request.encode())
        response.begin()
        if response.status == 200:
            return rows_in(response.read(MAX_FOUND))
    return []


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline, then raises `TimeoutError`, even while bytes drip in.

    It ends after `MAX_FOUND` bytes, and each read yields to other greenlets.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._rest = MAX_FOUND

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline.left()
        if self._rest <= 0:
            return 0
        time.sleep(0)
        self._sock.settimeout(left)
        count = self._sock.recv_into(buffer)
        self._rest -= count
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)
