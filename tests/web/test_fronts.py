"""Real proxies before it: what passes through each, and who does not.

The proxies run with the blocks of docs/deploy.md, and as they come, without a line that DeeChat would want.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import requests
from client import Client, Stream
from conftest import model_settings
from fronts_rig import (
    BARE,
    DOCUMENTED,
    EVERY,
    NAME,
    NGINX,
    SILENCE,
    Front,
    Proxied,
    block,
    each,
    nginx_around,
    running,
)
from model_server import ModelServer, free_port, reply, text
from server import Server

PASSWORD = "open sesame"
HEARTBEAT = 0.25


@pytest.fixture(scope="module")
def guarded(shared_model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password and short heartbeats, shared by the tests of this module."""
    settings = {"DEECHAT_PASSWORD": PASSWORD, "DEECHAT_HEARTBEAT": str(HEARTBEAT), **model_settings(shared_model)}
    server = Server(tmp_path_factory.mktemp("guarded"), **settings)
    try:
        yield server.start()
    finally:
        server.kill()


def log_in(client: Proxied) -> None:
    answer = client.post("/api/login", {"password": PASSWORD})
    assert answer.json() == {"loggedIn": True}, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert ("; Secure" in cookie) == client.url.startswith("https:")
    client.headers["Cookie"] = cookie.partition(";")[0]
    client.thread = client.post("/api/workspace/default/thread/new").json()["thread"]["slug"]


# -- what passes -------------------------------------------------------------------------------------------------------


@each(EVERY)
def test_the_page_the_log_in_and_a_stream_pass_through(
    front: Front, guarded: Server, model: ModelServer, tmp_path: Path
) -> None:
    gates = [model.gate() for _ in range(3)]
    words = ["One ", "two ", "three."]
    model.script(reply(*(part for pair in zip(map(text, words), gates, strict=True) for part in pair)))
    with front.before(guarded, tmp_path / "front") as client:
        client.as_browser(NAME)
        page = client.call("GET", "/")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert client.call("GET", "/api/workspaces").json()["error"]["code"] == "login_required"
        log_in(client)
        stream = client.send("Count")
        for word, gate in zip(words, gates, strict=True):
            # The model server says nothing more before the gate opens: what is here came without being pushed.
            stream.read_until(word)
            stream.read_until("heartbeat")
            gate.release()
        assert stream.read().text == "One two three."
        resumed = client.call("GET", f"/api/runs/{stream.run_id}/events", headers={"Last-Event-ID": "4"}, stream=True)
        assert Stream(resumed).read().frames == stream.frames[4:]
        client.check_all()


@each(DOCUMENTED)
def test_a_silence_longer_than_the_proxy_bears_is_filled_by_heartbeats(
    front: Front, guarded: Server, model: ModelServer, tmp_path: Path
) -> None:
    gate = model.gate()
    model.script(reply(text("One "), gate, text("two.")))
    with front.before(guarded, tmp_path / "front") as client:
        log_in(client.as_browser(NAME))
        stream = client.send("Count")
        stream.read_until("One ")
        for _ in range(round(1.5 * SILENCE / HEARTBEAT)):
            stream.read_until("heartbeat")
        gate.release()
        assert stream.read().text == "One two."
        assert stream.frames[-1]["type"] == "finalizeResponseStream"
        client.check_all()


