"""The page in a real Chromium, against the real server: what a person does on a good day."""

from __future__ import annotations

import re
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import Answer, reasoning, reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server

from deechat.store.sqlite import checksums

pytest_plugins = ["browser_fixtures"]

Serve = Callable[..., Server]


@pytest.fixture
def tab(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> Tab:
    """A tab on the server that asks `model`."""
    return open_tab(agent_server).open()


# -- an answer ---------------------------------------------------------------------------------------------------------


def test_a_new_user_gets_the_example_answered_through_the_calculator(open_tab: OpenTab, server: Server) -> None:
    tab = open_tab(server).open()
    expect(tab.page.get_by_text("No model is connected.")).to_be_visible()
    tab.button("What is 17% of 2,340?").click()
    tab.wait_done()
    expect(tab.answer).to_contain_text("397.8")
    card = tab.answer.locator("dee-tool")
    expect(card).to_contain_text("calculator")
    card.locator("summary").click()
    expect(card.locator(".tool-body")).to_contain_text("17% of 2,340")
    expect(card.locator(".tool-state")).to_have_text(re.compile(r"^\d+(\.\d)? m?s$"))
    expect(tab.threads).to_have_text(["What is 17% of 2,340?"])


def test_an_answer_streams_and_tells_model_and_time(tab: Tab, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Hello **dear"), gate, text(" friend**."), tokens=(5, 7)))
    tab.send("Say hello")
    expect(tab.prompts).to_have_text(["Say hello"])
    expect(tab.answer.locator("dee-text")).to_have_text("Hello **dear")
    expect(tab.button("Stop")).to_be_visible()
    expect(tab.button("Send")).to_be_hidden()
    expect(tab.field).to_have_value("")
    gate.release()
    tab.wait_done()
    expect(tab.answer.locator("dee-text strong")).to_have_text("dear friend")
    expect(tab.answer.locator(".facts")).to_have_text(re.compile(r"fake-1\s*\d"))
    expect(tab.button("Send")).to_be_visible()


def test_reasoning_is_folded_and_tools_and_text_stand_in_their_order(tab: Tab, model: ModelServer) -> None:
    model.script(
        reply(reasoning("First I add."), text("Let me add. "), tool_calls(("calculator", {"expression": "1+1"}))),
        reply(text("It is 2.")),
    )
    tab.ask("Add")
    kinds = "nodes => nodes.map(node => node.localName)"
    order = ["dee-reasoning", "dee-text", "dee-tool", "dee-text"]
    assert tab.answer.locator(".parts > *").evaluate_all(kinds) == order
    thoughts = tab.answer.get_by_text("First I add.")
    expect(thoughts).to_be_hidden()
    tab.answer.get_by_text("Thought process").click()
    expect(thoughts).to_be_visible()
    tab.page.reload()
    tab.wait_done()
    expect(tab.answer.locator(".parts > *")).to_have_count(4)
    assert tab.answer.locator(".parts > *").evaluate_all(kinds) == order


def test_a_tool_that_fails_says_so_on_its_card(tab: Tab, model: ModelServer) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "1/0"}))), reply(text("That has no answer.")))
    tab.ask("Divide")
    expect(tab.answer.locator("dee-tool")).to_have_attribute("data-state", "error")
    expect(tab.answer.locator(".tool-state")).to_contain_text("failed")


def test_the_status_line_says_what_the_agent_does(tab: Tab, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(gate, text("Here.")))
    tab.send("Wait")
    expect(tab.answer.locator(".status")).to_have_text("Asking fake-1 …")
    expect(tab.page.locator("#announcer")).to_have_text("Asking fake-1 …")
    gate.release()
    tab.wait_done()
    expect(tab.answer.locator(".status")).to_be_hidden()
    expect(tab.page.locator("#announcer")).to_have_text("The answer is complete.")


# -- stop --------------------------------------------------------------------------------------------------------------


def test_stop_before_the_first_word(tab: Tab, model: ModelServer) -> None:
    model.script(reply(model.gate(), text("never")))
    tab.send("Wait")
    assert model.wait_asked()
    tab.button("Stop").click()
    tab.wait_done()
    expect(tab.answer.get_by_text("You stopped this answer.")).to_be_visible()
    assert model.wait_closed()


def test_stop_keeps_the_text_and_the_next_turn_knows_it(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("Once upon a time"), model.gate()), "The end.")
    tab.send("Tell")
    expect(tab.answer).to_contain_text("Once upon a time")
    tab.button("Stop").click()
    tab.wait_done()
    expect(tab.answer).to_contain_text("Once upon a time")
    expect(tab.field).to_be_focused()
    tab.ask("Go on")
    expect(tab.answer).to_contain_text("The end.")
    assert "Once upon a time" in str(model.asked[-1]["messages"])


