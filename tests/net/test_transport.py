"""The transport takes each answer as the HTTP library's own does, and gives a read of the socket as one piece."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import httpx2
import pytest
from transport_rig import CHUNKED, HEAD, Server, chunk, chunks, client, outcome, pieces, resets, sends, transport

from deechat.net import connection as connection_module
from deechat.net.http1 import Chunked

BODY = b"data: one\n\ndata: two\n\ndata: three\n\n"
TEN = b"0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


ANSWERS = {
    "chunked": CHUNKED + chunks(b"a", TEN * 30, b"b"),
    "chunked with nothing in it": CHUNKED + b"0\r\n\r\n",
    "chunked with extensions": CHUNKED + b'3;x=1;y="a b"\r\nabc\r\n0;z\r\n\r\n',
    "chunked with padded sizes": CHUNKED + b"003   \r\nabc\r\n000 \r\n\r\n",
    "chunked in capitals": CHUNKED + b"A\r\n" + TEN + b"\r\n0\r\n\r\n",
    "chunked with trailers": CHUNKED + chunk(b"abc") + b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    "chunked and closed": HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc"),
    "chunked with a length too": HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc"),
    "chunked over 1.0": CHUNKED.replace(b"1.1", b"1.0") + chunks(b"abc"),
    "a length": HEAD + b"Content-Length: 3\r\n\r\nabc",
    "a length twice": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a length of none": HEAD + b"Content-Length: 0\r\n\r\n",
    "to the end": HEAD + b"Connection: close\r\n\r\nabc",
    "1.0": b"HTTP/1.0 200 OK\r\n\r\nabc",
    "1.0 with a length": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 that says chunked": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
    "100 first": b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED + chunks(b"abc"),
    "103 twice": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 2 + CHUNKED + chunks(b"abc"),
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
    "an odd reason": b"HTTP/1.1 200 Alles g\xc3\xbct\r\nContent-Length: 3\r\n\r\nabc",
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
    "an error": b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc"),
    "lines that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "folded headers": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\r\nContent-Length: 3\r\n\r\nabc",
    "headers of many kinds": HEAD
    + b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-E:\r\nX-L: \xe9\r\nContent-Length: 0\r\n\r\n",
    "a header without a colon": HEAD + b"nonsense\r\n\r\n",
    "a header with spaces": HEAD + b"X A: 1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length that is none": HEAD + b"Content-Length: many\r\n\r\nabc",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "an unasked upgrade": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "another protocol": b"SSH-2.0-thing\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d\r\n\r\n",
    "a chunk without a size": CHUNKED + chunk(b"abc") + b"\r\nabc\r\n0\r\n\r\n",
    "a size that is none": CHUNKED + chunk(b"abc") + b"xyz\r\nabc\r\n0\r\n\r\n",
    "a size below nothing": CHUNKED + chunk(b"abc") + b"-3\r\nabc\r\n0\r\n\r\n",
    "a size too large": CHUNKED + chunk(b"abc") + b"f" * 30 + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + chunk(b"abc") + b"2\r\nabc\r\n0\r\n\r\n",
    "a chunk shorter than its size": CHUNKED + b"4\r\nabc\r\n0\r\n\r\n",
    "an event stream without chunks": CHUNKED + BODY,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_every_answer_is_what_the_ordinary_transport_makes_of_it(server: Server, answer: bytes) -> None:
    seen = []
    for each in (transport(), httpx2.HTTPTransport(trust_env=False)):
        server.script = [sends(answer, None)]
        with client(each) as http:
            seen.append(outcome(http, server.url))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_every_method_is_answered(server: Server, method: str) -> None:
    seen = []
    for each in (transport(), httpx2.HTTPTransport(trust_env=False)):
        server.script = [sends(HEAD + b"Content-Length: 3\r\n\r\n" + (b"" if method == "HEAD" else b"abc"))]
        with client(each) as http:
            seen.append(outcome(http, server.url, method))
    assert seen[0] == seen[1]
    assert server.requests[-1] == server.requests[-2]


def test_the_request_is_the_same_to_the_last_byte(server: Server) -> None:
    del server.requests[:]
    for each in (transport(), httpx2.HTTPTransport(trust_env=False)):
        server.script = [CHUNKED + chunks(b"abc")]
        with client(each) as http:
            pieces(
                http,
                server.url.replace("//", "//us%40er:pass@"),
                json={"é": "\n" * 99},
                headers={"X-Odd-Case": b"\xe9"},
            )
    ours, ordinary = server.requests
    assert ours == ordinary
    assert b"Authorization: Basic " in ours


@pytest.mark.parametrize("headers", [{"X": "a\r\nb"}, {"X": "a\x00b"}, {"a b": "c"}])
def test_a_header_that_would_be_another_one_is_not_sent(server: Server, headers: dict[str, str]) -> None:
    count = len(server.requests)
    with client() as http, pytest.raises(httpx2.LocalProtocolError):
        pieces(http, server.url, headers=headers)
    assert len(server.requests) == count


def test_all_that_a_read_brings_is_one_piece(server: Server) -> None:
    tokens = [b"data: %d\n\n" % number for number in range(500)]
    server.script = [sends(CHUNKED, 0.05, chunks(*tokens))]
    with client() as http:
        assert pieces(http, server.url) == [b"".join(tokens)]


def test_what_came_is_given_at_once_though_half_a_chunk_follows(server: Server) -> None:
    server.script = [sends(CHUNKED + chunk(b"now") + b"5\r\nla", 0.2, b"ter\r\n0\r\n\r\n")]
    with client() as http:
        assert pieces(http, server.url) == [b"nowla", b"ter"]


WIRE = chunk(b"data: one\n\n") + b"00b;x=1\r\ndata: two\n\n\r\n" + chunk(TEN * 3) + b"0\r\nX-Sum: 1\r\n\r\n"
WHOLE = b"data: one\n\ndata: two\n\n" + TEN * 3


@pytest.mark.parametrize("size", [*range(1, 24), len(WIRE)])
def test_chunks_may_be_cut_anywhere(size: int) -> None:
    for at in range(len(WIRE)):
        framing = Chunked(WIRE[:at], keeps_alive=True)
        data = framing.first
        for start in range(at, len(WIRE), size):
            assert not framing.done
            data += framing.feed(WIRE[start : start + size])
        assert (data, framing.done, framing.reusable, framing.fault) == (WHOLE, True, True, None)


def test_an_answer_may_come_in_two_packets_cut_at_any_byte(server: Server) -> None:
    answer = CHUNKED + WIRE
    with client() as http:
        for at in range(1, len(answer)):
            server.script = [sends(answer[:at], 0.002, answer[at:])]
            assert b"".join(pieces(http, server.url)) == WHOLE


def test_a_chunk_may_be_larger_than_a_read_and_a_length_too(server: Server) -> None:
    large = TEN * 100_000
    server.script = [CHUNKED + chunks(large), HEAD + b"Content-Length: 1000000\r\n\r\n" + large]
    with client() as http:
        for _ in range(2):
            came = pieces(http, server.url)
            assert b"".join(came) == large
            assert max(map(len, came)) <= connection_module.SIZE


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_answer_cut_at_any_byte_fails_as_with_the_ordinary_transport(
    server: Server, framing: str, ending: str
) -> None:
    answer = CHUNKED + WIRE if framing == "chunked" else HEAD + b"Content-Length: 52\r\n\r\n" + WHOLE
    step = 1 if ending == "close" else 17
    for at in range(0, len(answer), step):
        seen = []
        for each in (transport(), httpx2.HTTPTransport(trust_env=False)):
            server.script = [sends(answer[:at], None) if ending == "close" else resets(answer[:at])]
            with client(each) as http:
                seen.append(outcome(http, server.url))
        assert seen[0] == seen[1]
        assert seen[0][0] in {"RemoteProtocolError", "ReadError"}  # type: ignore[index]


def test_what_was_said_before_a_fault_comes_before_it(server: Server) -> None:
    server.script = [CHUNKED + chunk(b"abc") + chunk(b"def") + b"nonsense\r\n"]
    came = []
    with client() as http, pytest.raises(httpx2.RemoteProtocolError), http.stream("POST", server.url) as response:
        came.extend(response.iter_raw())
    assert came == [b"abcdef"]


PACKED = {
    "gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "br": b"\x0b\x11\x80" + BODY + b"\x03",  # what brotli makes of so short a text
}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_a_compressed_body_is_unpacked_by_the_library(server: Server, coding: str, framing: str) -> None:
    if coding not in httpx2.Client().headers["accept-encoding"]:
        pytest.skip(f"no {coding} is installed, so none is asked for")
    packed = PACKED[coding]
    body = chunks(packed[:9], packed[9:]) if framing == "chunked" else packed
    head = CHUNKED if framing == "chunked" else HEAD + b"Connection: close\r\n\r\n"
    server.script = [
        sends(head.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %b\r\n\r\n" % coding.encode()), body, None)
    ]
    with client() as http:
        assert b"".join(pieces(http, server.url)) == BODY


def test_a_coding_that_nobody_knows_is_left_as_it_is_and_a_false_one_is_a_decoding_error(server: Server) -> None:
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: %b\r\n\r\n")
    server.script = [head % b"rot13" + chunks(b"nop"), head % b"gzip" + chunks(b"no gzip")]
    with client() as http:
        assert pieces(http, server.url) == [b"nop"]
        with pytest.raises(httpx2.DecodingError):
            pieces(http, server.url)


def test_others_have_a_turn_while_a_fast_server_never_lets_a_read_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(connection_module.time, "sleep", turns.append)
    server.script = [CHUNKED + chunks(*[TEN * 500] * 400)]
    with client() as http:
        assert sum(map(len, pieces(http, server.url))) == 2_000_000
    assert len(turns) >= 2_000_000 // (connection_module.SHARE + connection_module.SIZE)
    assert not any(turns)
