"""Who may come in: this machine alone without a password, whoever knows it with one, and no page of another site.

One file, since each way in is tried against the same few servers, with and without a password.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from client import Client
from itsdangerous import URLSafeTimedSerializer
from model_server import ModelServer, status
from server import ROOT, Server

from deechat.web.gate import COOKIE, COOKIE_SECONDS, Gate

PASSWORD = "correct horse/battery:staple"
KEY = "sk-a-secret-that-nobody-may-see"
POLICY = "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
SHELLS = ("/", "/static/css/base.css", "/api/ping")
CLOSED = (
    ("GET", "/api/models"),
    ("GET", "/api/workspaces"),
    ("GET", "/api/workspace/default"),
    ("GET", "/api/workspace/default/chats"),
    ("GET", "/api/runs/x/events"),
    ("POST", "/api/workspace/new"),
    ("POST", "/api/workspace/default/stream-chat"),
    ("POST", "/api/runs/x/stop"),
    ("DELETE", "/api/workspace/default"),
    ("OPTIONS", "/api/workspaces"),
    ("HEAD", "/api/workspaces"),
    ("GET", "/api/nothing"),
    ("PUT", "/api/workspaces"),
)


class Answer:
    """An answer as it came: headers may come several times."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])

    @property
    def said(self) -> tuple[int, str]:
        """The status and the error's code."""
        return self.status, self.code


def send(
    server: Server,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
) -> Answer:
    """Sends this and the header `Host: localhost`, or another that is given; a body goes as JSON."""
    headers = {"Host": f"localhost:{server.port}", **(headers or {})}
    raw = b"" if body is None else json.dumps(body).encode()
    if raw:
        headers = {"Content-Type": "application/json", **headers}
    connection = HTTPConnection(host, server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value.encode())
        if method in {"POST", "PUT", "PATCH", "DELETE"}:
            connection.putheader("Content-Length", str(len(raw)))
        connection.endheaders(raw)
        answer = Answer(connection.getresponse())
    finally:
        connection.close()
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")], "there is no CORS"
    return answer


def log_in(server: Server, password: str = PASSWORD, **headers: str) -> Answer:
    return send(server, "POST", "/api/login", {"password": password}, headers)


