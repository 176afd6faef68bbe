"""The least possible cost: the same framework and server as DeeChat's, with as little as possible in between.

`canned` makes its frames itself, at the pace that the prompt orders. `socket` opens a plain socket to the model server
and hands on the body as it comes, unparsed. `urllib3` hands on each chunk that the library gives. None of them reads
the answer, stores anything or survives anything: they are floors, not rivals.

    cd bench; BENCH_UPSTREAM=PORT gunicorn -k gevent floors:app
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, request

UPSTREAM = int(os.environ.get("BENCH_UPSTREAM", "0"))
PATH = "/v1/chat/completions"
READ = 65_536
ORDER = re.compile(r"tokens=([0-9]+) rate=([0-9.]+) text=(\S+)")

FRAME = b'id: %d\ndata: {"id":"m","uuid":"m","type":"textResponseChunk","textResponse":"%b","close":false}\n\n'

app = Flask("floors")
_pools: list[Any] = []


@app.get("/api/ping")
def ping() -> dict[str, bool]:
    return {"online": True}


@app.post("/canned")
def canned() -> Response:
    return _streamed(_frames(_prompt()))


@app.post("/socket")
def plain_socket() -> Response:
    return _streamed(_through_socket(_question()))


@app.post("/urllib3")
def through_library() -> Response:
    return _streamed(_through_urllib3(_question()))


def _streamed(pieces: Iterator[bytes]) -> Response:
    response = Response(pieces, content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-cache, no-transform"
    return response


def _prompt() -> str:
    return str(json.loads(request.get_data())["message"])


def _question() -> bytes:
    messages = [{"role": "user", "content": _prompt()}]
    return json.dumps({"model": "bench", "messages": messages, "stream": True}).encode()


def _frames(prompt: str) -> Iterator[bytes]:
    order = ORDER.search(prompt)
    assert order, prompt
    tokens, rate, text = int(order[1]), float(order[2]), order[3]
    began = time.monotonic()
    yield FRAME % (0, b"@%013x@ %b" % (int(began * 1e6), text.encode()))
    token = b" " + text.encode()
    for number in range(1, tokens):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        yield FRAME % (number, token)
    yield b"data: [DONE]\n\n"


def _through_socket(question: bytes) -> Iterator[bytes]:
    upstream = socket.create_connection(("127.0.0.1", UPSTREAM))
    head = f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {len(question)}\r\n\r\n"
    upstream.sendall(head.encode() + question)
    with upstream:
        received = b""
        while b"\r\n\r\n" not in received:
            received += upstream.recv(READ)
        body = received.partition(b"\r\n\r\n")[2]
        if body:
            yield body
        while body := upstream.recv(READ):
            yield body


def _through_urllib3(question: bytes) -> Iterator[bytes]:
    import urllib3  # noqa: PLC0415 - the other floors do without

    if not _pools:
        _pools.append(urllib3.PoolManager(maxsize=10))
    url = f"http://127.0.0.1:{UPSTREAM}{PATH}"
    response = _pools[0].request("POST", url, body=question, preload_content=False, retries=False)
    yield from response.read_chunked(decode_content=False)
    response.release_conn()
