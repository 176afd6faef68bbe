"""The page in a real Chromium behind real proxies: below a path, and refused in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_support import OpenTab, expect
from fronts_rig import (
    BARE,
    CADDY,
    NAME,
    NGINX,
    Front,
    Proxied,
    block,
    caddy_around,
    each,
    nginx_around,
    replaced,
    running,
)
from model_server import free_port
from server import Server

pytest_plugins = ["browser_fixtures"]

PASSWORD = "open sesame"


def nginx_below(folder: Path, port: int, upstream: int) -> list[str]:
    place = replaced(block("nginx", "location /chat/"), ("127.0.0.1:8000", f"127.0.0.1:{upstream}"))
    lines = re.findall(
        r"^ +proxy_(?:http_version|set_header|read_timeout) .*$", block("nginx", "ssl_cert"), re.MULTILINE
    )
    place = place.replace("}", "\n".join([*lines, "}"]))
    return nginx_around(folder, f"server {{ listen 127.0.0.1:{port};\n{place}\n}}")


def caddy_below(folder: Path, port: int, upstream: int) -> list[str]:
    site = replaced(
        block("caddyfile", "handle_path"),
        ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
        (f"{NAME} {{", f"http://127.0.0.1:{port} {{\nbind 127.0.0.1"),
    )
    return caddy_around(folder, site)


@pytest.mark.parametrize(("binary", "write"), [(NGINX, nginx_below), (CADDY, caddy_below)], ids=["nginx", "caddy"])
def test_the_page_works_below_a_path(
    binary: str | None,
    write: Callable[[Path, int, int], list[str]],
    serve: Callable[..., Server],
    open_tab: OpenTab,
    tmp_path: Path,
) -> None:
    if binary is None:
        pytest.skip("the proxy is not installed")
    server = serve(DEECHAT_PASSWORD=PASSWORD)
    port = free_port()
    folder = tmp_path / "front"
    folder.mkdir()
    with running(write(folder, port, server.port), port, folder):
        tab = open_tab(Proxied(server, url=f"http://127.0.0.1:{port}"))
        tab.expect_errors("401")
        tab.open("/chat")
        tab.page.get_by_label("Password").fill(PASSWORD)
        tab.page.keyboard.press("Enter")
        tab.ask("what is 17% of 2,340?")
        expect(tab.answer).to_contain_text("397.8")
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/chat/#/default/\S+", tab.page.url)
        tab.page.reload()
        expect(tab.answer).to_contain_text("397.8")
        tab.page.close()  # while there is somebody to ask


# -- without a password ------------------------------------------------------------------------------------------------


WORDS = {
    "en-US": ("DeeChat serves only its own machine", "a program that also serves other machines"),
    "zh-CN": ("DeeChat 只为本机服务", "也为其他机器服务"),
}


@each(BARE[:1])
def test_who_is_refused_is_shown_a_page_that_says_what_to_do(
    front: Front, server: Server, open_tab: OpenTab, tmp_path: Path
) -> None:
    with front.before(server, tmp_path / "front") as client:
        for locale, (title, why) in WORDS.items():
            tab = open_tab(client, locale=locale)
            tab.expect_errors("403")
            tab.open("/")
            expect(tab.page.get_by_role("heading")).to_have_text(title)
            expect(tab.page.locator("main")).to_contain_text(why)
            expect(tab.page.locator("code")).to_contain_text("DEECHAT_PASSWORD=")
            tab.page.close()


def test_the_browser_of_this_machine_is_served(serve: Callable[..., Server], open_tab: OpenTab) -> None:
    server = serve()
    tab = open_tab(server)
    for _ in range(3):
        tab.open().ask("2+3")
        expect(tab.answer).to_contain_text("5")
    assert "refused" not in server.log