# -- coming back -------------------------------------------------------------------------------------------------------


def test_a_reload_mid_answer_comes_back_to_it(tab: Tab, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(reasoning("Hm. "), text("The first half, "), gate, text("the second half.")))
    tab.send("Both halves")
    expect(tab.answer).to_contain_text("The first half,")
    tab.page.reload()
    expect(tab.answer).to_contain_text("The first half,")
    expect(tab.prompts).to_have_text(["Both halves"])
    expect(tab.button("Stop")).to_be_visible()
    gate.release()
    tab.wait_done()
    expect(tab.answer).to_contain_text("The first half, the second half.")
    live = tab.picture()
    tab.page.reload()
    tab.wait_done()
    assert tab.picture() == live


def test_a_second_tab_joins_the_live_answer_by_itself(tab: Tab, model: ModelServer, open_tab: OpenTab) -> None:
    model.script("First answer.")
    tab.ask("First")
    beside = open_tab(tab.server, beside=tab)
    beside.page.goto(tab.page.url)
    elsewhere = open_tab(tab.server)  # another browser: no message from tab to tab reaches it
    elsewhere.page.goto(tab.page.url)
    for other in (beside, elsewhere):
        expect(other.answer).to_contain_text("First answer.")
    gate = model.gate()
    model.script(reply(text("Second"), gate, text(" answer.")))
    tab.send("Second")
    expect(beside.answers).to_have_count(2)
    expect(beside.answer).to_contain_text("Second")
    elsewhere.come_back()
    expect(elsewhere.answer).to_contain_text("Second")
    expect(elsewhere.button("Stop")).to_be_visible()
    gate.release()
    for one in (tab, beside, elsewhere):
        one.wait_done()
        expect(one.answer).to_contain_text("Second answer.")
    assert tab.picture() == beside.picture() == elsewhere.picture()


def test_a_stop_in_one_tab_is_seen_in_the_other(tab: Tab, model: ModelServer, open_tab: OpenTab) -> None:
    model.script(reply(text("Some words"), model.gate()))
    tab.send("Talk")
    expect(tab.answer).to_contain_text("Some words")
    other = open_tab(tab.server)
    other.page.goto(tab.page.url)
    expect(other.answer).to_contain_text("Some words")
    other.button("Stop").click()
    for one in (tab, other):
        one.wait_done()
        expect(one.answer.get_by_text("You stopped this answer.")).to_be_visible()


def test_a_draft_survives_a_reload_and_belongs_to_its_thread(tab: Tab, model: ModelServer) -> None:
    model.script("Yes.")
    tab.ask("First")
    tab.field.fill("half a thou")
    tab.page.reload()
    expect(tab.field).to_have_value("half a thou")
    tab.button("New chat").click()
    expect(tab.field).to_have_value("")
    tab.threads.first.get_by_role("link").click()
    expect(tab.field).to_have_value("half a thou")


def test_the_title_tells_that_an_answer_is_done_while_nobody_looks(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server)
    tab.with_clock().open()
    gate = model.gate()
    model.script(reply(gate, text("Done.")))
    tab.send("A long one")
    expect(tab.page).to_have_title("… A long one · DeeChat")
    tab.hide()
    gate.release()
    expect(tab.page).to_have_title("✓ A long one · DeeChat")
    tab.hide(False)
    expect(tab.page).to_have_title("A long one · DeeChat")


# -- threads and settings ----------------------------------------------------------------------------------------------


def test_chats_are_named_renamed_and_deleted(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    tab = open_tab(serve(model)).open()
    model.answer = lambda _question: "Fine."
    tab.ask("Alpha")
    tab.button("New chat").click()
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    tab.ask("Beta")
    expect(tab.threads.get_by_role("link")).to_have_text(["Beta", "Alpha"])
    expect(tab.threads.first.get_by_role("link")).to_have_attribute("aria-current", "page")

    tab.threads.nth(1).hover()
    tab.button("Rename “Alpha”").click()
    name = tab.page.get_by_role("textbox", name="Name of the chat")
    name.fill("Gamma")
    name.press("Enter")
    expect(tab.threads.get_by_role("link")).to_have_text(["Beta", "Gamma"])

    tab.threads.nth(0).hover()
    tab.button("Delete “Beta”").click()
    tab.button("Cancel").click()
    expect(tab.threads).to_have_count(2)
    tab.threads.nth(0).hover()
    tab.button("Delete “Beta”").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tab.threads.get_by_role("link")).to_have_text(["Gamma"])
    expect(tab.page).to_have_url(re.compile(r"#/default$"))
    tab.page.reload()
    expect(tab.threads.get_by_role("link")).to_have_text(["Gamma"])


