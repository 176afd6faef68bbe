"""The transport keeps connections that can be used again, no others, and waits no longer than it may."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from transport_rig import (
    CHUNKED,
    HEAD,
    Server,
    chunk,
    chunks,
    client,
    drips,
    floods,
    outcome,
    pieces,
    sends,
    transport,
    waits_for_leave,
)

from deechat.net.connection import Connection, WriteError

ANSWER = CHUNKED + chunks(b"abc")
LENGTH = HEAD + b"Content-Length: 3\r\n\r\nabc"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.mark.parametrize("answer", [ANSWER, LENGTH, b"HTTP/1.1 204 None\r\n\r\n"])
def test_whole_answers_share_a_connection(server: Server, answer: bytes) -> None:
    server.script = [answer] * 3
    with client() as http:
        for _ in range(3):
            pieces(http, server.url)
    assert server.connections == 1


UNUSABLE = {
    "it says close": HEAD + b"Connection: Keep-Alive, Close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc"),
    "it says close, with a length": HEAD + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
    "HTTP/1.0": LENGTH.replace(b"1.1", b"1.0"),
    "HTTP/1.0 with chunks": ANSWER.replace(b"1.1", b"1.0"),
    "more than the length": LENGTH + b"d",
    "more than the chunks": ANSWER + b"more",
    "a second answer behind the chunks": ANSWER * 2,
    "a second answer behind the length": LENGTH * 2,
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_connection_that_cannot_be_used_again_is_closed(server: Server, answer: bytes) -> None:
    server.script = [sends(b"", answer), ANSWER]
    with client() as http:
        assert pieces(http, server.url) == [b"abc"]
        assert server.wait(lambda: server.ended == 1)
        assert pieces(http, server.url) == [b"abc"]
    assert server.connections == 2


def test_an_answer_that_was_not_read_to_its_end_closes_its_connection(server: Server) -> None:
    server.script = [waits_for_leave(CHUNKED + chunk(b"abc")), LENGTH, ANSWER]
    with client() as http:
        with http.stream("POST", server.url) as response:
            assert next(response.iter_raw()) == b"abc"
        assert server.wait(lambda: server.ended == 1)
        with http.stream("POST", server.url):
            pass  # of this one not even the beginning was looked at, and yet all of it is here
        pieces(http, server.url)
    assert server.connections == 2


def test_a_connection_that_the_server_closed_while_idle_is_not_used(server: Server) -> None:
    server.script = [sends(ANSWER, None), ANSWER]
    with client() as http:
        pieces(http, server.url)
        assert server.wait(lambda: server.ended == 1)
        assert pieces(http, server.url) == [b"abc"]
    assert server.connections == 2


def test_a_connection_on_which_something_came_unasked_is_not_used(server: Server) -> None:
    server.script = [sends(ANSWER, 0.05, b"HTTP/1.1 408 Too Late\r\n\r\n"), ANSWER]
    with client() as http:
        pieces(http, server.url)
        time.sleep(0.2)
        assert pieces(http, server.url) == [b"abc"]
    assert server.connections == 2


def test_an_old_connection_is_not_used(server: Server) -> None:
    server.script = [ANSWER, ANSWER]
    with client(transport(idle_seconds=0.05)) as http:
        pieces(http, server.url)
        time.sleep(0.1)
        pieces(http, server.url)
    assert server.connections == 2


def test_few_connections_are_kept_and_none_after_the_end(server: Server) -> None:
    server.script = [ANSWER] * 5
    with client(transport(max_idle=2)) as http:
        responses = [http.send(http.build_request("POST", server.url), stream=True) for _ in range(5)]
        assert server.connections == 5
        for response in responses:
            assert response.read() == b"abc"
        assert server.wait(lambda: server.ended == 3)
    assert server.wait(lambda: server.ended == 5)


def test_a_response_that_ends_after_the_client_keeps_no_connection(server: Server) -> None:
    server.script = [ANSWER]
    http = client()
    response = http.send(http.build_request("POST", server.url), stream=True)
    http.close()
    assert b"".join(response.iter_bytes()) == b"abc"
    assert server.wait(lambda: server.ended == 1)


def broken_send(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes every kept connection fail as it is written to, as one does whose server left that very moment."""
    failed: list[int] = []
    used: set[int] = set()
    write = Connection.write

    def flaky(self: Connection, data: bytes, seconds: float) -> None:
        if id(self) in used:
            failed.append(id(self))
            self._sock.shutdown(socket.SHUT_RDWR)
            raise WriteError("broken pipe")
        used.add(id(self))
        write(self, data, seconds)

    monkeypatch.setattr(Connection, "write", flaky)
    return failed


