"""Pages of other origins: those that a setting names may ask and read the answers, and all others stay outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
from server import Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from deechat.config import Settings
from deechat.errors import SettingError

PASSWORD = "open sesame"
FRIEND = "http://localhost:3000"
SECOND = "https://chat.example"
STRANGERS = (
    "http://localhost:3001",
    "https://localhost:3000",
    "http://localhost:3000.evil.example",
    "http://localhost",
    "HTTP://LOCALHOST:3000",
    "https://chat.example:443",
    "https://chat.example.evil.example",
    "https://a.chat.example",
    "null",
    "*",
    "",
)
Headers = dict[str, str]


@pytest.fixture(scope="module")
def inviting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password that invites two origins."""
    settings = {"DEECHAT_PASSWORD": PASSWORD, "DEECHAT_ORIGINS": f"{FRIEND}, HTTPS://Chat.Example:443"}
    server = Server(tmp_path_factory.mktemp("inviting"), "echo_sockets:app", **settings)
    try:
        yield server.start()
    finally:
        server.kill()


def ask(server: Server, method: str, path: str, headers: Headers, body: object = None) -> tuple[int, Headers, bytes]:
    """Sends a request as a browser does for a page, and gives status, headers in small letters, and body."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
    raw = None if body is None else json.dumps(body)
    named = {"Host": f"localhost:{server.port}", **({"Content-Type": "application/json"} if raw else {}), **headers}
    try:
        connection.request(method, path, raw, named)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


def allowing(headers: Headers) -> Headers:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def page(origin: str, **more: str) -> Headers:
    return {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {PASSWORD}", **more}


@pytest.mark.parametrize("origin", [FRIEND, SECOND])
def test_a_page_of_an_invited_origin_asks_and_reads(inviting: Server, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asking["Access-Control-Request-Headers"] = "authorization,content-type"
    status, headers, _ = ask(inviting, "OPTIONS", "/api/workspace/default/stream-chat", asking)
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (204, origin, "Origin")
    assert "POST" in headers["access-control-allow-methods"]
    assert "Authorization" in headers["access-control-allow-headers"]
    status, headers, body = ask(
        inviting, "POST", "/api/workspace/default/stream-chat", page(origin), {"message": "1 + 1"}
    )
    assert (status, b"finalizeResponseStream" in body) == (200, True)
    assert headers["access-control-allow-origin"] == origin
    assert "X-Run-Id" in headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in headers
    for path, credential, refusal in (("/api/workspaces", {"Origin": origin}, 401), ("/x", page(origin), 404)):
        status, headers, _ = ask(inviting, "GET", path, credential)
        assert (status, headers["access-control-allow-origin"]) == (refusal, origin)


@pytest.mark.parametrize("origin", STRANGERS)
def test_all_others_stay_refused(inviting: Server, origin: str) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    status, headers, _ = ask(inviting, "OPTIONS", "/api/workspaces", asking)
    assert (status, allowing(headers), headers["vary"]) == (401, {}, "Origin")
    status, headers, _ = ask(inviting, "POST", "/api/workspace/new", page(origin), {"name": "x"})
    assert (status, allowing(headers)) == (403, {})
    _, headers, _ = ask(inviting, "GET", "/api/workspaces", page(origin))
    assert (allowing(headers), headers["vary"]) == ({}, "Origin")


def test_an_invitation_is_no_log_in(inviting: Server) -> None:
    status, headers, _ = ask(inviting, "POST", "/api/workspace/new", {"Origin": FRIEND}, {"name": "x"})
    assert (status, headers["access-control-allow-origin"]) == (401, FRIEND)


def test_the_servers_own_page_and_clients_without_an_origin_ask_as_before(inviting: Server) -> None:
    own = {"Authorization": f"Bearer {PASSWORD}"}
    for more in ({}, {"Origin": f"http://localhost:{inviting.port}", "Sec-Fetch-Site": "same-origin"}):
        status, headers, _ = ask(inviting, "POST", "/api/workspace/default/thread/new", {**own, **more}, {})
        assert (status, allowing(headers)) == (200, {})


def test_without_the_setting_there_is_no_word_of_it(server: Server) -> None:
    for method in ("OPTIONS", "GET", "POST"):
        asking = {"Origin": FRIEND, "Access-Control-Request-Method": "POST"}
        status, headers, _ = ask(server, method, "/api/workspaces", asking)
        assert (allowing(headers), "vary" in headers) == ({}, False)
        assert method != "POST" or status == 403


@pytest.mark.parametrize("origin", [FRIEND, SECOND, *STRANGERS])
def test_the_handshake_of_a_web_socket_asks_the_same(inviting: Server, origin: str) -> None:
    address = f"ws://localhost:{inviting.port}/api/echo"
    headers = {"Origin": origin, "Authorization": f"Bearer {PASSWORD}"}
    if origin in {FRIEND, SECOND}:
        with connect(address, additional_headers=headers, compression=None) as socket:
            assert socket.response is not None
            assert socket.response.status_code == 101
        return
    with pytest.raises(InvalidStatus) as refused:
        connect(address, additional_headers=headers, compression=None)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "localhost:3000",
        "http://localhost:3000/",
        "http://localhost:3000/app",
        "http://*.example",
        "ftp://a.example",
        "http://a.example, ",
        "http://a.example:0",
        "http://a.example:99999",
        "http://u:p@a.example",
        "http://",
    ],
)
def test_a_value_that_is_no_origin_ends_the_start_in_words(text: str) -> None:
    with pytest.raises(SettingError, match=r"DEECHAT_ORIGINS is .*, but origins with commas between, such as"):
        Settings.read({"DEECHAT_ORIGINS": text})


def test_an_origin_is_kept_as_browsers_send_it() -> None:
    given = "HTTP://LocalHost:3000,https://a.example:443 , http://a.example:80,http://[::1]:5173"
    kept = Settings.read({"DEECHAT_ORIGINS": given}).origins
    assert kept == ("http://localhost:3000", "https://a.example", "http://a.example", "http://[::1]:5173")