def test_older_chats_come_when_they_are_wanted_and_an_old_one_that_is_open_is_named(
    open_tab: OpenTab, serve: Serve
) -> None:
    server = serve()
    with closing(sqlite3.connect(server.database)) as connection:
        connection.executemany(
            "INSERT INTO thread (id, workspace_id, slug, name, created_at, updated_at)"
            " SELECT ?, id, ?, ?, 1, ? FROM workspace",
            [(str(uuid.uuid4()), f"t{each}", f"Chat {each}", float(each)) for each in range(1, 131)],
        )
        checksums.fill(connection)
        connection.commit()
    tab = open_tab(server).open("/#/default/t2")
    expect(tab.threads).to_have_count(61)
    expect(tab.threads.last.get_by_role("link")).to_have_attribute("aria-current", "page")
    expect(tab.page).to_have_title(re.compile("Chat 2 "))
    tab.button("Show more chats").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.threads).to_have_count(121)
    expect(tab.button("Show more chats")).to_be_focused()
    tab.ask("hi")  # moves it to the top, and the pages stay
    expect(tab.threads.first.get_by_role("link")).to_have_text("Chat 2")
    expect(tab.threads).to_have_count(121)
    tab.button("Show more chats").click()
    expect(tab.threads).to_have_count(130)
    expect(tab.button("Show more chats")).to_have_count(0)
    expect(tab.threads.last.get_by_role("link")).to_be_focused()
    assert tab.threads.get_by_role("link").all_inner_texts() == [
        "Chat 2", *(f"Chat {each}" for each in range(130, 2, -1)), "Chat 1"
    ]  # fmt: skip


