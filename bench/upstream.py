"""A model server for measurements: OpenAI-compatible, one process, each answer as its prompt orders.

`tokens=500 rate=50 text=lorem` orders 500 tokens at 50 a second, each the text " lorem". Rate 0 is as fast as they can
be written. Each token is an HTTP chunk and a send of its own, as model servers have it. The text `*` is prose instead,
word after word, and `#` are numbers from 0 on. With `ask=1` behind it the calculator is called first.

The first token begins with `@STAMP@`: when it was written, in microseconds of the system's monotonic clock as 13 hex
digits, so that a client on the same machine knows when each token was due: number N of them N / rate seconds later.
`GET /late` gives how late they were written, in milliseconds, since it was asked last: the rig's own lateness.

It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import json
import re
import sys
import time
from array import array
from pathlib import Path

import measure

ORDER = re.compile(r"tokens=([0-9]+) rate=([0-9.]+) text=(\S+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench","choices":[%s]%s}'
USAGE = ',"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}'
MOST_NUMBERS = 100_000
TICK = 0.001  # seconds; no token is late by more on this account
PROSE = Path(__file__).parent.parent / "docs" / "design.md"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(choice: str, more: str = "") -> bytes:
    return _framed(b"data: " + (CHUNK % (choice, more)).encode() + b"\n\n")


@functools.cache
def _token(text: str) -> bytes:
    return _chunk(json.dumps({"index": 0, "delta": {"content": text}, "finish_reason": None}))


def _first(text: str, at: float) -> bytes:
    stamped = _token.__wrapped__(f"@{int(at * 1e6):013x}@{text}")
    return HEAD + _chunk('{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}') + stamped


@functools.cache
def _texts(text: str) -> list[str]:
    words = {"*": PROSE.read_text().split, "#": lambda: map(str, range(MOST_NUMBERS))}
    return [f" {word}" for word in words.get(text, lambda: [text])()]


CALL = {"index": 0, "id": "call_1", "function": {"name": "calculator", "arguments": '{"expression":"6*7"}'}}
CALLED = HEAD + _chunk(
    json.dumps({"index": 0, "delta": {"role": "assistant", "tool_calls": [CALL]}, "finish_reason": "tool_calls"})
)
LAST = _chunk("", USAGE) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
END = _chunk('{"index":0,"delta":{},"finish_reason":"stop"}') + LAST


class Answer:
    """An answer under way on a connection. `write` writes the next token, and gives when another one is due."""

    def __init__(self, connection: Connection, tokens: int, rate: float, text: str) -> None:
        self._connection = connection
        self._left = tokens
        self._interval = 1 / rate
        self._texts = itertools.cycle(_texts(text))
        self._due = time.monotonic()
        connection.write(_first(next(self._texts), self._due))

    def write(self) -> bool:
        """Writes the token that is due, the end behind the last one; says whether more will follow."""
        self._left -= 1
        if self._left:
            return self._connection.write(_token(next(self._texts)))
        self._connection.write(END)
        self._connection.end()
        return False

    def next_due(self) -> float:
        """Gives when the next token has to be written: always a whole number of intervals after the first one."""
        if self._left > 1:  # the end comes with the last token
            self._due += self._interval
        return self._due


class Pacer:
    """Writes every answer's next token when it is due: one task for all of them."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Answer]] = []
        self._number = 0
        self._late = array("d")

    def add(self, answer: Answer) -> None:
        self._number += 1
        heapq.heappush(self._due, (answer.next_due(), self._number, answer))

    async def run(self) -> None:
        while True:
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due, number, answer = self._due[0]
                self._late.append(now - due)
                if answer.write():
                    heapq.heapreplace(self._due, (answer.next_due(), number, answer))
                else:
                    heapq.heappop(self._due)
            await asyncio.sleep(max(TICK, self._due[0][0] - time.monotonic()) if self._due else TICK)

    def lateness(self) -> dict[str, float]:
        """Gives how late tokens were written since the last call, in milliseconds."""
        late, self._late = sorted(self._late), array("d")
        return {name: 1000 * measure.percentile(late, share) for name, share in measure.SHARES.items()}


class Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._received = b""
        self._closes = False
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
            self._closes = b"\r\nconnection: close" in head.lower()
            self._answer(head, rest[:size])

    def write(self, data: bytes) -> bool:
        """Writes, unless the client has left; says whether it is there."""
        if self._transport is None:
            return False
        self._transport.write(data)
        return True

    def end(self) -> None:
        """Closes the connection after an answer, where its client wanted that."""
        if self._closes and self._transport is not None:
            self._transport.close()

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET "):
            self._say(self._pacer.lateness() if b"/late" in head else {"data": [{"id": "bench", "object": "model"}]})
            return
        messages = json.loads(body)["messages"]
        prompt = str(next(each["content"] for each in reversed(messages) if each["role"] == "user"))
        if "ask=1" in prompt and messages[-1]["role"] == "user":
            self.write(CALLED + LAST)
            self.end()
            return
        order = ORDER.search(prompt)
        if order is None:
            self._say({"error": {"message": "the prompt orders nothing"}})
            return
        tokens, rate, text = int(order[1]), float(order[2]), order[3]
        if rate and tokens > 1:
            self._pacer.add(Answer(self, tokens, rate, text))
        else:
            self._answer_at_once(tokens, _texts(text))

    def _answer_at_once(self, tokens: int, texts: list[str]) -> None:
        chunks = [_token(text) for text in itertools.islice(itertools.cycle(texts), 1, tokens)]
        self.write(_first(texts[0], time.monotonic()))
        for chunk in chunks:
            self.write(chunk)
        self.write(END)
        self.end()

    def _say(self, value: object) -> None:
        raw = json.dumps(value).encode()
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
        self.end()


async def main() -> None:
    """Serves on a free port, which it prints, until standard input ends."""
    measure.many_files()
    measure.no_collections()
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
