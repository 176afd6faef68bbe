"""The page in a real Chromium behind a real nginx that passes `Host` without its port, at the top and below a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser_support import OpenTab, expect
from fronts_rig import NGINX, Proxied, nginx_around, running
from model_server import free_port
from server import Server

pytest_plugins = ["browser_fixtures"]

PASSWORD = "open sesame"
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
every_path = pytest.mark.parametrize("path", ["/", "/chat/"])

# With `$host` the port is lost; a line of its own would pass it on.
LINES = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
"""


@contextmanager
def before(server: Server, folder: Path, path: str) -> Iterator[Proxied]:
    port = free_port()
    folder.mkdir()
    place = f"location {path} {{ {LINES} proxy_pass http://127.0.0.1:{server.port}/; }}"
    with running(nginx_around(folder, f"server {{ listen 127.0.0.1:{port}; {place} }}"), port, folder):
        yield Proxied(server, url=f"http://127.0.0.1:{port}")


@needs_nginx
@every_path
def test_a_person_with_the_password_comes_in_and_asks(
    path: str, serve: Callable[..., Server], open_tab: OpenTab, tmp_path: Path
) -> None:
    with before(serve(DEECHAT_PASSWORD=PASSWORD), tmp_path / "front", path) as client:
        tab = open_tab(client)
        tab.expect_errors("401")
        tab.open(path)
        tab.page.get_by_label("Password").fill(PASSWORD)
        tab.page.keyboard.press("Enter")
        tab.ask("what is 17% of 2,340?")
        expect(tab.answer).to_contain_text("397.8")
        tab.page.close()  # while there is somebody to ask


@needs_nginx
@every_path
def test_a_person_at_this_machine_needs_no_password(
    path: str, serve: Callable[..., Server], open_tab: OpenTab, tmp_path: Path
) -> None:
    with before(serve(), tmp_path / "front", path) as client:
        tab = open_tab(client)
        tab.open(path)
        tab.ask("what is 17% of 2,340?")
        expect(tab.answer).to_contain_text("397.8")
        tab.page.reload()
        expect(tab.answer).to_contain_text("397.8")
        tab.page.close()


@needs_nginx
def test_a_page_at_another_port_of_this_machine_is_refused_and_told_of_the_host(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    with before(serve(), tmp_path / "front", "/") as client:
        other = f"http://127.0.0.1:{free_port()}"
        for site in ({}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}):
            refused = client.post("/api/workspace/new", {"name": "No"}, headers={"Origin": other, **site})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
        refused = client.post("/api/workspace/new", {"name": "No"}, headers={"Origin": other})
        words = refused.json()["error"]["message"]
        assert re.search(r"Host is '127\.0\.0\.1'", words)
        assert "proxy_set_header Host $http_host;" in words
