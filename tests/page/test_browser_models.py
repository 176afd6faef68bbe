"""The page in a real Chromium: which model answers is shown, also when that has changed, and loops end in words."""

from __future__ import annotations

from collections.abc import Callable

from browser_support import OpenTab
from client import Client
from local_rig import finding, until
from model_server import ModelServer, reply, text
from playwright.sync_api import expect
from server import Server

pytest_plugins = ["browser_fixtures"]

Serve = Callable[..., Server]


def test_the_pill_and_the_answer_name_who_answers_when_the_model_server_changes(
    open_tab: OpenTab, serve: Serve
) -> None:
    with ModelServer("first-1") as first, ModelServer("second-1") as second:
        client: Client = finding(serve, first, second)
        client.post("/api/workspace/default/update", {"model": "first-1"})
        tab = open_tab(client.server).open()
        pill = tab.page.locator("button.chip")
        expect(pill).to_have_text("first-1")
        first.end()
        second.script("Second here.")
        tab.ask("Still there?")
        expect(tab.answer).to_contain_text("Second here.")
        expect(tab.answer.locator(".model-name")).to_have_text("second-1")
        expect(pill).to_have_text("second-1")
        second.end()
        tab.send("Anyone?")
        expect(tab.answer.locator(".failure")).to_contain_text("no longer answers; no other one runs here")
        expect(pill).to_have_text("offline")
        first.listen()
        until(lambda: client.get("/api/models")["current"] == "first-1")
        first.script("Back.")
        tab.button("Try again").click()
        expect(tab.answer).to_contain_text("Back.")
        expect(pill).to_have_text("first-1")


def test_an_answer_that_goes_round_in_circles_says_so_and_goes_on(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    tab = open_tab(serve(model)).open()
    model.script(reply(text("Well. " + "And once more the same sentence. " * 90, size=30), model.gate()), "The end.")
    tab.send("Go")
    expect(tab.answer.locator(".failure")).to_contain_text("The model kept repeating itself")
    expect(tab.answer.locator(".failure")).to_contain_text("the same 33 characters")
    tab.button("Continue").click()
    expect(tab.answer).to_contain_text("The end.")
