"""A client of one answer for each transport: it begins, reads, comes back after a cut, answers and stops.

Each is as small as a whole client can be, since docs/transports.md counts their lines. Tokens are numbers, so that a
viewer knows which it lacks and which it has twice.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import time
from dataclasses import dataclass, field
from typing import Any

from load import CRLF, _Chunks, ask

TOKEN = re.compile(r"(?:^| )([0-9]+)(?= |$)")
JSON_HEAD = "Content-Type: application/json\r\n"
Json = dict[str, Any]


@dataclass(slots=True)
class Seen:
    """What one viewer saw; times are of the monotonic clock, 0 for a moment that never came."""

    sent: float = 0.0
    first: float = 0.0
    connections: int = 0
    round_trips: int = 0
    taken: int = 0  # bytes from the server, heads of responses among them
    text: str = ""
    moments: list[float] = field(default_factory=list)  # when text came
    request: str | None = None  # the id of the request that waits for a person
    run: str = ""
    ended: str = ""

    def say(self, text: str) -> None:
        now = time.monotonic()
        self.first = self.first or now
        self.moments.append(now)
        self.text += text

    def lost_and_doubled(self, tokens: int) -> tuple[int, int]:
        """Return how many tokens are missing and how many came more than once."""
        numbers = [int(number) for number in TOKEN.findall(self.text)]
        return tokens - len(set(numbers)), len(numbers) - len(set(numbers))


class Viewer:
    """The part that all share: a connection, its bytes, and the waits for a moment."""

    transport = ""

    def __init__(self, port: int, path: str) -> None:
        self.port, self.path, self.seen = port, path, Seen()
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def until(self, there: Any, seconds: float = 30.0) -> None:
        """Return when `there()` is true. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not there():
                await self._changed.wait()
                self._changed.clear()

    async def begin(self, prompt: str) -> None:
        """Send the prompt, and read what comes from then on."""
        self.seen.sent = time.monotonic()
        self._reading = asyncio.create_task(self._begin(prompt))

    async def come_back(self) -> None:
        """Read on after a cut."""
        self._reading = asyncio.create_task(self._come_back())

    def over(self) -> bool:
        """Return whether nothing is read any more."""
        return self._reading is None or self._reading.done()

    def fault(self) -> str:
        """Return why reading ended, '' while it goes on or where it ended well."""
        if self._reading is None or not self._reading.done() or self._reading.cancelled():
            return ""
        error = self._reading.exception()
        return str(error) if error else ""

    def cut(self) -> None:
        """Lose the connection, as a network does: nothing is said."""
        if self._reading:
            self._reading.cancel()
        if self._writer:
            self._writer.transport.abort()

    async def _begin(self, prompt: str) -> None:
        raise NotImplementedError

    async def _come_back(self) -> None:
        raise NotImplementedError

    async def _connect(self, head: str, body: bytes = b"") -> asyncio.StreamReader:
        """Open a connection, send a request, and return the reader behind the response's head."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        self.seen.connections += 1
        self.seen.round_trips += 2  # the connection's own, and the request's
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{head}Host: 127.0.0.1:{self.port}\r\n{length}\r\n".encode() + body)
        answer = await reader.readuntil(CRLF + CRLF)
        self.seen.taken += len(answer)
        if not re.match(rb"HTTP/1.1 (200|101|204) ", answer):
            raise ConnectionError(answer.partition(CRLF)[0].decode())
        return reader

    async def _frames(self, reader: asyncio.StreamReader) -> Any:
        """Yield the objects of an event stream."""
        chunks, text = _Chunks(), b""
        while not chunks.ended and (data := await reader.read(65_536)):
            self.seen.taken += len(data)
            blocks, mark, text = (text + chunks.feed(data)).rpartition(b"\n\n")
            for block in blocks.split(b"\n\n") if mark else ():
                for line in block.split(b"\n"):
                    if line.startswith(b"id: "):
                        self.last = int(line[4:])
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
            self._changed.set()


class Events(Viewer):
    """B: everything over one response of Server-Sent Events."""

    transport = "sse"
    last = 0  # the cursor behind the last event
    socket = ""  # the address of the run's socket, where the stream named one

    async def _begin(self, prompt: str) -> None:
        body = json.dumps({"message": prompt, "transport": self.transport}).encode()
        await self._read(await self._connect(f"POST {self.path} HTTP/1.1\r\n{JSON_HEAD}", body))

    async def _come_back(self) -> None:
        head = f"GET /api/runs/{self.seen.run}/events HTTP/1.1\r\nLast-Event-ID: {self.last}\r\n"
        await self._read(await self._connect(head))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for frame in self._frames(reader):
            kind = frame.get("type")
            self.seen.run = frame.get("runId") or self.seen.run
            if kind == "textResponseChunk" and frame["textResponse"]:
                self.seen.say(frame["textResponse"])
            elif kind in {"toolApprovalRequest", "clarificationRequest"}:
                self.seen.request = frame["requestId"]
            elif kind in {"finalizeResponseStream", "stopGeneration", "abort"}:
                self.seen.ended = kind
            elif kind == "agentInitWebsocketConnection":
                self.socket = frame["websocketUUID"]
                self.seen.run = self.socket.partition("?")[0]
        self._changed.set()

    async def answer(self) -> None:
        """Say yes to the request that waits."""
        await ask(self.port, "POST", f"/api/runs/{self.seen.run}/respond", _yes(self.seen.request))

    async def stop(self) -> None:
        """Stop the run."""
        await ask(self.port, "POST", f"/api/runs/{self.seen.run}/stop")


def _yes(request: str | None) -> Json:
    return {"requestId": request, "approved": True}


class Socket(Events):
    """A: the prompt is sent over HTTP, and all that follows comes and goes over a WebSocket (RFC 6455)."""

    transport = "websocket"

    async def _begin(self, prompt: str) -> None:
        await super()._begin(prompt)  # which says where to go on
        if self.socket:
            await self._converse(self.socket)

    async def _come_back(self) -> None:
        await self._converse(f"{self.seen.run}?after={self.last}")

    async def _converse(self, address: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /api/agent-invocation/{address} HTTP/1.1\r\n"
        head += (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        )
        reader = await self._connect(head)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                begin = await reader.readexactly(2)
                size = begin[1] & 127
                if size > 125:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
                body = await reader.readexactly(size)
                self.seen.taken += len(body) + (2 if size < 126 else 4 if size < 65_536 else 10)
                self._take(begin[0] & 15, body)
                self._changed.set()

    def _take(self, kind: int, body: bytes) -> None:
        if kind == 9:
            self._send(10, body)
        elif kind == 8:
            self._send(8, body)
            self.seen.ended = self.seen.ended or "close"
        elif kind == 1:
            self._hear(json.loads(body))

    def _hear(self, message: Json) -> None:
        self.last = message.get("seq", self.last)
        content = message.get("content") if message["type"] == "reportStreamEvent" else None
        if content and content["type"] == "textResponseChunk":
            self.seen.say(content["content"])
        elif message["type"] in {"toolApprovalRequest", "clarificationRequest"}:
            self.seen.request = message["requestId"]
        elif message["type"] in {"WAITING_ON_INPUT", "wssFailure"}:
            self.seen.ended = message["type"]

    def _send(self, kind: int, body: bytes) -> None:
        mask = os.urandom(4)
        length = bytes([len(body) | 128]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
        if self._writer:
            self._writer.write(bytes([kind | 128]) + length + mask + masked)

    async def answer(self) -> None:
        reply = {"type": "toolApprovalResponse", "requestId": self.seen.request, "approved": True}
        self._send(1, json.dumps(reply).encode())

    async def stop(self) -> None:
        self._send(8, b"\x03\xe8")


class Hybrid(Socket):
    """C: as B, and as A from the moment on at which the run needs a person."""

    transport = "hybrid"

    async def _come_back(self) -> None:
        await (super()._come_back() if self.socket else Events._come_back(self))
