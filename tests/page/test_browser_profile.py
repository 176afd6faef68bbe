"""The page in a real Chromium: what was learnt of a model stands beside it in the settings, and a click forgets it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browser_support import OpenTab, artifact
from model_server import ModelServer, reply, text
from playwright.sync_api import expect
from server import Server
from strict_server import no_system, strict

pytest_plugins = ["browser_fixtures"]

Serve = Callable[..., Server]


def test_what_was_learnt_is_shown_with_its_time_and_forgotten_by_a_click(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    refusals: list[str] = []
    model.answer = strict(lambda _: reply(text("Hello.")), no_system, refusals=refusals)
    tab = open_tab(serve(model)).open()
    tab.ask("Hello")
    tab.ask("Again")
    assert len(refusals) == 1
    tab.page.locator("button.chip").click()
    habit = tab.page.locator("dee-profile li")
    expect(habit).to_have_text(re.compile(r"^takes no system role; learnt \d\d:\d\d$"))
    tab.button("Forget: takes no system role").click()
    expect(tab.page.locator("dee-profile")).to_be_hidden()
    tab.button("Cancel").click()
    tab.ask("And now?")
    assert len(refusals) == 2


def test_what_is_known_of_a_family_is_shown_for_its_models_alone_and_stays(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    model.models = ["plain-1", "gemma-2-9b-it"]
    try:
        tab = open_tab(serve(model), locale="zh-CN").open()
        tab.page.locator("button.chip").click()
        expect(tab.page.locator("dee-profile")).to_be_hidden()
        tab.page.locator("#set-model").select_option("gemma-2-9b-it")
        expect(tab.page.locator("dee-profile li")).to_have_text("不接受系统角色")
        expect(tab.page.locator("dee-profile button")).to_have_count(0)
        tab.page.locator("#set-model").select_option("")
        expect(tab.page.locator("dee-profile")).to_be_hidden()
    finally:
        model.models = ["fake-1"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_habits_fit_the_dialog(
    open_tab: OpenTab, serve: Serve, model: ModelServer, width: int, scheme: str
) -> None:
    model.answer = strict(
        lambda _: reply(text("Hello.")),
        no_system,
        lambda body: "stream_options: unknown" if "stream_options" in body else None,
    )
    tab = open_tab(serve(model), viewport={"width": width, "height": 800}, color_scheme=scheme).open()
    tab.ask("Hello")
    tab.page.locator("button.chip").click()
    expect(tab.page.locator("dee-profile li")).to_have_count(2)
    dialog = tab.page.locator("dialog.settings")
    assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")
    dialog.screenshot(path=artifact(f"profile-{width}-{scheme}.png"))