@each(EVERY[:1])
def test_a_large_message_reaches_the_words_that_refuse_it(front: Front, guarded: Server, tmp_path: Path) -> None:
    with front.before(guarded, tmp_path / "front") as client:
        log_in(client.as_browser(NAME))
        large = client.post(f"{client.thread_path}/stream-chat", {"message": "x" * 2_000_000})
        assert large.json()["error"]["code"] == "bad_request", "nginx lets it pass, and DeeChat says what is wrong"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_what_the_document_says_of_two_nginx_is_true(guarded: Server, model: ModelServer, tmp_path: Path) -> None:
    outer, inner = free_port(), free_port()
    site = "server {{ listen 127.0.0.1:{}; location / {{ {} proxy_pass http://127.0.0.1:{}; }} }}\n"
    (line,) = re.findall(r"proxy_pass_header \S+;", block("nginx", "proxy_pass_header"))
    for cured in (False, True):
        folder = tmp_path / f"nginx-{cured}"
        folder.mkdir()
        gate = model.gate()
        model.script(reply(text("One "), gate, text("two.")))
        sites = site.format(outer, "", inner) + site.format(inner, line if cured else "", guarded.port)
        headers = {"Authorization": f"Bearer {PASSWORD}"}
        with running(nginx_around(folder, sites), outer, folder):
            client = Proxied(guarded, url=f"http://127.0.0.1:{outer}", headers=headers).new_thread()
            path = f"http://127.0.0.1:{outer}{client.thread_path}/stream-chat"
            came = b""
            ask = partial(requests.post, path, json={"message": "Count"}, headers=headers, stream=True, timeout=2)
            with suppress(requests.RequestException), ask() as answer:  # nothing comes while the proxy holds it
                pieces = answer.iter_content(chunk_size=None)
                while b"One " not in came:
                    came += next(pieces)
            gate.release()
        assert (b"One " in came) is cured


# -- who does not ------------------------------------------------------------------------------------------------------

FORGED = (
    {"Host": "127.0.0.1"},
    {"Host": "localhost", "X-Forwarded-For": "127.0.0.1"},
    {"Host": "localhost", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "X-Real-IP": "127.0.0.1"},
    {"Host": "[::1]", "Forwarded": "for=127.0.0.1;host=localhost", "SCRIPT_NAME": "/api/ping"},
)


@each(EVERY)
def test_without_a_password_nobody_comes_in_through_a_proxy_that_others_reach(
    front: Front, server: Server, tmp_path: Path
) -> None:
    with front.before(server, tmp_path / "front") as client:
        assert Client(server).get("/api/workspaces"), "a person at this machine is served meanwhile"
        for headers in FORGED:
            for path in ("/api/workspaces", "/", "/static/css/base.css"):
                refused = client.call("GET", path, headers=headers)
                assert refused.status_code == 403, (path, headers)
                assert refused.json()["error"]["code"] == "password_required"
            assert client.post("/api/workspace/new", {"name": "No"}, headers=headers).status_code == 403
        assert client.call("GET", "/api/ping").json() == {"online": True}
        assert Client(server).get("/api/workspaces")["workspaces"][0]["slug"] == "default"
    assert server.rows("SELECT slug FROM workspace") == [("default",)]


@each(BARE[:1])
def test_the_log_names_the_process_that_speaks_for_others(
    front: Front, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve()
    with front.before(server, tmp_path / "front") as client:
        for _ in range(5):
            assert client.call("GET", "/api/workspaces").status_code == 403
        port = client.url.rpartition(":")[2]
    (line,) = [str(each["message"]) for each in server.log_lines if "refused" in str(each["message"])]
    assert re.search(rf"refused 127\.0\.0\.1: nginx \(process \d+\) also listens on 0\.0\.0\.0 port {port}", line)
    assert "DEECHAT_PASSWORD" in line


def test_a_proxy_that_only_this_machine_reaches_is_served_unless_it_speaks_for_another(
    server: Server, tmp_path: Path
) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    folder = tmp_path / "front"
    folder.mkdir()
    headers = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    place = f"location / {{ {headers} proxy_pass http://127.0.0.1:{server.port}; }}"
    with running(nginx_around(folder, f"server {{ listen 127.0.0.1:{port}; {place} }}"), port, folder):
        client = Proxied(server, url=f"http://127.0.0.1:{port}")
        assert client.call("GET", "/api/workspaces").status_code == 200
        for refused in ({"X-Forwarded-For": "203.0.113.9"}, {"Host": NAME}):
            answer = client.call("GET", "/api/workspaces", headers=refused)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "password_required")


@each(BARE)
@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing_through_a_proxy(
    front: Front, headers: dict[str, str], guarded: Server, tmp_path: Path
) -> None:
    with front.before(guarded, tmp_path / "front") as client:
        client.as_browser(NAME)
        if "Origin" in headers:
            del client.headers["Sec-Fetch-Site"]
        refused = client.post("/api/login", {"password": PASSWORD}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
