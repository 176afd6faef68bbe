"""WebSockets against clients that others wrote, and against bytes that no client sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import websocket
from raw_socket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawSocket,
    closing,
    frame,
    header,
)
from server import Server, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from deechat.web import websocket as ours

LARGEST = ours.LARGEST_MESSAGE


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("echo"), "echo_sockets:app", DEECHAT_HEARTBEAT="0.2")
    try:
        yield server.start()
        assert "Traceback" not in server.log
    finally:
        server.kill()


def address(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/api/echo"


def close_of(server: Server, name: str) -> Any:
    """Waits until the socket /api/echo?NAME was closed, and gives how: its code, words, and whether by the server."""
    closes: dict[str, Any] = {}

    def is_closed() -> bool:
        closes.update(requests.get(f"{server.url}/api/closes", timeout=10).json())
        return name in closes

    wait_until(is_closed)
    return closes[name]


def check_all_is_well(server: Server) -> None:
    """Checks that a new socket and a plain request are served."""
    with RawSocket(server.port) as raw:
        raw.send(frame(TEXT, b"still there?"))
        assert raw.read() == (TEXT, b"still there?")
        raw.send(closing(1000))
        assert raw.read_close() == 1000
    assert requests.get(f"{server.url}/api/ping", timeout=10).json() == {"online": True}


# -- other people's clients --------------------------------------------------------------------------------------------


def test_the_client_of_websockets_speaks_and_compresses_nothing(echo: Server) -> None:
    with connect(address(echo), max_size=None) as client:  # it offers permessage-deflate
        assert client.protocol.extensions == []
        for said in ("Hello", "", "日本 🎉", "x" * 70_000):
            client.send(said)
            assert client.recv() == said
        client.send(iter(["in ", "", "pieces"]))
        assert client.recv() == "in pieces"
        assert client.ping().wait(10)
        client.send("close 4001 so be it")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "so be it")


def test_the_client_of_websocket_client_speaks(echo: Server) -> None:
    client = websocket.create_connection(f"{address(echo)}?of-client", timeout=30, enable_multithread=False)
    client.send("日本 🎉")
    assert client.recv() == "日本 🎉"
    client.ping("are you there?")
    client.send("after the ping")
    assert client.recv() == "after the ping"
    client.close(status=1000)
    assert close_of(echo, "of-client") == [1000, "", False]


@pytest.mark.parametrize("kind", ["websockets", "websocket-client"])
def test_a_message_of_the_largest_size_comes_back_whole(kind: str, echo: Server) -> None:
    said = "x" * LARGEST
    if kind == "websockets":
        with connect(address(echo), max_size=None) as client:
            client.send(said)
            assert client.recv() == said
        return
    other = websocket.create_connection(address(echo), timeout=30)
    other.send(said)
    assert other.recv() == said
    other.close()


def test_eight_megabytes_come_whole_to_a_slow_reader(echo: Server) -> None:
    with RawSocket(echo.port) as raw:
        raw._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
        raw.send(frame(TEXT, b"give 8000000") + frame(TEXT, b"and after it"))
        time.sleep(1.5)  # several heartbeats in which it reads nothing
        said = b"" + raw._take(10)
        assert said == b"\x81\x7f" + (8_000_000).to_bytes(8, "big")
        body = bytearray()
        for piece in range(800):
            body += raw._take(10_000)
            if piece % 200 == 0:
                time.sleep(0.1)
        assert body.decode() == "é" * 4_000_000
        assert raw.read() == (TEXT, b"and after it")


# -- the handshake -----------------------------------------------------------------------------------------------------


def test_a_handshake_is_answered_as_the_standard_shows(echo: Server) -> None:
    with RawSocket(echo.port, "/api/echo", "Sec-WebSocket-Extensions: permessage-deflate") as raw:
        assert raw.status == 101
        assert f"Sec-WebSocket-Accept: {ACCEPT}" in raw.head
        assert "extensions" not in raw.head.lower()


@pytest.mark.parametrize(
    ("header_lines", "status", "code"),
    [
        (["Origin: http://evil.example"], 403, "foreign_origin"),
        (["Origin: null"], 403, "foreign_origin"),
        (["Sec-Fetch-Site: cross-site"], 403, "foreign_origin"),
        (["Host: evil.example"], 403, "password_required"),
        (["Sec-WebSocket-Version: 8"], 426, "upgrade_required"),
        (["Sec-WebSocket-Key: short"], 400, "bad_request"),
        (["Sec-WebSocket-Key:"], 400, "bad_request"),
        (["Upgrade:"], 426, "upgrade_required"),
    ],
)
def test_a_handshake_that_is_not_right_is_refused_in_words(
    header_lines: list[str], status: int, code: str, echo: Server
) -> None:
    with RawSocket(echo.port, "/api/echo", *header_lines) as raw:
        assert raw.status == status
        assert code in raw._until(b"}}").decode()
        if status == 426:
            assert "Sec-WebSocket-Version: 13" in raw.head


def test_a_page_of_the_server_itself_comes_in_and_one_of_another_port_does_not(echo: Server) -> None:
    for origin in (f"http://localhost:{echo.port}", f"http://LOCALHOST:{echo.port}"):
        with RawSocket(echo.port, "/api/echo", f"Origin: {origin}") as raw:
            assert raw.status == 101
    with RawSocket(echo.port, "/api/echo", "Origin: http://localhost:1") as raw:
        assert raw.status == 403


def test_a_plain_address_takes_no_handshake(echo: Server) -> None:
    with RawSocket(echo.port, "/api/ping") as raw:
        assert raw.status == 400


def test_a_password_is_asked_for_in_the_handshake_and_a_cookie_will_do(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Server(tmp_path_factory.mktemp("guarded"), "echo_sockets:app", DEECHAT_PASSWORD="open sesame").start()
    try:
        with pytest.raises(InvalidStatus) as refused:
            connect(address(server))
        assert refused.value.response.status_code == 401
        cookie = requests.post(f"{server.url}/api/login", json={"password": "open sesame"}, timeout=10).cookies
        credentials = [
            {"Authorization": "Bearer open sesame"},
            {"Cookie": f"deechat_login={cookie['deechat_login']}"},
        ]
        for headers in credentials:
            with connect(address(server), additional_headers=headers) as client:
                client.send("Hello")
                assert client.recv() == "Hello"
    finally:
        server.kill()


# -- how it was closed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "answered", "noted"),
    [
        (closing(1000, b"done"), 1000, [1000, "done", False]),
        (closing(1001), 1001, [1001, "", False]),
        (closing(), None, [1005, "", False]),
        (closing(4321, "日本".encode()), 4321, [4321, "日本", False]),
    ],
    ids=["1000", "1001", "no code", "4321"],
)
def test_a_close_is_answered_with_its_code_and_told_from_the_others(
    sent: bytes, answered: int | None, noted: list[Any], echo: Server
) -> None:
    with RawSocket(echo.port, f"/api/echo?said-{noted[0]}") as raw:
        raw.send(sent)
        assert raw.read_close() == answered
        assert raw.at_end()
    assert close_of(echo, f"said-{noted[0]}") == noted


@pytest.mark.parametrize("way", ["reset", "half_close", "close"])
def test_a_connection_that_is_lost_is_no_close(way: str, echo: Server) -> None:
    raw = RawSocket(echo.port, f"/api/echo?{way}")
    getattr(raw, way)()
    assert close_of(echo, way) == [1006, "", False]
    raw.close()


def test_a_peer_that_answers_no_pings_is_given_up_and_one_that_does_stays(echo: Server) -> None:
    with RawSocket(echo.port, "/api/echo?silent") as silent, RawSocket(echo.port, "/api/echo?lively") as lively:
        pings = 0
        while pings < 6:
            opcode, payload = lively.read()
            assert opcode == PING
            lively.send(frame(PONG, payload))
            pings += 1
        assert [silent.read()[0] for _ in range(ours.MOST_UNANSWERED)] == [PING] * ours.MOST_UNANSWERED
        assert silent.at_end()
        lively.send(closing(1000))
        assert lively.read_close() == 1000
    assert close_of(echo, "silent") == [1006, "", False]
    assert close_of(echo, "lively") == [1000, "", False]


def test_an_error_of_the_program_is_1011_and_stands_in_the_log(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("failing"), "echo_sockets:app").start()
    try:
        with RawSocket(server.port) as raw:
            raw.send(frame(TEXT, b"fail"))
            assert raw.read_close() == 1011
        check_all_is_well(server)
        wait_until(lambda: "met a mistake in the program" in server.log)
    finally:
        server.kill()


# -- bytes that no client sends ----------------------------------------------------------------------------------------

WRONG = {
    "a frame without a mask": (frame(TEXT, b"hello", masked=False), 1002),
    "a reserved bit, as of deflate": (frame(TEXT, b"hello", rsv=4), 1002),
    "an opcode that is none": (frame(3, b"hello"), 1002),
    "a control frame in fragments": (frame(PING, b"a", fin=False), 1002),
    "a control frame that is too long": (header(PING, 126) + bytes(130), 1002),
    "a continuation of nothing": (frame(CONTINUATION, b"hello"), 1002),
    "a message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "a length in too many bytes": (b"\x81\xfe\x00\x05" + bytes(9), 1002),
    "a length with its first bit set": (b"\x81\xff" + b"\xff" * 8 + bytes(4), 1002),
    "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "a close with 1005": (closing(1005), 1002),
    "a close with 1006": (closing(1006), 1002),
    "a close with 999": (closing(999), 1002),
    "a close whose words are not UTF-8": (closing(1000, b"\xff"), 1007),
    "text that is not UTF-8": (frame(TEXT, b"hell\xff"), 1007),
    "text that ends within a character": (frame(TEXT, "é".encode()[:1]), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "bytes": (frame(BINARY, b"hello"), 1003),
    "100 MB announced": (header(TEXT, 100_000_000) + bytes(4), 1009),
    "one byte too many": (header(TEXT, LARGEST + 1) + bytes(4), 1009),
    "one byte too many in fragments": (frame(TEXT, bytes(LARGEST), fin=False) + frame(CONTINUATION, b"x"), 1009),
    "a flood of pings": (frame(PING, b"x") * 1000, 1008),
    "a flood of pongs": (frame(PONG) * 1000, 1008),
    "a flood of empty fragments": (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 1000, 1008),
}


@pytest.mark.parametrize("kind", WRONG)
def test_bytes_that_are_wrong_are_closed_with_the_right_code_and_harm_nobody(kind: str, echo: Server) -> None:
    sent, code = WRONG[kind]
    name = kind.replace(" ", "-")
    with RawSocket(echo.port) as other, RawSocket(echo.port, f"/api/echo?{name}") as raw:
        raw.send(sent)
        assert raw.read_close() == code
        raw.send(closing(code))
        assert raw.at_end()
        other.send(frame(TEXT, b"unharmed"))
        while (read := other.read())[0] == PING:
            other.send(frame(PONG))
        assert read == (TEXT, b"unharmed")
    noted, words, by_server = close_of(echo, name)
    assert (noted, by_server) == (code, True)
    assert words


def test_bytes_come_one_by_one_and_between_fragments_a_ping(echo: Server) -> None:
    sent = frame(TEXT, "日".encode()[:1], fin=False) + frame(PING, b"now") + frame(CONTINUATION, "日本".encode()[1:])
    with RawSocket(echo.port) as raw:
        for byte in sent:
            raw.send(bytes([byte]))
        read = [each for each in (raw.read(), raw.read(), raw.read()) if each != (PING, b"")]
        assert read[:2] == [(PONG, b"now"), (TEXT, "日本".encode())]


def _pour(raw: RawSocket, data: bytes, most: int = 100_000) -> None:
    for _ in range(most):
        raw.send(data)


def test_one_who_sends_100_mb_is_closed_while_they_are_on_their_way(echo: Server) -> None:
    with RawSocket(echo.port) as raw:
        raw.send(header(TEXT, 100_000_000) + bytes(4))
        assert raw.read_close() == 1009
        with pytest.raises(ConnectionError):
            _pour(raw, bytes(50_000))
    check_all_is_well(echo)


def test_messages_that_a_busy_session_does_not_take_wait_and_are_not_read_on(echo: Server) -> None:
    message = frame(TEXT, b"x" * 1_000_000)
    with RawSocket(echo.port, patience=1) as raw:
        raw.send(frame(TEXT, b"nap"))
        with pytest.raises(TimeoutError):  # the rest is in the buffers of both systems, and is no memory of the server
            _pour(raw, message, most=40)
    requests.post(f"{echo.url}/api/wake", timeout=10)
    check_all_is_well(echo)


# -- places, and the end -----------------------------------------------------------------------------------------------


def test_sockets_are_counted_among_the_streams(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(tmp_path_factory.mktemp("few"), "echo_sockets:app", DEECHAT_MAX_STREAMS="2").start()
    try:
        with RawSocket(server.port), RawSocket(server.port) as second:
            with RawSocket(server.port) as third:
                assert third.status == 503
                assert "Retry-After: 5" in third.head
            second.send(closing(1000))
            assert second.read_close() == 1000
            assert second.at_end()

            def is_free() -> bool:
                with RawSocket(server.port) as again:
                    return again.status == 101

            wait_until(is_free)
    finally:
        server.kill()


def test_two_hundred_sockets_are_closed_in_words_when_the_server_leaves(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Server(tmp_path_factory.mktemp("leaving"), "echo_sockets:app").start()
    sockets = [RawSocket(server.port) for _ in range(200)]
    assert {each.status for each in sockets} == {101}
    assert server._process is not None
    server._process.terminate()
    for each in sockets:
        assert each.read_close() == 1012
        each.send(closing(1012))
        assert each.at_end()
        each.close()
    assert server.terminate() == 0
    assert "Traceback" not in server.log


def test_two_hundred_sockets_are_lost_when_the_server_is_killed_and_come_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server = Server(tmp_path_factory.mktemp("killed"), "echo_sockets:app").start()
    for _ in range(2):
        sockets = [RawSocket(server.port) for _ in range(200)]
        assert {each.status for each in sockets} == {101}
        server.kill()
        for each in sockets:
            with pytest.raises((EOFError, ConnectionError)):
                each.read()
            each.close()
        server.start()
    check_all_is_well(server)
    server.kill()
