"""A client of many streams in one process, on raw sockets. It counts tokens, and notes when each came and was due.

It reads just enough of HTTP and Server-Sent Events for that: chunks, blocks, the lines that begin with `data: `, and in
them the token that was ordered. It costs little beside the server that it measures, in every form of an answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STAMP = re.compile(rb"@([0-9a-f]{13})@")
CRLF = b"\r\n"
PATIENCE = 30.0  # seconds beyond those of the rate


@dataclass(frozen=True, slots=True)
class Order:
    """The answer to order from the model server; `rate` is in tokens a second, 0 for all at once."""

    tokens: int
    rate: float = 0.0
    text: str = "lorem"

    @property
    def prompt(self) -> str:
        return f"tokens={self.tokens} rate={self.rate:g} text={self.text}"

    @property
    def seconds(self) -> float:
        return self.tokens / self.rate if self.rate else 0.0


@dataclass(slots=True)
class Stream:
    """The course of one stream; times are seconds of the monotonic clock, 0 for a moment that never came.

    `began` is when the model server wrote its first byte. `late` has for each token that was paced how late it came;
    number N was due N / rate seconds after `began`.
    """

    order: Order
    sent: float = 0.0
    began: float = 0.0
    first_frame: float = 0.0
    first_text: float = 0.0
    last_text: float = 0.0
    frames: int = 0
    tokens: int = 0
    trouble: str = ""
    late: array[float] = field(default_factory=lambda: array("d"))

    def take(self, blocks: bytes, now: float) -> None:
        """Takes whole blocks of the event stream."""
        frames = blocks.count(b"data: ")
        if frames and not self.frames:
            self.first_frame = now
        self.frames += frames
        if not self.began and (stamp := STAMP.search(blocks)):
            self.began = int(stamp[1], 16) / 1e6
        count = blocks.count(b" " + self.order.text.encode()) if self.order.text != "*" else 0
        if not (count or (self.began and not self.first_text)):
            return
        self.first_text = self.first_text or now
        self.last_text = now
        if self.order.rate:
            after = now - self.began
            self.late.extend(after - (self.tokens + each) / self.order.rate for each in range(count))
        self.tokens += count

    def end(self, last: bytes) -> None:
        """Notes that the response is whole; `last` is the last block."""
        if b'"finalizeResponseStream"' not in last and b"[DONE]" not in last:
            self.trouble = f"it ended with {last[-200:]!r}"
        elif self.order.text != "*" and self.tokens != self.order.tokens:
            self.trouble = f"{self.tokens} of {self.order.tokens} tokens"


class _Chunks:
    """HTTP's chunked coding, undone."""

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        raw, at, pieces = self._rest + data, 0, []
        while at < len(raw) and not self.ended:
            if self._left:
                pieces.append(raw[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
                continue
            end = raw.find(CRLF, at)
            if end < 0:
                break
            if end > at:  # or else it is the end of the chunk before
                self._left = int(raw[at:end], 16)
                self.ended = self._left == 0
            at = end + 2
        self._rest = raw[at:]
        return b"".join(pieces)


class _Reader(asyncio.Protocol):
    """Reads one response."""

    def __init__(self, stream: Stream, request: bytes) -> None:
        self._stream = stream
        self._request = request
        self._head = b""
        self._chunks = _Chunks()
        self._text = self._last = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream.sent = time.monotonic()
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"cut after {self._stream.tokens} tokens ({exc or 'closed'})")

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._request:
            data = self._after_head(data)
        blocks, mark, self._text = (self._text + self._chunks.feed(data)).rpartition(b"\n\n")
        if mark:
            self._stream.take(blocks, now)
            self._last = blocks
        if self._chunks.ended and not self.done.done():
            self._stream.end(self._last)
            self.done.set_result(None)

    def _after_head(self, data: bytes) -> bytes:
        head, separator, rest = (self._head + data).partition(CRLF + CRLF)
        self._head = head
        if not separator:
            return b""
        self._request = b""
        if b" 200 " not in head.partition(CRLF)[0]:
            self._fail(head.partition(CRLF)[0].decode(errors="replace"))
            return b""
        return rest

    def _fail(self, trouble: str) -> None:
        self._stream.trouble = trouble
        if not self.done.done():
            self.done.set_result(None)


def _request(method: str, path: str, body: dict[str, Any]) -> bytes:
    raw = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    )
    return head.encode() + 2 * CRLF + raw


async def follow(port: int, path: str, order: Order) -> Stream:
    """Sends a prompt and reads the answer to its end."""
    stream = Stream(order)
    request = _request("POST", path, {"message": order.prompt})
    loop = asyncio.get_running_loop()
    try:
        transport, reader = await loop.create_connection(lambda: _Reader(stream, request), "127.0.0.1", port)
    except OSError as exc:
        stream.trouble = str(exc)
        return stream
    try:
        await asyncio.wait_for(reader.done, order.seconds + PATIENCE)
    except TimeoutError:
        stream.trouble = f"silent or slow: {stream.tokens} of {order.tokens} tokens"
    finally:
        transport.close()
    return stream


async def follow_all(port: int, paths: Sequence[str], order: Order, ramp: float = 0.0) -> list[Stream]:
    """Follows an answer at each of the paths, begun all at once or spread evenly over `ramp` seconds."""

    async def one(number: int, path: str) -> Stream:
        if ramp:
            await asyncio.sleep(ramp * number / len(paths))
        return await follow(port, path, order)

    return await asyncio.gather(*(one(number, path) for number, path in enumerate(paths)))


async def ask(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
    """Makes a request whose response has a length; gives its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        return await _exchange(reader, writer, _request(method, path, body or {}))
    finally:
        writer.close()


async def new_threads(port: int, count: int, at_once: int = 16) -> list[str]:
    """Makes threads in the default workspace, and gives the paths at which they take prompts."""

    async def some(number: int) -> list[str]:
        if not number:
            return []
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = _request("POST", "/api/workspace/default/thread/new", {"name": "bench"})
        slugs = [json.loads(await _exchange(reader, writer, request))["thread"]["slug"] for _ in range(number)]
        writer.close()
        return slugs

    shares = [count // at_once + (each < count % at_once) for each in range(at_once)]
    slugs = [slug for made in await asyncio.gather(*map(some, shares)) for slug in made]
    return [f"/api/workspace/default/thread/{slug}/stream-chat" for slug in slugs]


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    head = await reader.readuntil(CRLF + CRLF)
    length = re.search(rb"(?i)content-length: *([0-9]+)", head)
    assert length, head
    assert b" 200 " in head.partition(CRLF)[0], head
    return await reader.readexactly(int(length[1]))
