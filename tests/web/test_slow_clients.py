"""Slow, greedy and silent clients: nobody else notices them."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gevent.socket
import pytest
import requests
from client import Client
from gevent.server import StreamServer
from model_server import ModelServer, reply, text
from server import Server, wait_until
from slow_clients import DRIP, Dripping, read_all

from deechat.server.admission import BODY_SECONDS, INSIDE, OUTSIDE
from deechat.server.worker import Worker, _lost

PASSWORD = "open sesame"
BEARER = {"Authorization": f"Bearer {PASSWORD}"}
STREAMS = 5
PLACES = STREAMS + INSIDE + OUTSIDE
MANY = PLACES + 50
KINDS = {
    "a body of a log-in": (DRIP, b" "),
    "chunks of a log-in": (DRIP.replace(b"Content-Length: 60000", b"Transfer-Encoding: chunked"), b"1\r\n \r\n"),
    "a head": (b"GET /api/ping HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"a"),
    "a body that is not wanted": (DRIP.replace(b"/api/login", b"/api/workspace/new"), b" "),
    "bytes that are no HTTP": (b"\x16", b"\x03"),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("guarded"), DEECHAT_PASSWORD=PASSWORD, DEECHAT_MAX_STREAMS=str(STREAMS))
    try:
        yield server.start()
    finally:
        server.kill()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def head_of(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def peak_of(server: Server) -> int:
    """Gives the most memory that the worker had, in kB."""
    status = Path(f"/proc/{server.workers[0]}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def check_all_is_well(server: Server) -> None:
    """Checks that the sign of life, a log-in and somebody who is logged in are served."""
    assert requests.get(f"{server.url}/api/ping", timeout=30).json() == {"online": True}
    cookies = requests.post(f"{server.url}/api/login", json={"password": PASSWORD}, timeout=30).cookies
    assert requests.get(f"{server.url}/api/workspaces", cookies=cookies, timeout=30).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_slow_connections_wait_for_each_other_alone(kind: str, guarded: Server) -> None:
    head, drop = KINDS[kind]
    with Dripping(guarded.port, MANY, head, drop) as dripping:
        for _ in range(3):
            check_all_is_well(guarded)
        wait_until(lambda: dripping.open <= PLACES)
        check_all_is_well(guarded)
    assert "Traceback" not in guarded.log


def test_hundreds_of_idle_connections_shut_nobody_out(guarded: Server) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(MANY):
            sock = stack.enter_context(connect(guarded))
            if number % 2:
                sock.sendall(head_of("GET", "/api/ping"))
        check_all_is_well(guarded)


def test_who_is_logged_in_goes_on_beside_them(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model, DEECHAT_PASSWORD=PASSWORD, DEECHAT_MAX_STREAMS=str(STREAMS))
    client = Client(server, headers=BEARER)
    gate = model.gate()
    model.script(reply(text("Half "), gate, text("and whole.")), "Another.")
    stream = client.send("Go")
    stream.read_until("Half ")
    with Dripping(server.port, MANY):
        check_all_is_well(server)
        assert client.new_thread().ask("And?").text == "Another."
        gate.release()
        assert stream.read().text == "Half and whole."
    client.check_all()


def test_slow_bodies_of_those_who_are_logged_in_make_room_too(guarded: Server) -> None:
    head = DRIP.replace(b"/api/login", b"/api/workspace/new").replace(
        b"Host: localhost", f"Host: localhost\r\nAuthorization: Bearer {PASSWORD}".encode()
    )
    with Dripping(guarded.port, MANY, head):
        check_all_is_well(guarded)


def test_everything_before_the_gate_ends_in_time_however_often_a_byte_comes(guarded: Server) -> None:
    with contextlib.ExitStack() as stack:
        slow = {name: stack.enter_context(Dripping(guarded.port, 2, *KINDS[name])) for name in KINDS}
        silent = [stack.enter_context(connect(guarded)) for _ in range(2)]
        silent[1].sendall(head_of("GET", "/api/ping"))
        wait_until(lambda: not any(each.open for each in slow.values()), timeout=4 * BODY_SECONDS)
        assert read_all(silent[0]) == b""
        assert read_all(silent[1]).count(b"HTTP/1.1 200") == 1
    for name in ("a body of a log-in", "chunks of a log-in", "a head"):
        assert slow[name].answers == {408: 2}, name
    assert slow["a body that is not wanted"].answers == {401: 2}


def test_large_log_ins_are_refused_and_cost_no_memory(guarded: Server) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system has no /proc, which says how much memory a process takes")
    body = json.dumps({"password": "x" * 7_900_000}).encode()

    def send(length: str, piece: bytes) -> int:
        with connect(guarded) as sock:
            answer = read_all(sock, [head_of("POST", "/api/login", "Content-Type: application/json", length), piece])
            return int(answer.split()[1]) if answer else 413  # it may have been closed under what was being sent

    before = peak_of(guarded)
    with ThreadPoolExecutor(20) as pool:
        sized = list(pool.map(lambda _: send(f"Content-Length: {len(body)}", body[:-1]), range(40)))
        chunk = b"%x\r\n" % len(body) + body[:-1]
        chunked = list(pool.map(lambda _: send("Transfer-Encoding: chunked", chunk), range(20)))
    assert set(sized + chunked) == {413}
    assert peak_of(guarded) - before < 60_000, "kilobytes, of the 474,000 that were sent"


def test_log_ins_that_never_end_hold_so_much_memory_together(guarded: Server) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system has no /proc, which says how much memory a process takes")
    head = DRIP.replace(b"60000", b"1000000")
    before = peak_of(guarded)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            sock = stack.enter_context(connect(guarded))
            with contextlib.suppress(ConnectionError):
                sock.sendall(head + b" " * 900_000)
        check_all_is_well(guarded)
    assert peak_of(guarded) - before < 130_000, "kilobytes, of the 270,000 that were sent"


@pytest.mark.parametrize("large", ["Content-Length: 20000", "Transfer-Encoding: chunked", "Expect: 100-continue"])
def test_a_refusal_comes_before_the_body_and_ends_the_connection(large: str, guarded: Server) -> None:
    length = [] if large.startswith(("Content", "Transfer")) else ["Content-Length: 10"]
    with connect(guarded) as sock:
        answer = read_all(
            sock, [head_of("POST", "/api/workspace/new", "Content-Type: application/json", large, *length)]
        )
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1, "nobody was told to go on"


def test_behind_a_small_body_that_was_refused_the_connection_goes_on(guarded: Server) -> None:
    body = b'{"name": "x"}'
    post = head_of("POST", "/api/workspace/new", "Content-Type: application/json", f"Content-Length: {len(body)}")
    with connect(guarded) as sock:
        answer = read_all(sock, [post + body + head_of("GET", "/api/ping", "Connection: close")])
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"401", b"200"]


def test_who_waits_for_a_word_to_go_on_gets_it_once_inside(guarded: Server) -> None:
    body = b'{"name": "Waited"}'
    head = head_of(
        "POST",
        "/api/workspace/new",
        f"Authorization: Bearer {PASSWORD}",
        "Content-Type: application/json",
        "Expect: 100-continue",
        f"Content-Length: {len(body)}",
    )
    with connect(guarded) as sock:
        sock.sendall(head)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        sock.sendall(head_of("GET", "/api/ping", "Connection: close"))
        assert b'{"online":true}' in read_all(sock)


def test_a_head_has_a_size_as_a_whole(guarded: Server) -> None:
    headers = [f"X-Large-{number}: {'a' * 8000}" for number in range(9)]
    with connect(guarded) as sock:
        answer = read_all(sock, [head_of("GET", "/api/ping", *headers)])
    assert answer.startswith(b"HTTP/1.1 431 ")
    with connect(guarded) as sock:
        answer = read_all(sock, [head_of("GET", "/api/ping", "Connection: close", *headers[:7])])
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_body_without_an_end_is_read_up_to_its_limit(guarded: Server) -> None:
    head = head_of(
        "POST",
        "/api/workspace/new",
        f"Authorization: Bearer {PASSWORD}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
    )
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    sent = 0
    with connect(guarded) as sock:
        sock.sendall(head)
        with contextlib.suppress(ConnectionError):
            while sent < 100_000_000:
                sock.sendall(piece)
                sent += len(piece)
    assert sent < 50_000_000


def test_a_client_that_the_network_lost_is_a_reset_to_gunicorn() -> None:
    for error in (TimeoutError(), OSError(errno.ETIMEDOUT, ""), OSError(errno.EHOSTUNREACH, "")):
        assert _lost(error).errno == errno.ECONNRESET
    for error in (OSError(errno.EIO, "a disk"), BrokenPipeError(errno.EPIPE, "")):
        assert _lost(error) is error


def test_what_is_refused_is_counted_in_few_lines(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    for _ in range(50):
        assert requests.get(f"{server.url}/api/workspaces", timeout=30).status_code == 401
        with connect(server) as sock:
            assert read_all(sock, [b"no HTTP\r\n\r\n"]).startswith(b"HTTP/1.1 400 ")
    server.terminate()
    lines = [str(line["message"]) for line in server.log_lines if "127.0.0.1 (" in str(line["message"])]
    assert len(lines) == 2, lines
    assert any("50 × refused with 401" in line for line in lines)
    assert any("50 × refused what was sent (InvalidRequest" in line for line in lines)


def test_a_connection_whose_listener_is_gone_is_closed_without_a_word() -> None:
    listener = gevent.socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = StreamServer(listener, handle=print)
    server.start()
    server.close()
    ours, theirs = socket.socketpair()
    with theirs:
        Worker.handle(Worker.__new__(Worker), listener, ours, None)
        assert theirs.recv(1) == b""


def test_viewers_that_come_back_while_it_leaves_are_no_fault_of_the_program(
    serve: Callable[..., Server], model: ModelServer
) -> None:
    server = serve(model=model)
    model.answer = lambda _question: reply(text("word " * 200, size=5), rate=50)
    client = Client(server)
    run = client.send("Go").run_id
    ask = head_of("GET", f"/api/runs/{run}/events?after=99999999")
    over = threading.Event()
    seen: set[int] = set()

    def view(number: int) -> None:
        while not over.is_set():
            try:
                with connect(server) as sock:
                    sock.sendall(ask)
                    while not over.is_set() and sock.recv(65_536):
                        seen.add(number)
            except OSError:
                time.sleep(0.01)

    threads = [threading.Thread(target=view, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(seen) == len(threads), timeout=60)
        assert server.terminate(timeout=30) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert "Traceback" not in server.log
    assert not [line for line in server.log_lines if line["level"] in ("error", "critical")]
    server.start()
    client.wait_ended(run)
    client.check_all()
