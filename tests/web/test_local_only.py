"""What they are told who are outside while there is no password: a page, JSON, and a line in the log now and then."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from server import GUNICORN, Server, spawn
from test_gate import POLICY

from deechat.locale import LANGUAGES, words
from deechat.web import local_only

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Host": "chat.example.org"}


def ask(server: Server, method: str = "GET", path: str = "/", **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, server.url + path, headers={**BROWSER, **given}, timeout=20)


@pytest.mark.parametrize(
    ("wanted", "language", "title"),
    [
        ("en-GB,en;q=0.9", "en", "DeeChat serves only its own machine"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN", "DeeChat 只为本机服务"),
        ("fr, *;q=0.1", "en", "DeeChat serves only its own machine"),
    ],
)
def test_a_browser_that_opens_the_page_is_shown_one(wanted: str, language: str, title: str, server: Server) -> None:
    page = ask(server, Accept_Language=wanted)
    assert (page.status_code, page.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"] == POLICY
    assert page.headers["Cache-Control"] == "no-store"
    assert f'<html lang="{language}">' in page.text
    assert f"<h1>{title}</h1>" in page.text
    assert "DEECHAT_PASSWORD=" in page.text
    assert "chat.example.org" not in page.text


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/", "*/*"),
        ("GET", "/api/workspaces", "text/html"),
        ("POST", "/", "text/html"),
        ("GET", "/static/js/page/app.js", "*/*"),
    ],
)
def test_all_else_is_told_in_json(method: str, path: str, accept: str, server: Server) -> None:
    answer = ask(server, method, path, Accept=accept)
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/json")
    error = answer.json()["error"]
    assert error["code"] == "password_required"
    assert "asked for another name than localhost" in error["message"]
    assert "Set DEECHAT_PASSWORD" in error["message"]


def test_the_reason_is_said_in_every_language() -> None:
    reasons = {"elsewhere", "spoken_for", "name", "proxy", "hidden"}
    for language in LANGUAGES:
        assert set(words("refused", language)) == reasons | {"title", "rule", "do", "yours"}


def told(server: Server) -> list[str]:
    return [str(line["message"]) for line in server.log_lines if line["logger"] == "deechat.web.local_only"]


def test_the_log_says_it_once_for_each_peer_and_quotes_nothing_at_length(server: Server) -> None:
    before = len(told(server))
    for _ in range(5):
        for peer in ("203.0.113.7", "203.0.113.8"):
            assert ask(server, X_Forwarded_For=f"192.0.2.1, {peer}", Host="x" * 3000).status_code == 403
    lines = told(server)[before:]
    assert [line.split()[1] for line in lines] == ["203.0.113.7:", "203.0.113.8:"]
    assert all("DEECHAT_PASSWORD" in line and len(line) < 200 for line in lines)


def test_it_is_said_again_later_and_few_peers_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(local_only.log, "warning", lambda *words: said.append(words[1]))
    from flask import Flask

    gate, app, refusal = (
        local_only.Outside(),
        Flask("deechat"),
        local_only._Refusal("elsewhere", "it is another machine"),
    )

    def tell(peer: str) -> None:
        with app.test_request_context("/", environ_overrides={"REMOTE_ADDR": peer}):
            gate._tell(refusal)

    for _ in range(3):
        tell("203.0.113.7")
    assert said == ["203.0.113.7"]
    now[0] += local_only.TOLD_AGAIN
    tell("203.0.113.7")
    assert len(said) == 2
    for number in range(local_only.PEERS_KEPT + 50):
        tell(f"2001:db8::{number:x}")
    assert len(gate._told) == local_only.PEERS_KEPT


@pytest.fixture
def behind_a_socket(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Server, Path]]:
    """A server that listens on a Unix socket alone."""
    server, place = Server(tmp_path), tmp_path / "socket"
    process = spawn(server, [GUNICORN, "app:app", "--bind", f"unix:{place}"], **getattr(request, "param", {}))
    try:
        deadline = time.monotonic() + 30
        while b'"online":true' not in over(place, b"GET /api/ping HTTP/1.0"):
            assert process.poll() is None, server.log
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)
        yield server, place
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def over(place: Path, *lines: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        try:
            connection.connect(str(place))
        except OSError:
            return b""
        connection.sendall(b"\r\n".join([*lines, b"", b""]))
        return b"".join(iter(lambda: connection.recv(65_536), b""))


WORKSPACES = b"GET /api/workspaces HTTP/1.0"


def test_over_a_unix_socket_nobody_is_taken_for_a_person_at_this_machine(behind_a_socket: tuple[Server, Path]) -> None:
    server, place = behind_a_socket
    answer = over(place, WORKSPACES, b"Host: localhost", b"X-Forwarded-For: 127.0.0.1")
    assert answer.startswith(b"HTTP/1.0 403 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "password_required"
    assert "Unix socket" in told(server)[0]


@pytest.mark.parametrize("behind_a_socket", [{"DEECHAT_PASSWORD": "open sesame"}], indirect=True)
def test_over_a_unix_socket_the_password_counts(behind_a_socket: tuple[Server, Path]) -> None:
    _, place = behind_a_socket
    assert over(place, WORKSPACES, b"Host: chat.example.org").startswith(b"HTTP/1.0 401 ")
    answer = over(place, WORKSPACES, b"Host: chat.example.org", b"Authorization: Bearer open sesame")
    assert answer.startswith(b"HTTP/1.0 200 ")


# Asks the server at argv[1], then again over the same connection, after a while and listening for other machines.
LATER = """
import http.client, socket, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
def ask():
    connection.request("GET", "/api/workspaces", headers={"Host": "localhost"})
    answer = connection.getresponse()
    answer.read()
    return answer.status, connection.sock.getsockname()[1]
before = ask()
time.sleep(float(sys.argv[2]))
listener = socket.create_server(("0.0.0.0", 0))
after = ask()
assert before[1] == after[1], "another connection"
print(before[0], after[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a connection")
def test_a_program_that_begins_to_serve_others_is_refused_over_its_old_connection_too(server: Server) -> None:
    command = [sys.executable, "-c", LATER, str(server.port), str(local_only.JUDGED_FOR + 0.2)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert said == "200 403\n"


def test_a_foreign_name_before_a_proxy_is_refused_and_named_in_the_log(server: Server) -> None:
    answer = ask(server, Host="localhost", X_Forwarded_Host="chat.example.org")
    assert answer.status_code == 403
    assert "asked for another name than localhost" in answer.text
    assert ask(server, Host="localhost", X_Forwarded_Host="localhost:8000").status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("Forwarded", "for = 8.8.8.8, for=127.0.0.1"), ("CF-Connecting-IPv6", "2001:db8::1")],
)
def test_a_header_that_names_another_machine_is_refused(name: str, value: str, server: Server) -> None:
    refused = requests.get(f"{server.url}/api/workspaces", headers={name: value}, timeout=20)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "password_required")