def test_a_kept_connection_that_breaks_before_the_request_is_out_is_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = broken_send(monkeypatch)
    server.script = [ANSWER, ANSWER]
    with client() as http:
        assert pieces(http, server.url) == [b"abc"]
        assert pieces(http, server.url) == [b"abc"]
    assert (len(failed), server.connections, len(server.requests)) == (1, 2, 2)


def closes(sock: socket.socket) -> None:
    sock.close()


def test_a_request_that_went_out_whole_is_not_sent_again(server: Server) -> None:
    server.script = [ANSWER, closes, ANSWER]
    with client() as http:
        pieces(http, server.url)
        assert outcome(http, server.url)[0] in {"RemoteProtocolError", "ReadError"}  # type: ignore[index]
    assert len(server.requests) == 2


def test_a_request_that_only_reads_is_sent_again_once(server: Server) -> None:
    server.script = [ANSWER, closes, ANSWER, ANSWER, closes, closes]
    with client() as http:
        assert [outcome(http, server.url, "GET")[-1] for _ in range(3)] == [b"abc"] * 3  # type: ignore[index]
        assert outcome(http, server.url, "GET")[0] in {"RemoteProtocolError", "ReadError"}  # type: ignore[index]
    assert len(server.requests) == 6


def test_an_answer_counts_though_the_request_did_not_go_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[bytes] = []

    def refuse() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            left.append(sock.recv(1))

    def broken(*_: object) -> None:
        raise WriteError("broken pipe")

    monkeypatch.setattr(Connection, "write", broken)
    with socket.create_server(("127.0.0.1", 0)) as listener, client() as http:
        thread = threading.Thread(target=refuse)
        thread.start()
        seen = outcome(http, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join(10)  # it is through when the connection is closed, though the answer would have let it open
        assert seen[0] == 413  # type: ignore[index]
        assert left == [b""]


def test_a_connection_leads_to_one_server_only(server: Server) -> None:
    with Server(*[CHUNKED + chunks(b"def")] * 2) as other, client() as http:
        server.script = [ANSWER] * 2
        for _ in range(2):
            assert pieces(http, server.url) == [b"abc"]
            assert pieces(http, other.url) == [b"def"]
        assert (server.connections, other.connections) == (1, 1)


TIMEOUT = httpx2.Timeout(0.3, connect=0.3, pool=None)


SILENT = {
    "before the head": waits_for_leave(),
    "in the head": waits_for_leave(HEAD),
    "before the body": waits_for_leave(CHUNKED),
    "in a chunk": waits_for_leave(CHUNKED + b"5\r\nab"),
    "in a chunk's size": waits_for_leave(CHUNKED + chunk(b"ab") + b"5"),
    "in the trailers": waits_for_leave(CHUNKED + chunk(b"ab") + b"0\r\nX: y"),
    "in a length": waits_for_leave(LENGTH[:-1]),
    "a head that drips": drips(HEAD, b"X-A: b\r\n", 0.05),
    "a head that drips in a line": drips(HEAD, b"x", 0.05),
    "interim answers that drip": drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n", 0.05),
    "an extension that drips": drips(CHUNKED + chunk(b"ab") + b"5;", b"x", 0.05),
    "trailers that drip": drips(CHUNKED + chunk(b"ab") + b"0\r\n", b"X: y\r\n", 0.05),
}


@pytest.mark.parametrize("step", SILENT.values(), ids=SILENT.keys())
def test_silence_is_a_timeout_however_it_is_filled(server: Server, step: Callable[[socket.socket], None]) -> None:
    server.script = [step]
    with client(timeout=TIMEOUT) as http:
        seen = outcome(http, server.url)
        assert server.wait(lambda: server.ended == 1)
    assert seen[0] == "ReadTimeout"  # type: ignore[index]


FLOODS = {
    "headers": floods(HEAD, b"X-A: bbbbbbbbbbbbbbbbbb\r\n" * 500),
    "one header": floods(HEAD, b"x" * 9000),
    "a line that is none": floods(b"", b"x" * 9000),
    "interim answers": floods(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 300),
    "an extension": floods(CHUNKED + chunk(b"ab") + b"5;", b"x" * 9000),
    "trailers": floods(CHUNKED + chunk(b"ab") + b"0\r\n", b"X-A: bbbbbbbbbbbbbbbbbb\r\n" * 500),
    "zeros before a size": floods(CHUNKED + chunk(b"ab"), b"0" * 9000),
}


@pytest.mark.parametrize("step", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_that_says_nothing_is_ended_by_its_size(server: Server, step: Callable[[socket.socket], None]) -> None:
    server.script = [step]
    with client(timeout=20) as http:
        seen = outcome(http, server.url)
        assert server.wait(lambda: server.ended == 1)
    assert seen[0] == "RemoteProtocolError"  # type: ignore[index]


def test_bytes_that_drip_one_by_one_are_read(server: Server) -> None:
    server.script = [sends(*[each for at in range(len(ANSWER)) for each in (ANSWER[at : at + 1], 0.001)])]
    with client(timeout=5) as http:
        assert b"".join(pieces(http, server.url)) == b"abc"


def test_a_server_that_does_not_read_is_a_write_timeout(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, client(timeout=TIMEOUT) as http:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(httpx2.WriteTimeout):
            pieces(http, url, content=b"x" * 50_000_000)


def test_a_server_that_does_not_accept_is_a_connect_timeout() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill the queue, so that the next one gets no answer
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        with client(timeout=TIMEOUT) as http, pytest.raises(httpx2.ConnectTimeout):
            pieces(http, f"http://127.0.0.1:{listener.getsockname()[1]}/")


@pytest.mark.parametrize("url", ["http://models.invalid/", f"http://{'x' * 64}.example/", "http://127.0.0.1:1/"])
def test_a_server_that_cannot_be_reached_is_a_connect_error(url: str) -> None:
    with client() as http, pytest.raises(httpx2.ConnectError):
        pieces(http, url)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1/"])
def test_another_protocol_is_refused_by_the_ordinary_transport(url: str) -> None:
    with client() as http, pytest.raises(httpx2.UnsupportedProtocol):
        pieces(http, url)


CANCELLED = Path(__file__).parents[1] / "support" / "transport_cancelled.py"
PHASES = {
    "nothing came": waits_for_leave(),
    "half a head came": waits_for_leave(HEAD),
    "the head came": waits_for_leave(CHUNKED),
    "half a chunk came": waits_for_leave(CHUNKED + b"5\r\nab"),
    "the body streams": drips(CHUNKED, chunk(b"data: x\n\n"), 0.02),
}


@contextlib.contextmanager
def forty_asking(url: str, size: int) -> Iterator[Callable[[], None]]:
    """Starts a process in which forty ask; gives what cancels them and looks at what it says then."""
    with subprocess.Popen(
        [sys.executable, str(CANCELLED), url, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(CANCELLED.parents[2])},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def cancel() -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("now\n")
            process.stdin.flush()
            cancelled, left, turns = process.stdout.readline().split()
            assert (cancelled, left) == ("40", "0")
            assert int(turns) <= 2  # of the event loop, 0 or 1: nothing is waited for

        yield cancel
        process.stdin.write("bye\n")


@pytest.mark.parametrize("step", PHASES.values(), ids=PHASES.keys())
def test_forty_are_cancelled_while_they_read_and_closed_at_once(
    server: Server, step: Callable[[socket.socket], None]
) -> None:
    server.script = [step] * 40
    with forty_asking(server.url, 2) as cancel:
        assert server.wait(lambda: len(server.requests) == 40)
        time.sleep(0.2)
        cancel()
        assert server.wait(lambda: server.ended == 40)


@pytest.mark.parametrize(
    ("scheme", "backlog", "size"), [("http", 0, 2), ("https", 64, 2), ("http", 64, 10_000_000)], ids=str
)
def test_forty_are_cancelled_before_the_request_is_out_and_closed_at_once(scheme: str, backlog: int, size: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=backlog) as nobody,
        forty_asking(f"{scheme}://127.0.0.1:{nobody.getsockname()[1]}/", size) as cancel,
    ):
        cancel()
