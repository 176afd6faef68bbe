"""The page in a real Chromium: what "always" holds for, and the settings that take it back, for tools with scopes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import reply, tool_calls
from model_server import ModelServer
from playwright.sync_api import Locator, expect
from server import Server

pytest_plugins = ["browser_fixtures"]

UPDATE = "/api/workspace/default/update"


@pytest.fixture
def client(serve: Callable[..., Server], model: ModelServer, tmp_path: Path) -> Client:
    """A client of a server of its own, with two tools that have scopes beside `web_fetch`."""
    return Client(serve(model=model, app="tooled:app", HOOKS=str(tmp_path)))


@pytest.fixture
def tab(open_tab: OpenTab, client: Client) -> Tab:
    return open_tab(client.server).open()


def update(client: Client, **fields: Any) -> None:
    assert client.post(UPDATE, fields).status_code == 200


def allowed(client: Client) -> dict[str, list[str]]:
    tools = client.get("/api/workspace/default/tools")["tools"]
    return {each["name"]: each["allowed"] for each in tools if each.get("allowed")}


def opened(tab: Tab) -> Locator:
    """Opens the settings, and returns the dialog once it shows the tools."""
    tab.page.get_by_role("button", name="Workspace settings").first.click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog.get_by_role("combobox", name="read_folder")).to_be_visible()
    return dialog


def save(dialog: Locator) -> None:
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()


def test_always_on_a_card_lands_in_the_list_of_its_tool_and_says_for_what(
    tab: Tab, client: Client, model: ModelServer
) -> None:
    update(client, allowed={"call_number": ["110"]})
    for tool, arguments, words in [
        ("read_folder", {"folder": "/home"}, "“Always” holds for this folder in this workspace, not for every use of"),
        ("call_number", {"number": "112"}, "“Always” holds for this scope in this workspace, not for every use of"),
    ]:
        model.script(reply(tool_calls((tool, arguments))), "Done.")
        tab.send("Go")
        expect(tab.card.locator(".hint")).to_contain_text(words)
        tab.card.get_by_role("button", name="Always allow").click()
        tab.wait_done()
    assert allowed(client) == {"read_folder": ["/home"], "call_number": ["110", "112"]}


def test_a_card_of_a_tool_without_scopes_says_that_always_is_every_use(
    tab: Tab, client: Client, model: ModelServer
) -> None:
    update(client, policies={"calculator": "ask"})
    model.script(reply(tool_calls(("calculator", {"expression": "1+1"}))), "Done.")
    tab.send("Go")
    expect(tab.card.locator(".hint")).to_have_text("“Always” holds for every use of calculator in this workspace.")
    tab.card.get_by_role("button", name="Refuse").click()
    tab.wait_done()


def test_scopes_stand_with_their_tool_and_are_taken_back_one_by_one(tab: Tab, client: Client) -> None:
    hosts = ["docs.python.org", "example.org"]
    update(client, allowed={"web_fetch": hosts, "read_folder": ["/etc", "/home"]})
    dialog = opened(tab)
    for name, word, scopes in [("web_fetch", "host", hosts), ("read_folder", "folder", ["/etc", "/home"])]:
        scope_list = dialog.get_by_role("list", name=f"{name}: Needs no question any more for this {word}")
        expect(scope_list.get_by_role("listitem")).to_have_text(scopes)
    expect(dialog.get_by_text("No scope is allowed for good.")).to_be_visible()
    dialog.get_by_role("button", name="Ask for docs.python.org again").click()
    expect(dialog.get_by_role("button", name="Ask for example.org again")).to_be_focused()
    dialog.get_by_role("button", name="Ask for /home again").click()
    save(dialog)
    assert tab.posts[-1].post_data_json == {"revoked": {"web_fetch": ["docs.python.org"], "read_folder": ["/home"]}}
    assert allowed(client) == {"web_fetch": ["example.org"], "read_folder": ["/etc"]}


def test_two_pages_that_save_at_once_undo_nothing_of_each_other(open_tab: OpenTab, tab: Tab, client: Client) -> None:
    update(client, allowed={"web_fetch": ["a.example", "b.example"]}, policies={"pay": "ask"}, systemPrompt="Old.")
    other = open_tab(client.server).open()
    first, second = opened(tab), opened(other)
    first.get_by_role("combobox", name="pay", exact=True).select_option("deny")
    first.get_by_role("button", name="Ask for a.example again").click()
    first.get_by_role("textbox", name="Instructions").fill("New.")
    save(first)
    second.get_by_role("combobox", name="look", exact=True).select_option("ask")
    second.get_by_role("button", name="Ask for b.example again").click()
    second.get_by_role("spinbutton", name="Temperature").fill("0.5")
    save(second)
    workspace = client.get("/api/workspace/default")["workspace"]
    assert workspace["tools"] == {"pay": "deny", "look": "ask"}
    assert (workspace["systemPrompt"], workspace["temperature"]) == ("New.", 0.5)
    assert allowed(client) == {}


def test_what_was_allowed_while_the_settings_were_open_stays(tab: Tab, client: Client) -> None:
    update(client, allowed={"read_folder": ["/etc"]})
    dialog = opened(tab)
    update(client, allowed={"read_folder": ["/etc", "/home"]})  # as by a card in another tab
    dialog.get_by_role("button", name="Ask for /etc again").click()
    save(dialog)
    assert allowed(client) == {"read_folder": ["/home"]}
