"""A client of many streams in one process. It checks each stream to its end and notes when what arrived."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field

STAMP = re.compile(rb"\b[0-9a-f]{13} ")
CRLF = b"\r\n"


@dataclass(slots=True)
class Stream:
    """What became of one stream; times are seconds of the monotonic clock, 0 for what never happened."""

    tokens: int
    sent: float = 0.0
    first_frame: float = 0.0
    first_token: float = 0.0
    ended: float = 0.0
    frames: int = 0
    ending: str = ""
    trouble: str = ""
    delays: list[float] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        return not self.trouble and self.ending == "finalizeResponseStream" and len(self.delays) == self.tokens

    @property
    def words(self) -> str:
        """Says in a few words what is wrong with it."""
        return self.trouble or f"{len(self.delays)} of {self.tokens} tokens, {self.ending or 'no ending'}"


class _Reader(asyncio.Protocol):
    """Reads one response: its head, its HTTP chunks, the frames in them."""

    def __init__(self, stream: Stream, request: bytes) -> None:
        self._stream = stream
        self._request = request
        self._raw = b""
        self._text = b""
        self._in_body = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream.sent = time.monotonic()
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._stream.ending and not self._stream.trouble:
            self._stream.trouble = f"cut after {self._stream.frames} frames ({exc or 'closed'})"
        if not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._raw += data
        if not self._in_body and not self._read_head():
            return
        now = time.monotonic()
        while (end := self._raw.find(CRLF)) > 0:
            size = int(self._raw[:end], 16)
            if len(self._raw) < end + size + 4:
                break
            self._text += self._raw[end + 2 : end + 2 + size]
            self._raw = self._raw[end + size + 4 :]
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            self._take(block, now)
        if self._stream.ending and not self.done.done():
            self.done.set_result(None)

    def _read_head(self) -> bool:
        head, separator, rest = self._raw.partition(CRLF + CRLF)
        if not separator:
            return False
        status = head.split(CRLF)[0].decode()
        if " 200 " not in status:
            self._stream.trouble = status
            self.done.set_result(None)
            return False
        self._raw, self._in_body = rest, True
        return True

    def _take(self, block: bytes, now: float) -> None:
        stream = self._stream
        if not block.startswith(b"id: "):
            return
        number, _, data = block[4:].partition(b"\ndata: ")
        if int(number) != stream.frames + 1:
            stream.trouble = stream.trouble or f"frame {int(number)} came after frame {stream.frames}"
        stream.frames += 1
        stream.first_frame = stream.first_frame or now
        if stamps := STAMP.findall(data):
            stream.first_token = stream.first_token or now
            stream.delays += [now - int(stamp, 16) / 1e6 for stamp in stamps]
        if b'"close":true' in data and (kind := json.loads(data)["type"]) != "textResponseChunk":
            stream.ending, stream.ended = kind, now


def _request(method: str, path: str, body: dict[str, str]) -> bytes:
    raw = json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}"
    )
    return head.encode() + b"\r\n\r\n" + raw


async def new_threads(port: int, count: int) -> list[str]:
    """Makes threads in the default workspace, one after the other on one connection; gives their slugs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    slugs = []
    for _ in range(count):
        writer.write(_request("POST", "/api/workspace/default/thread/new", {"name": "bench"}))
        head = await reader.readuntil(CRLF + CRLF)
        length = re.search(rb"(?i)content-length: *([0-9]+)", head)
        assert length, head
        slugs.append(json.loads(await reader.readexactly(int(length[1])))["thread"]["slug"])
    writer.close()
    return slugs


async def follow(port: int, slug: str, rate: float, tokens: int, patience: float = 60.0) -> Stream:
    """Sends a prompt to a thread and reads the answer to its end; `patience` is for what the rate does not explain."""
    stream = Stream(tokens)
    prompt = {"message": f"rate={rate:g} tokens={tokens}"}
    request = _request("POST", f"/api/workspace/default/thread/{slug}/stream-chat", prompt)
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(lambda: _Reader(stream, request), "127.0.0.1", port)
    try:
        await asyncio.wait_for(reader.done, tokens / rate + patience)
    except TimeoutError:
        stream.trouble = f"silent or slow: {len(stream.delays)} of {tokens} tokens"
    finally:
        transport.close()
    return stream


async def follow_all(port: int, slugs: list[str], rate: float, tokens: int, ramp: float = 0.0) -> list[Stream]:
    """Follows an answer in each of the threads, begun all at once or spread over `ramp` seconds."""

    async def one(number: int, slug: str) -> Stream:
        await asyncio.sleep(ramp * number / len(slugs))
        try:
            return await follow(port, slug, rate, tokens)
        except OSError as exc:
            return Stream(tokens, trouble=str(exc))

    return await asyncio.gather(*(one(number, slug) for number, slug in enumerate(slugs)))


class Ticker:
    """Notes how late this process wakes from short sleeps: what it adds to what it measures."""

    def __init__(self) -> None:
        self.latest = 0.0

    async def run(self, interval: float = 0.01) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(interval)
            self.latest = max(self.latest, time.monotonic() - began - interval)
