"""A head that is read at a glance means what it means to h11, and any other is left to it."""

from __future__ import annotations

import random

import h11

from deechat.net.http1 import Head, read_plain_head


def by_h11(raw: bytes) -> tuple[Head, bytes]:
    state = h11.Connection(h11.CLIENT)
    state.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    state.send(h11.EndOfMessage())
    state.receive_data(raw)
    response = state.next_event()
    assert isinstance(response, h11.Response)
    return Head.of(response), state.trailing_data[0]


def test_a_plain_head_is_what_h11_reads() -> None:
    chance = random.Random(11)
    lines = [
        b"Content-Type: text/event-stream", b"X-A:1", b"x-b: \t a  b \t ", b"X-Empty:", b"Transfer-Encoding:  CHUNKED ",
        b"Connection: keep-alive", b"connection: Close", b"Connection: x,  close", b"Content-Length: 3", b"X~`|: !\"#",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked",
        b"Content-Length: chunked", b"X Y: 1", b"X-\xe9: 1", b"X-L: \xe9", b" folded", b"no colon", b": none",
        b"X-N: a\x00b", b"X-C: a\x01b", b"X-R: a\rb", b"Keep-Alive: timeout=5", b"Upgrade: h2c",
    ]  # fmt: skip
    starts = [b"HTTP/1.1 200 OK"] * 9 + [b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No"]
    plain = 0
    for _ in range(5_000):
        chosen = chance.sample(lines, chance.randrange(5))
        if chance.random() < 0.7:
            chosen.append(b"Transfer-Encoding: chunked")
        chance.shuffle(chosen)
        end = chance.choice([b"\r\n"] * 9 + [b"\n"])
        raw = end.join([chance.choice(starts), *chosen, b"", b""]) + chance.choice([b"", b"3\r\nabc\r\n"])
        found = read_plain_head(raw)
        if found is not None:
            plain += 1
            assert found == by_h11(raw), raw
            assert found[0].is_chunked
    assert plain > 500


def test_a_head_that_is_not_all_there_is_not_read_plain_head() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert read_plain_head(raw) is not None
    assert not any(read_plain_head(raw[:end]) for end in range(len(raw)))
