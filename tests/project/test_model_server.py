"""The fake model server says what it was told, breaks as it was told, and notices who leaves."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import zlib
from collections.abc import Iterator

import pytest
from model_server import (
    Answer,
    ModelServer,
    cut,
    drop,
    free_port,
    nap,
    reasoning,
    reply,
    status,
    stream,
    text,
    tool_calls,
)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def ask(server: ModelServer, body: object = None) -> tuple[int, bytes, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body or {"model": "m"}))
        response = connection.getresponse()
        return response.status, response.read(), response
    finally:
        connection.close()


def open_raw(server: ModelServer, body: bytes = b"{}") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)
    return sock


def read_all(sock: socket.socket) -> bytes:
    got = b""
    while data := sock.recv(65536):
        got += data
    return got


def chunks_of(body: bytes) -> list[dict]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def test_a_text_comes_as_chunks_a_finish_reason_the_tokens_and_done(server):
    server.script(reply(text("Hello", size=2), tokens=(7, 3)))
    code, body, response = ask(server)
    chunks = chunks_of(body)
    assert code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [c["choices"][0]["delta"]["content"] for c in chunks[:3]] == ["He", "ll", "o"]
    assert chunks[3]["choices"][0]["finish_reason"] == "stop"
    assert chunks[4]["usage"]["total_tokens"] == 10
    assert chunks[4]["choices"] == []


def test_calls_come_by_index_and_finish_as_tool_calls(server):
    server.script(reply(reasoning("hm"), tool_calls(("clock", {"zone": "UTC"}), ("sum", "{}"), size=4)))
    chunks = chunks_of(ask(server)[1])
    pieces = [c["choices"][0]["delta"].get("tool_calls", [{}])[0] for c in chunks]
    assert chunks[0]["choices"][0]["delta"] == {"reasoning_content": "hm"}
    assert "".join(p["function"]["arguments"] for p in pieces if p.get("index") == 0) == '{"zone": "UTC"}'
    assert [p["id"] for p in pieces if "id" in p] == ["call_0", "call_1"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_script_is_followed_in_order_then_the_rule_answers_then_a_400(server):
    server.script("one", status(429, "slow down", retry_after="2"))
    assert b"one" in ask(server)[1]
    code, body, response = ask(server)
    assert (code, json.loads(body)["error"]["message"]) == (429, "slow down")
    assert response.headers["retry-after"] == "2"
    assert ask(server)[0] == 400
    server.answer = lambda question: f"rule for {question['model']}"
    assert b"rule for m" in ask(server)[1]


def test_requests_are_kept_with_path_headers_and_body(server):
    server.script("x")
    ask(server, {"model": "m", "n": [1]})
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", {"model": "m", "n": [1]})
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert server.asked == [{"model": "m", "n": [1]}]
    assert server.wait(lambda: request.finished)
    assert not server.closed


def test_models_are_listed_and_other_pages_are_not_found(server):
    server.models = ["a", "b"]
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/v1/models")
    assert [m["id"] for m in json.load(connection.getresponse())["data"]] == ["a", "b"]
    connection.request("GET", "/v1/else")  # the connection is kept
    assert connection.getresponse().status == 404
    connection.close()
    assert server.connections == 1


def test_a_gate_is_silent_until_it_is_released(server):
    gate = server.gate()
    server.script(reply("be", gate, "fore"))
    sock = open_raw(server)
    gate.wait_reached()
    seen = sock.recv(65536)
    while b'"be"' not in seen:
        seen += sock.recv(65536)
    sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    gate.release()
    sock.settimeout(10)
    assert b'"fore"' in sock.recv(65536)
    sock.close()


@pytest.mark.parametrize("rate", [None, 50])
def test_a_client_that_leaves_is_noticed_in_silence_and_while_streaming(server, rate):
    gate = server.gate()
    server.script(reply(text("x" * 1000, size=1), rate=rate) if rate else reply("x", gate))
    sock = open_raw(server)
    sock.recv(10)
    sock.close()
    assert server.wait_closed()


def test_a_client_that_leaves_before_the_first_byte_is_noticed(server):
    gate = server.gate()
    server.script(Answer([gate], framing="raw"))
    sock = open_raw(server)
    gate.wait_reached()
    sock.close()
    assert server.wait_closed()


def test_cut_resets_and_drop_ends_without_the_framing(server):
    server.script(reply("x", cut()), reply("x", drop()), Answer([drop()], framing="raw"))
    sock = open_raw(server)
    with pytest.raises(ConnectionResetError):
        read_all(sock)
    sock.close()
    with pytest.raises(http.client.IncompleteRead):
        ask(server)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server)
    assert not server.closed


def test_a_content_length_may_lie_and_http_1_0_ends_by_closing(server):
    server.script(
        stream(b"ab", framing="close", headers={"content-length": "5"}),
        stream(b"ab", framing="close", version="1.0"),
    )
    with pytest.raises(http.client.IncompleteRead):
        ask(server)
    _, body, response = ask(server)
    assert (body, response.version) == (b"ab", 10)


def test_pieces_are_chunks_as_they_were_given(server):
    server.script(stream(b"da", b"ta: \xff\n", b"\n", drop()))
    with open_raw(server) as sock:
        assert read_all(sock).endswith(b"\r\n\r\n2\r\nda\r\n6\r\nta: \xff\n\r\n1\r\n\n\r\n")


def test_compressed_answers_can_be_read_piece_by_piece(server):
    gate = server.gate()
    answer = reply("abc", gate, "def", encoding="gzip", framing="close")
    server.script(answer)
    sock = open_raw(server)
    gate.wait_reached()
    unpack = zlib.decompressobj(wbits=31)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(65536)
    packed = head.partition(b"\r\n\r\n")[2]
    seen = unpack.decompress(packed)
    while b"abc" not in seen:
        seen += unpack.decompress(sock.recv(65536))
    gate.release()
    assert seen + unpack.decompress(read_all(sock)) == answer.whole()
    sock.close()


def test_it_refuses_and_listens_again_on_the_same_port(server):
    server.refuse()
    with pytest.raises(ConnectionRefusedError):
        ask(server)
    server.listen()
    server.script("back")
    assert b"back" in ask(server)[1]


def test_a_free_port_refuses():
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port()), timeout=10)


def test_many_ask_at_the_same_time(server):
    server.answer = lambda question: reply(question["n"], nap(0.2))
    got: dict[str, bytes] = {}
    threads = [threading.Thread(target=lambda n=str(n): got.update({n: ask(server, {"n": n})[1]})) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all(f'"content": "{n}"'.encode() in body for n, body in got.items())
    assert len(got) == 40


def test_something_that_is_no_http_does_not_break_it(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(b"\x16\x03\x01\r\n\r\n")
        assert read_all(sock) == b""
    server.script("fine")
    assert b"fine" in ask(server)[1]