def test_an_answer_that_is_cut_at_the_limit_says_so_and_goes_on(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    tab = open_tab(serve(model)).open()
    model.script(reply(text("Once upon a"), finish="length"), " time.")
    tab.ask("A story")
    cut = tab.page.get_by_text("The answer reached its limit of tokens")
    expect(cut).to_be_visible()
    expect(tab.button("Try again")).to_be_hidden()
    tab.page.reload()
    expect(cut).to_be_visible()
    tab.button("Continue").click()
    expect(tab.page.locator("dee-answer").last).to_contain_text("time.")
    expect(tab.button("Continue")).to_be_hidden()
    expect(cut).to_have_count(1)


@pytest.mark.parametrize(
    ("case", "goes_on"),
    [
        ((reply(reasoning("Let me see.")), "The model ended its turn without saying anything more."), False),
        ((reply(reasoning("Let me"), finish="length"), "was used up before the answer began."), False),
        ((reply(finish="content_filter"), "The model's provider filtered this answer"), False),
        ((reply("We the", finish="content_filter"), "The model's provider filtered this answer"), True),
        ((reply(), "it ended without saying anything"), False),
    ],
    ids=["all thought", "all thought, cut", "filtered", "filtered in the midst", "nothing"],
)
def test_an_answer_that_lacks_something_says_so_and_can_be_asked_for_again(
    open_tab: OpenTab, serve: Serve, model: ModelServer, case: tuple[Answer, str], goes_on: bool
) -> None:
    answer, remark = case
    tab = open_tab(serve(model)).open()
    model.script(answer, "It is 42.")
    tab.ask("What is 6*7?")
    for _ in ("live", "from the history"):
        expect(tab.page.get_by_text(remark)).to_be_visible()
        expect(tab.button("Try again")).to_be_visible()
        expect(tab.button("Continue")).to_have_count(int(goes_on))
        tab.page.reload()
    tab.button("Try again").click()
    expect(tab.page.locator("dee-answer").last).to_contain_text("It is 42.")
    expect(tab.page.get_by_text(remark)).to_have_count(0)
    expect(tab.button("Try again")).to_have_count(0)


def test_the_settings_of_the_workspace_reach_the_model(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    tab = open_tab(serve(model)).open()
    tab.button("fake-1").click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Pirates")
    dialog.get_by_label("Instructions").fill("Talk like a pirate.")
    dialog.get_by_label("Mode", exact=True).select_option("chat")
    dialog.get_by_label("Temperature").fill("0.3")
    dialog.get_by_label("Longest answer").fill("700")
    dialog.get_by_label("Context, in tokens").fill("9000")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(tab.page.locator(".workspace-name")).to_have_text("Pirates")
    model.script("Arr.")
    tab.ask("Hello")
    asked = model.asked[-1]
    assert "Talk like a pirate." in str(asked["messages"][0])
    assert asked["temperature"] == 0.3
    assert asked["max_tokens"] == 700
    assert Client(tab.server).get("/api/workspace/default")["workspace"]["context"] == 9000
    assert not asked.get("tools")

    tab.page.get_by_role("button", name="Workspace settings").first.click()
    dialog.get_by_role("button", name="New workspace").click()
    switcher = tab.page.get_by_role("combobox", name="Workspace")
    expect(switcher).to_be_visible()
    expect(tab.threads).to_have_count(0)
    switcher.select_option(label="Pirates")
    expect(tab.threads.get_by_role("link")).to_have_text(["Hello"])


def test_a_summary_is_a_thin_line_that_opens(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    tab = open_tab(serve(model, DEECHAT_CONTEXT="6000")).open()
    summarizes = lambda question: "Summarize" in question["messages"][0]["content"]  # noqa: E731
    model.answer = lambda question: "They **spoke** of tea." if summarizes(question) else "Well."
    for number in range(3):
        tab.ask(f"{number}: " + "notes of the day " * 350)
        tab.wait_done()
    for _ in range(2):
        line = tab.answer.locator("dee-summary summary")
        expect(line).to_have_text("Earlier messages, summarized for the model")
        text = tab.answer.get_by_text("They **spoke** of tea.")
        expect(text).to_be_hidden()
        line.click()
        expect(text).to_be_visible()
        tab.page.reload()
        tab.wait_done()


def test_code_and_answers_can_be_copied(tab: Tab, model: ModelServer) -> None:
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = "Run this:\n\n```sh\nmake run\n```"
    model.script(answer)
    tab.ask("How?")
    read = "navigator.clipboard.readText()"
    tab.button("Copy the code").click()
    expect(tab.page.locator("#announcer")).to_have_text("Copied")
    assert tab.page.evaluate(read) == "make run"
    tab.button("Copy the answer").click()
    expect(tab.button("Copy the answer")).to_have_class(re.compile("done"))
    assert tab.page.evaluate(read) == answer


def test_an_earlier_part_of_a_long_thread_is_one_click_away(tab: Tab, model: ModelServer) -> None:
    model.answer = lambda _question: "Fine."
    client = Client(tab.server).new_thread()
    for number in range(35):
        client.ask(f"question {number}")
    tab.open(f"/#/default/{client.thread}")
    expect(tab.prompts).to_have_count(30)
    tab.button("Show earlier messages").click()
    expect(tab.prompts).to_have_count(35)
    expect(tab.button("Show earlier messages")).to_be_hidden()
    expect(tab.prompts.first).to_have_text("question 0")


# -- scrolling and typing ----------------------------------------------------------------------------------------------


def test_the_list_follows_the_answer_until_the_reader_scrolls_up(tab: Tab, model: ModelServer) -> None:
    first, second, third = model.gate(), model.gate(), model.gate()
    lines = "".join(f"Line {number} of the answer.\n\n" for number in range(40))
    model.script(reply(text(lines), first, text(lines), second, text(lines), third, text("The end.")))
    tab.send("Much")
    distance = "node => node.scrollHeight - node.scrollTop - node.clientHeight"
    scroller = tab.page.locator(".scroller")
    paragraphs = tab.answer.locator("dee-text p")
    expect(paragraphs).to_have_count(40)
    first.release()
    expect(paragraphs).to_have_count(80)
    tab.page.wait_for_timeout(100)
    assert scroller.evaluate(distance) < 2
    scroller.hover()
    tab.page.mouse.wheel(0, -600)
    expect(tab.button("Jump to the latest")).to_be_visible()
    before = scroller.evaluate("node => node.scrollTop")
    second.release()
    expect(paragraphs).to_have_count(120)
    tab.page.wait_for_timeout(100)
    assert scroller.evaluate("node => node.scrollTop") == before
    tab.button("Jump to the latest").click()
    third.release()
    expect(tab.answer).to_contain_text("The end.")
    tab.wait_done()
    tab.page.wait_for_timeout(100)
    assert scroller.evaluate(distance) < 2
    expect(tab.button("Jump to the latest")).to_be_hidden()


def test_enter_sends_shift_enter_does_not_and_an_input_method_is_left_alone(tab: Tab, model: ModelServer) -> None:
    model.script("Good.")
    tab.field.click()
    tab.page.keyboard.type("one")
    tab.page.keyboard.press("Shift+Enter")
    tab.page.keyboard.type("two")
    expect(tab.field).to_have_value("one\ntwo")
    tab.field.evaluate(
        """node => {
            for (const extra of [{ isComposing: true }, { keyCode: 229 }]) {
                const options = { key: 'Enter', bubbles: true, cancelable: true, ...extra };
                node.dispatchEvent(new KeyboardEvent('keydown', options));
            }
        }"""
    )
    expect(tab.prompts).to_have_count(0)
    tab.page.keyboard.press("Enter")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["one\ntwo"])
