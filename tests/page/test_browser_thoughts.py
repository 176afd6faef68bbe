"""Thinking in a real Chromium: in its place while it comes, after a reload and in a second tab."""

from __future__ import annotations

import pytest
from browser_support import OpenTab, Tab
from model_server import ModelServer, reasoning, reply, text
from playwright.sync_api import expect
from server import Server

pytest_plugins = ["browser_fixtures"]


@pytest.fixture
def tab(open_tab: OpenTab, agent_server: Server) -> Tab:
    return open_tab(agent_server).open()


def test_text_that_turns_out_to_be_thinking_moves_to_the_thought_process(
    tab: Tab, open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    gate, second = model.gate(), model.gate()
    model.script(reply(text("The user wants 6*7."), gate, text("\n</think>\n\nIt is ", size=4), second, text("42.")))
    tab.send("What is 6*7?")
    expect(tab.answer.locator("dee-text")).to_have_text("The user wants 6*7.")
    gate.release()
    expect(tab.answer.locator("dee-text")).to_have_text("It is")
    expect(tab.answer.locator(".status")).to_have_text("Writing …")
    other = open_tab(agent_server).beside(tab)
    expect(other.answer.locator("dee-text")).to_have_text("It is")
    second.release()
    for each in (tab, other):
        each.wait_done()
        expect(each.answer.locator("dee-text")).to_have_text("It is 42.")
        expect(each.answer.locator("dee-reasoning")).to_have_count(1)
        expect(each.answer.locator("dee-reasoning")).to_contain_text("The user wants 6*7.")
    tab.page.reload()
    tab.wait_done()
    expect(tab.answer.locator("dee-text")).to_have_text("It is 42.")
    expect(tab.answer.locator("dee-reasoning")).to_contain_text("The user wants 6*7.")


def test_an_answer_behind_a_tag_that_is_never_closed_ends_as_an_answer(tab: Tab, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("<think>Hello! "), gate, text("How are you?")))
    tab.send("Hello")
    expect(tab.answer.locator("dee-reasoning")).to_contain_text("Hello!")
    gate.release()
    tab.wait_done()
    expect(tab.answer.locator("dee-text")).to_have_text("<think>Hello! How are you?")
    expect(tab.answer.locator("dee-reasoning")).to_have_count(0)
    tab.page.reload()
    tab.wait_done()
    expect(tab.answer.locator("dee-text")).to_have_text("<think>Hello! How are you?")
    expect(tab.answer.locator("dee-reasoning")).to_have_count(0)


def test_thoughts_of_white_space_are_no_thought_process(tab: Tab, model: ModelServer) -> None:
    model.script(reply(reasoning("\n\n"), text("First.")), reply(text("<think>\n\n</think>\n\nSecond.", size=3)))
    tab.ask("One")
    tab.ask("Two")
    expect(tab.answer.locator("dee-text")).to_have_text("Second.")
    expect(tab.page.locator("dee-reasoning")).to_have_count(0)
