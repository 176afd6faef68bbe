"""A model server for measurements: OpenAI-compatible, a process of its own, each answer at the rate asked for.

The prompt says what to answer: `rate=50 tokens=500` gives 500 tokens at 50 a second. A token's text is the time at
which it was written, in microseconds of the system's monotonic clock as hex, so that a client on the same machine can
tell how long it was on its way. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
import sys
import time

ORDER = re.compile(r"rate=([0-9.]+) tokens=([0-9]+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"bench","choices":[%s]%s}'
TICK = 0.001  # seconds; no answer is late by more on this account


def _chunk(choice: str, more: str = "") -> bytes:
    return _framed(b"data: " + (CHUNK % (choice, more)).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _delta(text: str) -> bytes:
    return _chunk(json.dumps({"index": 0, "delta": {"content": text}, "finish_reason": None}))


class Pacer:
    """Writes every answer's next token when it is due: one task for all of them."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Connection, float, int]] = []
        self._number = 0

    def add(self, connection: Connection, rate: float, tokens: int) -> None:
        self._number += 1
        heapq.heappush(self._due, (time.monotonic() + 1 / rate, self._number, connection, 1 / rate, tokens))

    async def run(self) -> None:
        while True:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due, number, connection, interval, left = heapq.heappop(self._due)
                if connection.token(left):
                    heapq.heappush(self._due, (due + interval, number, connection, interval, left - 1))
            await asyncio.sleep(max(TICK, self._due[0][0] - now) if self._due else TICK)


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
        size = int(length[1]) if length else 0
        if separator and len(rest) >= size:
            self._received = rest[size:]
            self._answer(head, rest[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"GET "):
            listing = b'{"object":"list","data":[{"id":"bench","object":"model"}]}'
            start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(start % len(listing) + listing)
            return
        order = ORDER.search(str(json.loads(body)["messages"][-1]["content"]))
        rate, tokens = (float(order[1]), int(order[2])) if order else (50.0, 1)
        self._transport.write(HEAD + _chunk('{"index":0,"delta":{"role":"assistant","content":""}}'))
        self._pacer.add(self, rate, tokens)

    def token(self, left: int) -> bool:
        """Writes the next token, or the end when none is left; says whether there will be another."""
        if self._transport is None:
            return False
        if left:
            self._transport.write(_delta(f"{time.monotonic_ns() // 1000:013x} "))
            return True
        usage = ',"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}'
        end = _chunk('{"index":0,"delta":{},"finish_reason":"stop"}') + _chunk("", usage)
        self._transport.write(end + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return False


async def main() -> None:
    """Serves on a free port, which it prints, until standard input ends."""
    loop = asyncio.get_running_loop()
    pacer = Pacer()
    server = await loop.create_server(lambda: Connection(pacer), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    pacing = loop.create_task(pacer.run())
    await ended.wait()
    pacing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
