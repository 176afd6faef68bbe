"""The page in a real Chromium: how far a tool is, seen live, after a reload and in a second tab, and its sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import Locator, expect
from server import Server

pytest_plugins = ["browser_fixtures"]


@pytest.fixture
def client(serve: Callable[..., Server], model: ModelServer, tmp_path: Path) -> Client:
    return Client(serve(model=model, app="tooled:app", HOOKS=str(tmp_path)))


@pytest.fixture
def tab(open_tab: OpenTab, client: Client) -> Tab:
    return open_tab(client.server).open()


def progress(tab: Tab) -> Locator:
    return tab.page.locator("dee-tool .tool-progress")


def test_a_card_shows_how_far_its_tool_is_live_after_a_reload_and_in_a_second_tab(
    tab: Tab, open_tab: OpenTab, client: Client, model: ModelServer, tmp_path: Path
) -> None:
    model.script(reply(tool_calls(("walk", {"steps": 4}))), reply(text("Well.")))
    tab.send("Walk")
    expect(progress(tab)).to_have_text("Step 1 of 4")
    bar = progress(tab).get_by_role("progressbar", name="walk")
    expect(bar).to_have_js_property("value", 0.25)
    expect(tab.page.locator("dee-tool details")).not_to_have_attribute("open", "")
    (tmp_path / "step-1").touch()
    expect(progress(tab)).to_have_text("Step 2 of 4")
    expect(bar).to_have_js_property("value", 0.5)
    expect(tab.page.locator("#announcer")).to_have_text("Step 2 of 4")
    tab.page.reload()
    expect(progress(tab)).to_have_text("Step 2 of 4")
    other = open_tab(client.server, beside=tab).beside(tab)
    expect(progress(other)).to_have_text("Step 2 of 4")
    (tmp_path / "go").touch()
    for each in (tab, other):
        expect(each.page.get_by_text("Well.")).to_be_visible()
        expect(progress(each)).to_be_hidden()


def test_the_sources_of_a_tool_stand_in_its_card_live_and_later(
    tab: Tab, client: Client, model: ModelServer, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    model.script(reply(tool_calls(("walk", {}))), reply(text("Well.")))
    tab.send("Walk")
    for look in ("live", "later"):
        if look == "later":
            tab.page.reload()
        card = tab.page.locator("dee-tool")
        expect(tab.page.get_by_text("Well.")).to_be_visible()
        card.locator("summary").click()
        link = card.get_by_role("link", name="The <b>map</b>")
        expect(link).to_have_attribute("href", "https://map.example/")
        expect(card.get_by_role("link")).to_have_count(2)
        expect(card.get_by_role("listitem")).to_have_text(["The <b>map</b>", "Bad", "Way"])
        expect(card.locator("b")).to_have_count(0)


def test_a_stop_takes_the_line_away(tab: Tab, model: ModelServer) -> None:
    model.script(reply(tool_calls(("walk", {}))))
    tab.send("Walk")
    expect(progress(tab)).to_have_text("Step 1 of 3")
    tab.page.get_by_role("button", name="Stop").click()
    expect(tab.page.get_by_text("You stopped this answer.")).to_be_visible()
    expect(progress(tab)).to_be_hidden()
