"""Logging out: the cookie is worth nothing afterwards, wherever a copy of it is, and every other one stays."""

from __future__ import annotations

import string
from collections.abc import Callable

import requests
from browser_support import OpenTab
from playwright.sync_api import expect
from server import Server

pytest_plugins = ["browser_fixtures"]

PASSWORD = "open sesame"
NAME = "deechat_login"


def log_in(server: Server) -> str:
    return str(requests.post(f"{server.url}/api/login", json={"password": PASSWORD}, timeout=30).cookies[NAME])


def log_out(server: Server, cookie: str | None, **headers: str) -> requests.Response:
    cookies = {} if cookie is None else {NAME: cookie}
    return requests.post(f"{server.url}/api/logout", cookies=cookies, headers=headers, timeout=30)


def status(server: Server, cookie: str) -> int:
    return requests.get(f"{server.url}/api/workspaces", cookies={NAME: cookie}, timeout=30).status_code


def test_a_cookie_ends_with_its_log_out_also_after_a_restart(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    mine, others = log_in(server), log_in(server)
    assert mine != others, "of the same second"
    assert (status(server, mine), status(server, others)) == (200, 200)
    answer = log_out(server, mine)
    assert (answer.status_code, answer.json()) == (200, {"loggedIn": False})
    header = answer.headers["Set-Cookie"]
    assert header.startswith(f"{NAME}=;")
    for part in ("Max-Age=0", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert part in header
    for _ in range(2):
        assert (status(server, mine), status(server, others)) == (401, 200)
        server.terminate()
        server.start()
    assert mine.partition(".")[0] not in str(server.rows("SELECT * FROM ended_login"))


def test_another_spelling_of_the_signature_is_the_same_cookie(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    cookie = log_in(server)
    letters = string.ascii_letters + string.digits + "-_"
    same = [cookie[:-1] + letter for letter in letters if status(server, cookie[:-1] + letter) == 200]
    assert cookie in same
    log_out(server, cookie)
    assert {status(server, each) for each in same} == {401}


def test_a_log_out_of_nobody_is_a_log_out_too_and_ends_nothing(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    cookie = log_in(server)
    for nobody in (None, "", "forged", cookie[:-4], "a.b.c"):
        assert log_out(server, nobody).status_code == 200
    assert log_out(server, cookie, Origin="https://evil.example").status_code == 403
    assert status(server, cookie) == 200
    assert server.rows("SELECT count(*) FROM ended_login") == [(0,)]


def test_a_server_without_a_password_has_nothing_to_end(server: Server) -> None:
    assert log_out(server, "x").json() == {"loggedIn": False}
    assert requests.get(f"{server.url}/api/workspaces", timeout=30).status_code == 200


def test_an_ended_cookie_is_forgotten_when_it_would_have_ended_anyway(serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    log_out(server, log_in(server))
    assert server.rows("SELECT until > unixepoch() + 29 * 86400 FROM ended_login") == [(1,)]


def test_the_page_logs_out(open_tab: OpenTab, serve: Callable[..., Server]) -> None:
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    tab = open_tab(server).open()
    tab.expect_errors("401")
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_label("Password").press("Enter")
    expect(dialog).to_be_hidden()
    cookie = next(each["value"] for each in tab.page.context.cookies() if each["name"] == NAME)
    tab.page.get_by_role("button", name="Log out").click()
    expect(dialog).to_be_visible()
    assert status(server, cookie) == 401
    assert not [each for each in tab.page.context.cookies() if each["name"] == NAME]


def test_without_a_password_the_page_has_no_such_button(open_tab: OpenTab, server: Server) -> None:
    tab = open_tab(server).open()
    expect(tab.page.get_by_role("button", name="Settings").first).to_be_visible()
    expect(tab.page.get_by_role("button", name="Log out")).to_have_count(0)


def test_the_page_says_how_long_to_wait_after_too_many_wrong_passwords(
    open_tab: OpenTab, serve: Callable[..., Server]
) -> None:
    tab = open_tab(serve(DEECHAT_PASSWORD=PASSWORD), locale="zh-CN").open()
    tab.expect_errors("401|429")
    error = {"error": {"code": "too_many_attempts", "message": "Too many."}}
    tab.page.route("**/api/login", lambda route: route.fulfill(status=429, headers={"Retry-After": "7"}, json=error))
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("密码").fill("wrong")
    dialog.get_by_label("密码").press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("密码错误次数过多，请在 7 秒后重试。")