def cookie_of(answer: Answer) -> str:
    """Gives the log-in cookie that an answer sets, as a request sends it."""
    assert answer.status == 200, answer.body
    return answer.headers["Set-Cookie"].split(";")[0]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password, shared by the tests of this module."""
    server = Server(tmp_path_factory.mktemp("guarded"), DEECHAT_PASSWORD=PASSWORD, DEECHAT_LOG_LEVEL="debug")
    try:
        yield server.start()
    finally:
        server.kill()


# -- without a password ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "LocalHost:8000", "localhost:1", "127.0.0.1:65535", "[::1]:8000"],
)
def test_a_name_of_this_machine_is_served_with_any_port(host: str, server: Server) -> None:
    assert send(server, "GET", "/api/workspaces", headers={"Host": host}).status == 200
    assert send(server, "GET", "/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.localhost",
        "localhost.",
        "127.0.0.1.nip.io",
        "evil.example#localhost",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost, evil.example",
        "localhost:8000:8000",
        "localhost:x",
        "local host",
        "0.0.0.0",
        "127.0.0.2",
        "127.1",
        "0x7f000001",
        "2130706433",
        "[::]",
        "::1",
        "[::ffff:127.0.0.1]",
        "[::1].evil.example",
        "192.168.0.7:8000",
        "ⓛocalhost",
        "",
    ],
)
def test_every_other_name_is_refused_but_for_the_sign_of_life(host: str, server: Server) -> None:
    for path in ("/", "/static/css/base.css", "/api/workspaces", "/api/nothing"):
        assert send(server, "GET", path, headers={"Host": host}).said == (403, "password_required"), path
    for method, path in (("POST", "/api/workspace/new"), ("POST", "/api/login"), ("DELETE", "/api/workspace/default")):
        assert send(server, method, path, {"name": "Evil", "password": "x"}, {"Host": host}).said[0] == 403
    assert send(server, "GET", "/api/ping", headers={"Host": host}).status == 200


def test_a_request_without_a_name_and_one_with_two_are_refused(server: Server) -> None:
    for lines in (b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: evil.example\r\nHost: localhost\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(b"GET /api/workspaces HTTP/1.1\r\nConnection: close\r\n" + lines + b"\r\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        assert answer.split()[1] in (b"403", b"400"), answer
        assert b"workspaces" not in answer


@pytest.mark.parametrize(
    "spoken_for",
    ["203.0.113.9", "127.0.0.1, 203.0.113.9", "203.0.113.9, 127.0.0.1", "2001:db8::1", "unknown", "localhost"],
)
def test_a_proxy_that_speaks_for_somebody_elsewhere_is_refused(spoken_for: str, server: Server) -> None:
    headers = {"X-Forwarded-For": spoken_for}
    assert send(server, "GET", "/api/workspaces", headers=headers).said == (403, "password_required")
    assert send(server, "GET", "/api/ping", headers=headers).status == 200


@pytest.mark.parametrize("spoken_for", ["127.0.0.1", "::1", "127.0.0.1, ::1", "::ffff:127.0.0.1", ""])
def test_a_proxy_that_speaks_for_this_machine_is_served(spoken_for: str, server: Server) -> None:
    assert send(server, "GET", "/api/workspaces", headers={"X-Forwarded-For": spoken_for}).status == 200


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            address = str(probe.getsockname()[0])
        except OSError:
            return None
    return None if address.startswith("127.") else address


@contextmanager
def everywhere(folder: Path, **settings: str) -> Iterator[Server]:
    """A server that listens on every address of this machine."""
    server = Server(folder, DEECHAT_HOST="0.0.0.0", **settings)
    server.settings["PORT"] = str(server.port)
    with server.log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=server.environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 30
        while not server.answers():
            assert process.poll() is None, server.log
            assert time.monotonic() < deadline, server.log
            time.sleep(0.02)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def test_a_peer_that_is_not_on_loopback_is_refused_whatever_it_says(tmp_path: Path) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has loopback alone")
    (tmp_path / "open").mkdir()
    (tmp_path / "guarded").mkdir()
    with everywhere(tmp_path / "open") as server:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Authorization": "Bearer "}):
            answer = send(server, "GET", "/api/workspaces", headers=headers, host=address)
            assert answer.said == (403, "password_required")
        assert send(server, "GET", "/", host=address).status == 403
        assert send(server, "GET", "/api/ping", host=address).status == 200
        assert send(server, "GET", "/api/workspaces").status == 200
    with everywhere(tmp_path / "guarded", DEECHAT_PASSWORD=PASSWORD) as server:
        assert send(server, "GET", "/api/workspaces", host=address).said == (401, "login_required")
        headers = {"Host": f"{address}:{server.port}", "Authorization": f"Bearer {PASSWORD}"}
        assert send(server, "GET", "/api/workspaces", headers=headers, host=address).status == 200


def test_a_log_in_without_a_password_to_know_sets_no_cookie(server: Server) -> None:
    answer = log_in(server, "whatever")
    assert (answer.status, answer.headers["Set-Cookie"]) == (200, None)


# -- with a password ---------------------------------------------------------------------------------------------------


def test_the_shell_is_open_and_everything_else_asks_for_the_password(guarded: Server) -> None:
    for path in SHELLS:
        assert send(guarded, "GET", path).status == 200
        assert send(guarded, "GET", path, headers={"Host": "chat.example"}).status == 200
    for method, path in CLOSED:
        answer = send(guarded, method, path, {"message": "hello", "name": "Evil"} if method == "POST" else None)
        assert answer.status == 401, (method, path)
        assert method == "HEAD" or answer.code == "login_required"
    assert guarded.rows("SELECT count(*) FROM message") == [(0,)]
    assert guarded.rows("SELECT slug FROM workspace") == [("default",)]


def test_the_shell_holds_nothing_of_anyone(guarded: Server) -> None:
    bearer = {"Authorization": f"Bearer {PASSWORD}"}
    send(guarded, "POST", "/api/workspace/default/update", {"systemPrompt": "A private matter"}, bearer)
    for path in SHELLS:
        page = send(guarded, "GET", path).body
        assert page == send(guarded, "GET", path, headers=bearer).body
        assert b"A private matter" not in page


@pytest.mark.parametrize(
    "wrong", ["", " ", "correct", PASSWORD + " ", " " + PASSWORD, PASSWORD.upper(), "é", "\0", "x" * 9999]
)
def test_a_wrong_password_sets_no_cookie(wrong: str, guarded: Server) -> None:
    answer = log_in(guarded, wrong)
    assert answer.said == (401, "wrong_password")
    assert answer.headers["Set-Cookie"] is None


def test_the_password_sets_a_cookie_that_only_this_site_gets_and_no_script_reads(guarded: Server) -> None:
    answer = log_in(guarded)
    (header,) = answer.headers.get_all("Set-Cookie")
    cookie = SimpleCookie(header)[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Lax", "/", "")
    assert cookie["max-age"] == str(COOKIE_SECONDS)
    assert not cookie["secure"]
    assert PASSWORD not in header
    assert answer.headers["Cache-Control"] == "no-store"
    for method, path, expected in (
        ("GET", "/api/workspaces", 200),
        ("GET", "/api/nothing", 404),
        ("PUT", "/api/models", 405),
    ):
        assert send(guarded, method, path, headers={"Cookie": cookie_of(answer)}).status == expected


def test_behind_https_the_cookie_is_for_https_alone(guarded: Server) -> None:
    for value in ("https", "https, http"):
        assert "; Secure" in log_in(guarded, **{"X-Forwarded-Proto": value}).headers["Set-Cookie"]
    assert "; Secure" not in log_in(guarded, **{"X-Forwarded-Proto": "http"}).headers["Set-Cookie"]


def signed(key: str, value: Any = "in", salt: str = "deechat-login") -> str:
    return str(URLSafeTimedSerializer(key, salt=salt).dumps(value))


def test_a_cookie_that_was_not_set_here_is_worth_nothing(guarded: Server) -> None:
    name, _, good = cookie_of(log_in(guarded)).partition("=")
    secret = (Path(guarded.settings["DEECHAT_DATA"]) / "secret").read_text()
    payload, when, signature = good.split(".")
    later = "_" + when[1:]
    forged = [
        "",
        "in",
        good[:-1],
        good[:-1] + ("A" if good[-1] != "A" else "Q"),
        good + "A",
        good.lower(),
        f"{payload}.{later}.{signature}",
        f"{payload}.{when}.",
        f"{payload}.{when}",
        f"ImluIg.{signature}",
        f".{when}.{signature}",
        "." * 2000,
        signed(""),
        signed("secret"),
        signed(secret),
        signed(PASSWORD),
        signed(secret + PASSWORD),
    ]
    assert send(guarded, "GET", "/api/workspaces", headers={"Cookie": f"{name}={good}"}).status == 200
    for value in forged:
        answer = send(guarded, "GET", "/api/workspaces", headers={"Cookie": f"{name}={value}"})
        assert answer.said == (401, "login_required"), value
    assert send(guarded, "GET", "/api/workspaces", headers={"Cookie": f"other={good}"}).status == 401


def test_a_cookie_ends_after_its_days(guarded: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = bytes.fromhex((Path(guarded.settings["DEECHAT_DATA"]) / "secret").read_text())
    signer = Gate(PASSWORD, lambda: secret, (), lambda *_: None)._signer
    now = time.time()

    def made(seconds_ago: float) -> str:
        monkeypatch.setattr(time, "time", lambda: now - seconds_ago)
        value = signer.dumps("in")
        monkeypatch.undo()
        return f"{COOKIE}={value!s}"

    for seconds_ago, expected in ((0, 200), (COOKIE_SECONDS - 60, 200), (COOKIE_SECONDS + 60, 401), (-3600, 401)):
        assert send(guarded, "GET", "/api/workspaces", headers={"Cookie": made(seconds_ago)}).status == expected


def test_a_script_sends_the_password_as_bearer(guarded: Server) -> None:
    for value in (f"Bearer {PASSWORD}", f"bearer {PASSWORD}", f"BEARER   {PASSWORD}"):
        assert send(guarded, "GET", "/api/workspaces", headers={"Authorization": value}).status == 200
    wrong = [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {PASSWORD}",
        PASSWORD,
        f"Bearer {PASSWORD}x",
        f"Bearer {PASSWORD[:-1]}",
        "Bearer é",
    ]
    for value in wrong:
        answer = send(guarded, "GET", "/api/workspaces", headers={"Authorization": value})
        assert answer.said == (401, "login_required"), value
    assert send(guarded, "GET", f"/api/workspaces?password={PASSWORD.split(maxsplit=1)[0]}").status == 401


def test_a_password_of_other_letters_works_in_both_ways(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD="Grüße 密码")
    cookie = cookie_of(log_in(server, "Grüße 密码"))
    assert send(server, "GET", "/api/workspaces", headers={"Cookie": cookie}).status == 200
    assert send(server, "GET", "/api/workspaces", headers={"Authorization": "Bearer Grüße 密码"}).status == 200
    assert send(server, "GET", "/api/workspaces", headers={"Authorization": "Bearer Gruesse"}).status == 401


def test_a_cookie_outlives_the_process_but_not_the_password(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD="first")
    headers = {"Cookie": cookie_of(log_in(server, "first"))}
    for password, expected in (("first", 200), ("second", 401)):
        server.terminate()
        server.settings["DEECHAT_PASSWORD"] = password
        server.start()
        assert send(server, "GET", "/api/workspaces", headers=headers).status == expected
    assert send(server, "GET", "/api/workspaces", headers={"Authorization": "Bearer first"}).status == 401
    assert send(server, "GET", "/api/workspaces", headers={"Authorization": "Bearer second"}).status == 200


def test_a_cookie_of_another_data_folder_is_worth_nothing(serve: Callable[..., Server], guarded: Server) -> None:
    other = serve(DEECHAT_PASSWORD=PASSWORD)
    headers = {"Cookie": cookie_of(log_in(other))}
    assert send(other, "GET", "/api/workspaces", headers=headers).status == 200
    assert send(guarded, "GET", "/api/workspaces", headers=headers).said == (401, "login_required")


def test_what_is_kept_is_for_its_owner_alone(guarded: Server) -> None:
    data = Path(guarded.settings["DEECHAT_DATA"])
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "secret").stat().st_mode) == 0o600


def test_what_is_kept_is_for_its_owner_alone_in_a_folder_that_all_may_list(tmp_path: Path) -> None:
    server = Server(tmp_path)
    data = Path(server.settings["DEECHAT_DATA"])
    data.mkdir()
    data.chmod(0o755)
    try:
        server.start()
        Client(server).ask("A private matter")
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in data.iterdir()}
    finally:
        server.kill()
    assert {"secret", "deechat.sqlite3", "deechat.sqlite3-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}, modes


# -- pages of other sites ----------------------------------------------------------------------------------------------

UNSAFE = (
    ("POST", "/api/login"),
    ("POST", "/api/workspace/new"),
    ("POST", "/api/workspace/default/update"),
    ("POST", "/api/workspace/default/stream-chat"),
    ("POST", "/api/runs/x/stop"),
    ("DELETE", "/api/workspace/default"),
    ("PUT", "/api/workspace/default"),
)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://localhost.evil.example:{port}"},
        {"Origin": "http://evil.example@localhost:{port}"},
        {"Origin": "http://["},
        {"Origin": "file://localhost:{port}"},
        {"Origin": "localhost:{port}"},
        {"Origin": "http://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:{port}"},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing(headers: dict[str, str], server: Server, guarded: Server) -> None:
    for each in (server, guarded):
        sent = {name: value.replace("{port}", str(each.port)) for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {PASSWORD}"
        before = each.rows("SELECT * FROM workspace")
        for method, path in UNSAFE:
            body = {"message": "hello", "name": "Evil", "password": PASSWORD}
            answer = send(each, method, path, body, sent)
            assert answer.said == (403, "foreign_origin"), (method, path)
            assert answer.headers["Set-Cookie"] is None
        assert each.rows("SELECT * FROM workspace") == before
        assert each.rows("SELECT count(*) FROM message") == [(0,)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "http://LOCALHOST:{port}"},
        {"Origin": "http://localhost:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://127.0.0.1:{port}", "Host": "127.0.0.1:{port}"},
    ],
    ids=str,
)
def test_the_own_page_and_a_script_pass(headers: dict[str, str], server: Server) -> None:
    sent = {name: value.replace("{port}", str(server.port)) for name, value in headers.items()}
    assert send(server, "POST", "/api/workspace/default/update", {}, sent).status == 200


def test_the_own_page_passes_behind_a_proxy_that_ends_https(guarded: Server) -> None:
    headers = {"Host": "chat.example", "Origin": "https://chat.example", "X-Forwarded-Proto": "https"}
    headers |= {"X-Forwarded-For": "203.0.113.9", "Sec-Fetch-Site": "same-origin"}
    cookie = cookie_of(send(guarded, "POST", "/api/login", {"password": PASSWORD}, headers))
    answer = send(guarded, "POST", "/api/workspace/default/update", {}, {**headers, "Cookie": cookie})
    assert answer.status == 200


def test_a_browsers_own_word_counts_where_a_proxy_may_have_changed_the_host(server: Server, guarded: Server) -> None:
    headers = {"Host": "127.0.0.1:8000", "Origin": "https://chat.example", "Sec-Fetch-Site": "same-origin"}
    headers["Authorization"] = f"Bearer {PASSWORD}"
    assert send(guarded, "POST", "/api/workspace/default/update", {}, headers).status == 200
    assert send(server, "POST", "/api/workspace/default/update", {}, headers).said == (403, "foreign_origin")
    headers |= {"Host": "localhost", "Origin": "http://localhost:8080"}
    assert send(server, "POST", "/api/workspace/default/update", {}, headers).status == 200
    for site in ("same-site", "none"):
        answer = send(server, "POST", "/api/workspace/default/update", {}, {**headers, "Sec-Fetch-Site": site})
        assert answer.said == (403, "foreign_origin")


def test_a_refused_page_is_told_which_host_came_and_the_lines_that_mend_it(guarded: Server) -> None:
    headers = {"Host": "127.0.0.1:8000", "Origin": "http://chat.example:8080"}
    answer = send(guarded, "POST", "/api/login", {"password": PASSWORD}, headers)
    assert answer.said == (403, "foreign_origin")
    words = json.loads(answer.body)["error"]["message"]
    for part in (
        "127.0.0.1:8000",
        "http://chat.example:8080",
        "proxy_set_header Host $http_host;",
        "ProxyPreserveHost",
    ):
        assert part in words


def test_a_link_from_another_site_opens_the_page(server: Server) -> None:
    assert (
        send(server, "GET", "/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status == 200
    )


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_form_of_another_site_cannot_send_json(kind: str, server: Server) -> None:
    # What a form can send without asking first; an old browser may name no site with it.
    for path in ("/api/workspace/new", "/api/login", "/api/workspace/default/stream-chat"):
        body = {"name": "Evil", "message": "hello", "password": "x"}
        assert send(server, "POST", path, body, {"Content-Type": kind}).said == (415, "unsupported_media_type")


def test_nobody_is_told_that_other_sites_may_read(server: Server, guarded: Server) -> None:
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, authorization"}
    for each in (server, guarded):
        for path in ("/", "/api/ping", "/api/login", "/api/workspaces", "/api/workspace/new", "/static/css/base.css"):
            for origin in ("https://evil.example", "null", f"http://localhost:{each.port}"):
                headers = {"Origin": origin, **asking}
                for method in ("OPTIONS", "GET", "POST"):
                    answer = send(each, method, path, headers=headers)  # `send` holds all headers to this
                    assert "Origin" not in (answer.headers["Vary"] or "")


# -- what pages carry, and what nobody reads ---------------------------------------------------------------------------


def test_the_page_says_what_it_may_load_and_who_may_frame_it(server: Server) -> None:
    page = send(server, "GET", "/")
    assert page.headers.get_all("Content-Security-Policy") == [POLICY]
    for path in ("/", "/static/css/base.css", "/api/ping", "/api/workspaces", "/api/nothing"):
        answer = send(server, "GET", path)
        assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert answer.headers["Referrer-Policy"] == "same-origin"
        if path.startswith("/api/"):
            assert answer.headers["Cache-Control"] == "no-store"


def test_the_page_holds_itself_to_its_policy(server: Server) -> None:
    page = send(server, "GET", "/").body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", page), "a script of its own line would not run"
    assert not re.search(r"\bon[a-z]+\s*=\s*[\"']|\bstyle\s*=\s*[\"']|javascript:|(src|href|action)=.https?:", page)


def test_no_secret_stands_in_a_log_or_an_answer(serve: Callable[..., Server], model: ModelServer) -> None:
    server = serve(model=model, DEECHAT_PASSWORD=PASSWORD, DEECHAT_LOG_LEVEL="debug")
    client = Client(server, headers={"Authorization": f"Bearer {PASSWORD}"})
    cookie = cookie_of(log_in(server))
    answers = [log_in(server).body, log_in(server, "wrong-but-near").body]
    wrong = f"Bearer {KEY}"
    for headers in ({"Cookie": cookie}, {"Cookie": cookie + "x"}, {"Authorization": wrong}, {"Cookie": "no colon\x01"}):
        paths = ("/", "/api/workspaces", "/api/models", "/api/nothing")
        answers += [send(server, "GET", path, headers=headers).body for path in paths]
    model.script("Well.", status(401, f"Incorrect API key provided: {KEY}"), status(400, f"Bearer {KEY} is not known"))
    for _ in range(3):
        stream = client.ask("hello")
        answers += [block.raw for block in stream.blocks]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nAuthorization Bearer {PASSWORD}\r\n\r\n".encode())
        answers.append(connection.recv(65_536))
    answers.append(json.dumps(client.history()).encode())
    client.check_all()
    server.terminate()
    log = server.log
    assert len(log.splitlines()) > 5, "the log at its most talkative"
    secrets = {"password": PASSWORD, "key": KEY, "cookie": cookie.partition("=")[2], "try": "wrong-but-near"}
    for name, secret in secrets.items():
        assert secret not in log, f"the {name} stands in the log"
        assert not [answer for answer in answers if secret.encode() in answer], f"the {name} stands in an answer"
    kept = "".join(
        str(server.rows(f"SELECT * FROM {table}")) for table in ("workspace", "thread", "message", "run", "event")
    )
    assert PASSWORD not in kept
    assert KEY not in kept


def shown(expression: str) -> str:
    """Gives what a program prints that made the application with both secrets, and evaluates the expression."""
    script = (
        "import gc, os\n"
        "from deechat.application import Application\n"
        "from deechat.config import Settings\n"
        "application = Application(Settings.read(os.environ))\n"
        "ours = [each for each in gc.get_objects() if str(type(each).__module__).startswith('deechat')]\n"
        f"print({expression})\n"
    )
    environment = {**os.environ, "DEECHAT_PASSWORD": PASSWORD, "OPENAI_API_KEY": KEY, "DEECHAT_DATA": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def test_the_settings_and_the_application_do_not_show_their_secrets() -> None:
    output = shown("repr(application.settings), vars(application), application.app.config, application.app.extensions")
    assert "Settings(" in output
    assert PASSWORD not in output
    assert KEY not in output


def test_nothing_of_ours_in_memory_shows_a_secret() -> None:
    output = shown("[repr(each) for each in ours]")
    assert "Settings(" in output
    assert PASSWORD not in output
    assert KEY not in output
