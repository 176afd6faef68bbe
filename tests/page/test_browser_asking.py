"""The page in a real Chromium: what the agent asks of a person, and how the person answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server

pytest_plugins = ["browser_fixtures"]

Serve = Callable[..., Server]
CUT = r"net::ERR_"


@pytest.fixture
def tab(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> Tab:
    """A tab on the server that asks `model`."""
    return open_tab(agent_server).open()


@pytest.fixture
def asks_first(agent_server: Server) -> Iterator[Client]:
    """The calculator needs a yes."""
    client = Client(agent_server)
    update(client, {"calculator": "ask"})
    yield client
    update(client, {})


def update(client: Client, tools: dict[str, str]) -> None:
    assert client.post("/api/workspace/default/update", {"tools": tools}).status_code == 200


def ask_for(model: ModelServer, *questions: dict[str, Any], then: str = "Thank you.") -> None:
    model.script(reply(text("A moment. "), tool_calls(("ask_user", {"questions": list(questions)}))), then)


def ask_to_calculate(model: ModelServer, *expressions: str) -> None:
    calls = [("calculator", {"expression": each}) for each in expressions]
    model.script(reply(tool_calls(*calls)), "So it is.")


def told(model: ModelServer) -> list[str]:
    """What the model was given as results, last request first."""
    return [str(each["content"]) for each in model.asked[-1]["messages"] if each["role"] == "tool"]


# -- questions ---------------------------------------------------------------------------------------------------------


def test_each_kind_of_question_has_its_control_and_the_model_reads_the_answers(tab: Tab, model: ModelServer) -> None:
    kinds = ["text", "textarea", "number", "date"]
    ask_for(model, *({"question": f"A {kind}?", "inputType": kind, "placeholder": "like this"} for kind in kinds))
    tab.send("Ask me")
    card = tab.card
    expect(card).to_contain_text("The agent asks")
    expect(tab.answer.locator(".status")).to_have_text("Waiting for your answer")
    expect(tab.page.locator("#announcer")).to_have_text(re.compile("Waiting for your answer|The agent waits"))
    expect(tab.page).to_have_title(re.compile("^Waiting for you"))
    expect(tab.threads.first.get_by_role("img", name="Waiting for your answer")).to_be_visible()
    expect(tab.field).to_be_focused()  # nobody who types is pulled away
    tab.button("Go to it").click()
    first = card.get_by_role("textbox", name="A text?")
    expect(first).to_be_focused()
    expect(first).to_have_attribute("placeholder", "like this")
    tab.page.keyboard.type("one")
    tab.page.keyboard.press("Enter")
    area = card.get_by_role("textbox", name="A textarea?")
    expect(area).to_be_focused()
    tab.page.keyboard.type("two")
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.type("lines")
    expect(area).to_have_value("two\nlines")
    card.get_by_role("spinbutton", name="A number?").fill("4.5")
    card.get_by_label("A date?").fill("2026-11-23")
    tab.page.keyboard.press("Control+Enter")
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["one", "two\nlines", "4.5", "2026-11-23"])
    for word in ("one", "lines", "4.5", "2026-11-23"):
        assert word in told(model)[-1]
    expect(tab.field).to_be_focused()
    seen = tab.picture()
    tab.page.reload()
    tab.wait_done()
    expect(tab.answer.locator(".parts > *")).to_have_count(3)  # text, card, text: the order of the frames
    assert tab.picture() == seen


def test_choices_are_radios_and_boxes_with_descriptions_and_another_answer(tab: Tab, model: ModelServer) -> None:
    one = {"kind": "choice", "question": "Which?", "options": ["Tea", "Milk"], "allowOther": True}
    one["optionDescriptions"] = ["green", "white"]
    many = {"kind": "choice", "question": "With?", "options": ["Sugar", "Lemon", "Ice"], "multiSelect": True}
    other = {**many, "question": "And?", "allowOther": True}
    ask_for(model, one, many, other)
    tab.send("Serve me")
    card = tab.card
    expect(card.get_by_role("radio")).to_have_count(3)
    expect(card).to_contain_text("green")
    card.get_by_role("radio", name="Tea").check()
    card.get_by_role("textbox", name="Something else").first.fill("Juice")
    expect(card.get_by_role("radio", name="Tea")).not_to_be_checked()
    group = card.get_by_role("group", name="With?")
    group.get_by_role("checkbox", name="Sugar").check()
    group.get_by_role("checkbox", name="Ice").check()
    card.get_by_role("group", name="And?").get_by_role("checkbox", name="Lemon").check()
    card.get_by_role("group", name="And?").get_by_role("textbox").fill("Salt")
    card.get_by_role("button", name="Send").click()
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["Juice", "Sugar, Ice", "Lemon, Salt"])
    answer = tab.posts[-1].post_data_json
    assert [each["answer"] for each in answer["answers"]] == ["Juice", ["Sugar", "Ice"], ["Lemon", "Salt"]]


def test_a_question_can_be_skipped_and_all_can(tab: Tab, model: ModelServer) -> None:
    ask_for(model, {"question": "One?"}, {"question": "Two?"})
    tab.send("Ask")
    tab.card.get_by_role("textbox", name="One?").fill("first")
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.card).to_contain_text("Answer this, or skip it.")
    expect(tab.card.get_by_role("textbox", name="Two?")).to_be_focused()
    tab.card.get_by_role("button", name="Skip", exact=True).nth(1).click()
    tab.card.get_by_role("button", name="Send").click()
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["first", "Skipped"])
    ask_for(model, {"question": "Three?"}, {"question": "Four?"})
    tab.send("Ask again")
    tab.card.get_by_role("button", name="Skip all").click()
    tab.wait_done()
    expect(tab.answer.locator(".request.done dd")).to_have_text(["Skipped", "Skipped"])


def test_an_answer_that_does_not_fit_is_said_at_the_card_and_what_was_typed_stays(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("400")
    ask_for(model, {"question": "Your site?", "inputType": "url"}, {"question": "Mail?", "inputType": "email"})
    tab.send("Ask")
    site, mail = tab.card.get_by_role("textbox", name="Your site?"), tab.card.get_by_role("textbox", name="Mail?")
    site.fill("not an address")
    mail.fill("me@example.org")
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.card.locator("dee-question .field-error").first).to_have_text(re.compile("URL"))
    site.fill("mailto:me@example.org")  # an address to the browser, none to the server
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.card.get_by_role("alert")).to_contain_text("must be an address")
    expect(site).to_have_value("mailto:me@example.org")
    expect(mail).to_have_value("me@example.org")
    site.fill("https://example.org")
    site.press("Enter")
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["https://example.org", "me@example.org"])


def test_a_reload_keeps_the_card_and_what_was_typed_into_it(tab: Tab, model: ModelServer) -> None:
    choice = {"kind": "choice", "question": "Which?", "options": ["Tea", "Milk"]}
    ask_for(model, {"question": "Name?"}, choice)
    tab.send("Ask")
    tab.card.get_by_role("textbox", name="Name?").fill("half a na")
    tab.card.get_by_role("radio", name="Milk").check()
    tab.page.reload()
    expect(tab.card.get_by_role("textbox", name="Name?")).to_have_value("half a na")
    expect(tab.card.get_by_role("radio", name="Milk")).to_be_checked()
    expect(tab.answer.locator(".status")).to_have_text("Waiting for your answer")
    tab.card.get_by_role("button", name="Send").click()
    tab.wait_done()
    assert tab.page.evaluate("Object.keys(sessionStorage)") == []


def test_an_answer_in_one_tab_closes_the_card_in_the_other(tab: Tab, model: ModelServer, open_tab: OpenTab) -> None:
    ask_for(model, {"question": "Who?"})
    tab.send("Ask")
    expect(tab.card).to_be_visible()
    other = open_tab(tab.server).beside(tab)
    other.card.get_by_role("textbox", name="Who?").fill("somebody else")
    tab.card.get_by_role("textbox", name="Who?").fill("me")
    tab.card.get_by_role("button", name="Send").click()
    for each in (tab, other):
        each.wait_done()
        expect(each.done_card.locator("dd")).to_have_text(["me"])
        expect(each.card).to_have_count(0)
    assert tab.picture() == other.picture()


def test_an_answer_that_comes_late_is_taken_calmly(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("409")
    ask_for(model, {"question": "Who?"})
    tab.send("Ask")
    tab.card.get_by_role("textbox", name="Who?").fill("me")
    run_id = Client(tab.server, thread=tab.thread).get(f"/api/workspace/default/thread/{tab.thread}/chats")["activeRun"]
    request = Client(tab.server).run(run_id)["pending"][0]["requestId"]

    def somebody_is_earlier(route: Any) -> None:
        Client(tab.server).post(f"/api/runs/{run_id}/respond", {"requestId": request, "skipped": True})
        route.continue_()

    tab.page.route("**/respond", somebody_is_earlier)
    tab.card.get_by_role("button", name="Send").click()
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["Skipped"])
    expect(tab.page.get_by_role("alert")).to_have_text([""] * tab.page.get_by_role("alert").count())


def test_a_stop_leaves_the_card_void(tab: Tab, model: ModelServer) -> None:
    ask_for(model, {"question": "Who?"})
    tab.send("Ask")
    expect(tab.card).to_be_visible()
    tab.button("Stop").click()
    tab.wait_done()
    expect(tab.card).to_have_count(0)
    expect(tab.done_card).to_contain_text("No longer open")
    expect(tab.page).not_to_have_title(re.compile("Waiting"))


def test_a_card_outlives_the_server(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    server = serve(model)
    tab = open_tab(server).open()
    tab.expect_errors(CUT)
    ask_for(model, {"question": "Who?"}, then="Still here.")
    tab.send("Ask")
    tab.card.get_by_role("textbox", name="Who?").fill("me")
    server.kill()
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.card.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(tab.card.get_by_role("textbox", name="Who?")).to_have_value("me")
    server.start()
    tab.card.get_by_role("button", name="Send").click()
    expect(tab.answer).to_contain_text("Still here.")
    tab.wait_done()
    expect(tab.done_card.locator("dd")).to_have_text(["me"])


# -- approvals ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("asks_first")
def test_a_tool_is_allowed_once(tab: Tab, model: ModelServer) -> None:
    ask_to_calculate(model, "1+1")
    tab.send("Add")
    expect(tab.card).to_contain_text("The agent asks to use calculator")
    expect(tab.card.locator("dt")).to_have_text(["expression"])
    expect(tab.card.locator("dd")).to_have_text(["1+1"])
    tab.card.get_by_role("button", name="Allow", exact=True).dblclick()
    tab.wait_done()
    expect(tab.done_card).to_contain_text("calculator")
    expect(tab.done_card).to_contain_text("Approved")
    assert told(model) == ["2"]
    assert len([post for post in tab.posts if post.url.endswith("/respond")]) == 1


@pytest.mark.usefixtures("asks_first")
def test_the_arguments_can_be_edited(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("400")
    ask_to_calculate(model, "1+1")
    tab.send("Add")
    tab.card.get_by_role("button", name="Edit").click()
    editor = tab.card.get_by_role("textbox", name="Arguments")
    expect(editor).to_be_focused()
    allow = tab.card.get_by_role("button", name="Allow with changes")
    for wrong, words in (('{"expression"', "be read as JSON"), ("[1]", "braces"), ('{"expression": []}', "expression")):
        editor.fill(wrong)
        allow.click()
        expect(tab.card.get_by_role("alert")).to_contain_text(words)
        expect(editor).to_have_value(wrong)
    editor.fill(json.dumps({"expression": "20+22"}))
    editor.press("Control+Enter")
    tab.wait_done()
    assert told(model) == ["42"]
    expect(tab.done_card).to_contain_text("changed arguments")
    expect(tab.answer.locator("dee-tool")).to_contain_text("20+22")


@pytest.mark.parametrize(
    ("locale", "words"), [("en-US", ("Edit", "Allow with changes")), ("zh-CN", ("编辑", "按修改允许"))]
)
def test_while_arguments_are_edited_the_card_says_nothing_of_others(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, locale: str, words: tuple[str, str]
) -> None:
    tab = open_tab(agent_server, locale=locale).open()
    tab.expect_errors("400")
    model.script(reply(tool_calls(("web_fetch", {"url": "https://one.invalid/"}))), "Well.")
    tab.send("Read")
    expect(tab.card.get_by_text("https://one.invalid/")).to_have_count(2)  # what will happen, and the argument
    tab.card.get_by_role("button", name=words[0]).click()
    expect(tab.card.locator(".request-text")).to_be_hidden()
    tab.card.locator("textarea").fill(json.dumps({"url": "http://127.0.0.1:8201/"}))
    tab.card.get_by_role("button", name=words[1]).click()
    expect(tab.card.get_by_role("alert")).to_contain_text("127.0.0.1 is not an address of the public Internet")
    expect(tab.card.locator(".hint")).to_be_hidden()  # nothing there can be allowed for good
    tab.card.locator("textarea").fill(json.dumps({"url": "https://two.invalid/"}))
    expect(tab.card.locator(".hint")).to_contain_text("two.invalid")
    tab.card.locator(".refuse").click()
    tab.wait_done()


def test_always_holds_for_the_workspace(tab: Tab, model: ModelServer, asks_first: Client) -> None:
    ask_to_calculate(model, "1+1")
    tab.send("Add")
    expect(tab.card).to_contain_text("every use of calculator in this workspace")
    tab.card.get_by_role("button", name="Always allow").click()
    tab.wait_done()
    ask_to_calculate(model, "2+2")
    tab.ask("Add more")
    expect(tab.answer.locator(".request")).to_have_count(0)
    tools = {each["name"]: each["policy"] for each in asks_first.get("/api/workspace/default/tools")["tools"]}
    assert tools["calculator"] == "allow"


@pytest.mark.usefixtures("asks_first")
def test_a_refusal_is_told_to_the_model_and_closes_the_card_everywhere(
    tab: Tab, model: ModelServer, open_tab: OpenTab
) -> None:
    ask_to_calculate(model, "1+1", "2+2")
    tab.send("Add twice")
    expect(tab.card).to_have_count(2)
    other = open_tab(tab.server, locale="zh-CN").beside(tab)
    expect(other.card).to_have_count(2)
    expect(other.card.first).to_contain_text("助手请求使用 calculator")
    tab.card.first.get_by_role("button", name="Refuse").click()
    expect(other.card).to_have_count(1)
    other.card.get_by_role("button", name="允许", exact=True).click()
    for each in (tab, other):
        each.wait_done()
        expect(each.card).to_have_count(0)
        expect(each.answer.locator("dee-tool")).to_have_count(1)
        expect(each.done_card.first).to_contain_text("Refused")
    assert len(told(model)) == 2
    assert told(model)[1] == "4"


def test_the_settings_say_which_tools_are_allowed(tab: Tab, asks_first: Client, model: ModelServer) -> None:
    update(asks_first, {})
    tab.page.get_by_role("button", name="Workspace settings").first.click()
    dialog = tab.page.get_by_role("dialog")
    select = dialog.get_by_role("combobox", name="calculator")
    expect(select.locator("option:checked")).to_have_text("Allow (default)")
    select.select_option("ask")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    ask_to_calculate(model, "1+1")
    tab.send("Add")
    tab.card.get_by_role("button", name="Refuse").click()
    tab.wait_done()


@pytest.mark.usefixtures("asks_first")
def test_cards_fit_a_narrow_screen_in_chinese(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    size = {"width": 360, "height": 740}
    tab = open_tab(agent_server, locale="zh-CN", viewport=size, color_scheme="dark").open()
    wide = {"kind": "choice", "question": "w" * 200, "options": ["o" * 100, "p"], "optionDescriptions": ["d" * 200, ""]}
    calls = [("calculator", {"expression": "1+" * 90 + "1"}), ("ask_user", {"questions": [wide, {"question": "谁？"}]})]
    model.script(reply(tool_calls(*calls)), "好。")
    tab.send("问")
    expect(tab.card).to_have_count(2)
    queue_up = tab.page.get_by_text("排队发送")
    queue_up.click()
    tab.send("然后" * 100)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    overflowing = "nodes => nodes.filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.className)"
    assert tab.page.locator(".request, .request *, .composer-box, .chip-row").evaluate_all(overflowing) == []
    words = set(re.findall(r"[A-Za-z]{2,}", tab.card.last.inner_text()))
    assert words <= {"w" * 200, "o" * 100, "d" * 200}
    tab.button("停止").click()
    tab.wait_done()
