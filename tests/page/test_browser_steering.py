"""The page in a real Chromium: messages to a run that is going, messages for after it, and going on with an answer."""

from __future__ import annotations

import json
import re

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import reply, status, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import Route, expect
from server import Server

pytest_plugins = ["browser_fixtures"]


@pytest.fixture
def tab(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> Tab:
    """A tab on the server that asks `model`."""
    return open_tab(agent_server).open()


def said(model: ModelServer) -> list[str]:
    """What the person said, as the model was told at last."""
    return [str(each["content"]) for each in model.asked[-1]["messages"] if each["role"] == "user"]


def queue(tab: Tab, *messages: str) -> None:
    tab.page.get_by_text("Queue for after").click()
    for message in messages:
        tab.send(message)


# -- steering ----------------------------------------------------------------------------------------------------------


def test_a_message_joins_the_run_that_is_going(tab: Tab, model: ModelServer) -> None:
    gate = model.gate()
    model.script(reply(text("Working."), gate), "Faster now.")
    tab.send("Work")
    expect(tab.answer).to_contain_text("Working.")
    expect(tab.field).to_have_attribute("placeholder", "Add to this answer …")
    tab.send("Faster, please")
    expect(tab.field).to_have_value("")
    steered = tab.answer.locator(".steered")
    expect(steered).to_contain_text("Faster, please")
    expect(tab.button("Stop")).to_be_visible()
    gate.release()
    expect(tab.answer).to_contain_text("Faster now.")
    tab.wait_done()
    expect(steered).to_have_count(1)
    expect(steered).to_contain_text("Added while the agent was working")
    assert "Faster, please" in said(model)
    expect(tab.prompts).to_have_text(["Work"])
    tab.page.reload()
    tab.wait_done()
    expect(steered).to_have_count(1)


def test_a_message_to_a_waiting_run_is_read_with_the_answer(tab: Tab, model: ModelServer) -> None:
    model.script(reply(tool_calls(("ask_user", {"questions": [{"question": "Who?"}]}))), "Thank you.")
    tab.send("Ask")
    expect(tab.card).to_be_visible()
    expect(tab.field).to_have_attribute("placeholder", "Add to this answer …")
    tab.card.get_by_role("textbox", name="Who?").fill("half")
    tab.send("And be brief")
    expect(tab.answer.locator(".steered")).to_contain_text("And be brief")
    expect(tab.card.get_by_role("textbox", name="Who?")).to_have_value("half")
    tab.card.get_by_role("button", name="Send").click()
    tab.wait_done()
    assert "And be brief" in said(model)


def test_a_message_that_comes_too_late_is_sent_as_the_next_one(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("409")
    gate = model.gate()
    model.script(reply(text("Almost."), gate), "Late, but read.")
    tab.send("Work")
    expect(tab.answer).to_contain_text("Almost.")
    body = json.dumps({"error": {"code": "run_ended", "message": "The run has ended."}})
    tab.page.route("**/steer", lambda route: route.fulfill(status=409, content_type="application/json", body=body))
    tab.send("One more thing")
    expect(tab.queued).to_have_text(["One more thing"])
    gate.release()
    expect(tab.answer).to_contain_text("Late, but read.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["Work", "One more thing"])
    expect(tab.queued).to_have_count(0)


def test_a_message_that_cannot_be_sent_is_given_back(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("net::ERR_")
    gate = model.gate()
    model.script(reply(text("Working."), gate))
    tab.send("Work")
    expect(tab.answer).to_contain_text("Working.")
    tab.page.route("**/steer", lambda route: route.abort())
    tab.send("Do not lose this")
    expect(tab.page.get_by_role("alert").filter(has_text="The server cannot be reached.")).to_be_visible()
    expect(tab.field).to_have_value("Do not lose this")
    expect(tab.answer.locator(".steered")).to_have_count(0)
    gate.release()
    tab.wait_done()


def test_stop_can_be_said_in_words(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("On and on"), model.gate()))
    tab.send("Talk")
    expect(tab.answer).to_contain_text("On and on")
    queue(tab, "/stop")
    tab.wait_done()
    expect(tab.answer).to_contain_text("You stopped this answer.")
    expect(tab.queued).to_have_count(0)


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_queued_messages_are_sent_one_after_another(tab: Tab, model: ModelServer) -> None:
    gate, second = model.gate(), model.gate()
    model.script(reply(text("One."), gate), reply(text("Two."), second), "Three.")
    tab.send("First")
    expect(tab.answer).to_contain_text("One.")
    queue(tab, "Second", "Typo", "Thrid")
    expect(tab.queued).to_have_text(["Second", "Typo", "Thrid"])
    expect(tab.page.get_by_text("Sent when the answer is complete")).to_be_visible()
    tab.button("Remove the queued message").nth(1).click()
    tab.button("Edit the queued message").nth(1).click()
    tab.page.get_by_role("textbox", name="Edit the queued message").fill("Third")
    tab.page.keyboard.press("Enter")
    expect(tab.queued).to_have_text(["Second", "Third"])
    tab.page.reload()  # which of both Enter does is remembered, and so is the queue
    expect(tab.queued).to_have_text(["Second", "Third"])
    expect(tab.page.get_by_role("radio", name="Queue for after")).to_be_checked()
    gate.release()
    expect(tab.answer).to_contain_text("Two.")
    expect(tab.queued).to_have_text(["Third"])
    second.release()
    expect(tab.answer).to_contain_text("Three.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["First", "Second", "Third"])
    expect(tab.queued).to_have_count(0)
    assert tab.page.evaluate("Object.keys(localStorage).filter(key => key.includes('queue:'))") == []


def test_of_two_tabs_only_one_sends_what_is_queued(tab: Tab, model: ModelServer, open_tab: OpenTab) -> None:
    tab.expect_errors("409")
    gate, second = model.gate(), model.gate()
    model.script(reply(text("One."), gate), reply(text("Two."), second), "Three.")
    tab.send("First")
    expect(tab.answer).to_contain_text("One.")
    queue(tab, "Second", "Third")
    other = open_tab(tab.server, beside=tab).beside(tab)
    other.expect_errors("409")
    expect(other.queued).to_have_text(["Second", "Third"])
    gate.release()
    for each in (tab, other):
        expect(each.answer).to_contain_text("Two.")
        expect(each.queued).to_have_text(["Third"])
    second.release()
    for each in (tab, other):
        expect(each.answer).to_contain_text("Three.")
        each.wait_done()
        expect(each.prompts).to_have_text(["First", "Second", "Third"])
        expect(each.queued).to_have_count(0)
    assert len(model.asked) == 3


def test_after_a_stop_the_queue_waits_for_the_person(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("On and on"), model.gate()), "Here I am.")
    tab.send("Talk")
    expect(tab.answer).to_contain_text("On and on")
    queue(tab, "Then this")
    tab.button("Stop").click()
    tab.wait_done()
    expect(tab.page.get_by_text("Not sent: the answer above is not complete")).to_be_visible()
    tab.page.reload()
    expect(tab.queued).to_have_text(["Then this"])
    tab.page.wait_for_timeout(300)
    expect(tab.prompts).to_have_text(["Talk"])
    tab.button("Send now").click()
    expect(tab.answer).to_contain_text("Here I am.")
    tab.wait_done()
    expect(tab.queued).to_have_count(0)


def test_a_queued_message_that_is_refused_waits(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("503")
    gate = model.gate()
    model.script(reply(text("One."), gate), "Two.")
    tab.send("First")
    expect(tab.answer).to_contain_text("One.")
    queue(tab, "Second")
    body = json.dumps({"error": {"code": "busy", "message": "Too busy just now."}})

    def refuse(route: Route) -> None:
        route.fulfill(status=503, content_type="application/json", body=body)

    tab.page.route("**/stream-chat", refuse)
    gate.release()
    expect(tab.page.get_by_role("alert").filter(has_text="Too busy just now.")).to_be_visible()
    expect(tab.queued).to_have_text(["Second"])
    tab.page.unroute("**/stream-chat")
    tab.button("Send now").click()
    expect(tab.answer).to_contain_text("Two.")
    tab.wait_done()


# -- going on ----------------------------------------------------------------------------------------------------------


def test_a_stopped_answer_is_continued(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("Once upon a time"), model.gate()), " there was an end.", "Bye.")
    tab.send("Tell")
    expect(tab.answer).to_contain_text("Once upon a time")
    tab.button("Stop").click()
    tab.wait_done()
    tab.button("Continue").click()
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_contain_text("there was an end.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["Tell"])
    expect(tab.button("Continue")).to_have_count(0)
    assert "Once upon a time" in str(model.asked[-1]["messages"])
    seen = tab.picture()
    tab.page.reload()
    expect(tab.answers).to_have_count(2)
    tab.wait_done()
    assert tab.picture() == seen
    tab.ask("Thanks")
    expect(tab.prompts).to_have_text(["Tell", "Thanks"])


def test_a_failed_answer_is_continued_and_its_continuation_tried_again(tab: Tab, model: ModelServer) -> None:
    model.script(reply(tool_calls(("calculator", {"expression": "1+1"}))), *[status(401, "no")] * 2, "At last.")
    tab.ask("Try")
    tab.button("Continue").click()
    expect(tab.page.locator(".failure")).to_have_count(2)
    tab.wait_done()
    tab.button("Try again").click()
    expect(tab.answer).to_contain_text("At last.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["Try"])
    expect(tab.answers).to_have_count(1)


def test_the_versions_of_a_prompt_can_be_looked_at_and_gone_on_from(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("The first try"), model.gate()), "The second try.", "Deeper.", "Aside.")
    tab.send("Try")
    expect(tab.answer).to_contain_text("The first try")
    tab.button("Stop").click()
    tab.wait_done()
    tab.button("Try again").click()
    expect(tab.answer).to_contain_text("The second try.")
    tab.wait_done()
    tab.ask("Further")
    expect(tab.page.locator(".turns:visible")).to_have_text(["2/2"])
    tab.button("Show the version before").click()
    expect(tab.answers).to_have_count(1)
    expect(tab.answer).to_contain_text("The first try")
    tab.button("Show the next version").click()
    expect(tab.answer).to_contain_text("Deeper.")
    tab.button("Show the version before").click()
    tab.ask("Another way")
    expect(tab.prompts).to_have_text(["Try", "Another way"])
    expect(tab.answer).to_contain_text("Aside.")
    history = Client(tab.server, thread=tab.thread).history()
    by_id = {each["chatId"]: each for each in history}
    parent = by_id[next(each for each in history if each["content"] == "Another way")["parentId"]]
    assert re.match("The first try", parent["content"])


def test_a_running_chat_is_deleted_without_a_word_of_alarm(tab: Tab, model: ModelServer) -> None:
    model.script(reply(text("On and on"), model.gate()))
    tab.send("Doomed chat")
    expect(tab.answer).to_contain_text("On and on")
    tab.threads.first.hover()
    tab.button("Delete “Doomed chat”").click()
    tab.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    tab.page.wait_for_timeout(300)
    expect(tab.page.locator(".toast")).to_be_hidden()


def test_a_workspace_is_deleted_from_its_settings(tab: Tab) -> None:
    settings = tab.page.get_by_role("button", name="Workspace settings").first
    dialog = tab.page.get_by_role("dialog")
    settings.click()
    expect(dialog.get_by_role("button", name="Delete workspace")).to_be_hidden()
    dialog.get_by_role("button", name="New workspace").click()
    expect(tab.page.get_by_role("combobox", name="Workspace")).to_be_visible()
    settings.click()
    dialog.get_by_role("button", name="Delete workspace").click()
    tab.page.get_by_role("dialog", name="Delete this workspace?").get_by_role("button", name="Delete").click()
    expect(tab.page.get_by_role("combobox", name="Workspace")).to_be_hidden()
    expect(tab.page).to_have_url(re.compile("#/default$"))


def test_an_answer_that_never_began_can_be_tried_again_and_has_nothing_to_continue(
    tab: Tab, model: ModelServer, open_tab: OpenTab
) -> None:
    model.script(status(401, "no"))
    tab.ask("Begin")
    for each, again in ((tab, "Try again"), (open_tab(tab.server, locale="zh-CN").beside(tab), "重试")):
        expect(each.button(again)).to_be_visible()
        expect(each.answer.locator(".quiet-button")).to_have_text([again])
    model.script(reply(tool_calls(("calculator", {"expression": "1+1"}))), status(401, "no"))
    tab.ask("Get half way")
    expect(tab.button("Continue")).to_be_visible()  # there is a result
    model.script(status(401, "no"))
    tab.button("Continue").click()
    expect(tab.answers).to_have_count(3)
    tab.wait_done()
    expect(tab.button("Continue")).to_be_visible()  # what it went on from
