"""The page in a real Chromium, against the real server: what happens when something goes wrong, or means harm."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from browser_support import OpenTab, Tab
from client import Client
from model_answers import reasoning, reply, status, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import Route, expect
from server import Server

pytest_plugins = ["browser_fixtures"]

Serve = Callable[..., Server]
CUT = r"net::ERR_"  # what Chromium says about a connection that broke


@pytest.fixture
def tab(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> Tab:
    """A tab on the server that asks `model`."""
    return open_tab(agent_server).open()


def refuse(status: int, code: str, message: str, **headers: str) -> Callable[[Route], None]:
    """Gives a handler that answers with the contract's error."""
    body = json.dumps({"error": {"code": code, "message": message}})
    return lambda route: route.fulfill(status=status, content_type="application/json", body=body, headers=headers)


# -- the server goes away ----------------------------------------------------------------------------------------------


def test_a_server_killed_mid_answer_goes_on_with_it(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    server = serve(model)
    tab = open_tab(server).open()
    tab.expect_errors(CUT)
    gate = model.gate()
    again = reply(text("Whole "), gate, text("this time."))
    model.script(reply(reasoning("Let me see."), text("Words that were seen"), model.gate()), again)
    tab.send("Tell me")
    expect(tab.answer).to_contain_text("Words that were seen")
    server.kill()
    expect(tab.answer.locator(".status")).to_have_text("Connection lost, reconnecting …")
    expect(tab.answer).to_contain_text("Words that were seen")
    server.start()
    expect(tab.answer).to_contain_text("Whole")
    expect(tab.answer.locator(".status:not(.quiet)")).to_have_text("The server was restarted; this step began anew")
    chinese = open_tab(server, locale="zh-CN").beside(tab)
    expect(chinese.answer.locator(".status:not(.quiet)")).to_have_text("服务器已重启，这一步重新开始")
    gate.release()
    tab.wait_done()
    expect(tab.answer.locator(".status")).to_be_hidden()
    expect(tab.answer).to_contain_text("Whole this time.")
    expect(tab.answer).not_to_contain_text("Words that were seen")  # that step ran again
    seen = tab.picture()
    tab.page.reload()
    tab.wait_done()
    assert tab.picture() == seen
    expect(tab.answers).to_have_count(1)


def test_a_page_opened_while_the_server_is_away_can_try_again(tab: Tab) -> None:
    tab.expect_errors(CUT)
    tab.page.route("**/api/workspaces", lambda route: route.abort())
    tab.page.reload()
    expect(tab.page.get_by_text("The server cannot be reached. Is it running?")).to_be_visible()
    expect(tab.field).to_be_hidden()
    tab.page.unroute("**/api/workspaces")
    tab.button("Try again").click()
    expect(tab.field).to_be_visible()


def test_a_page_opened_while_the_server_is_away_comes_back_by_itself(tab: Tab) -> None:
    tab.expect_errors(CUT)
    tab.page.route("**/api/workspaces", lambda route: route.abort())
    tab.page.reload()
    expect(tab.page.get_by_text("The server cannot be reached. Is it running?")).to_be_visible()
    tab.page.unroute("**/api/workspaces")
    tab.come_back()
    expect(tab.field).to_be_visible()


def test_a_busy_server_is_asked_again_when_it_said(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("503")
    gate = model.gate()
    model.script(reply(text("Half"), gate, text(" and half.")))
    tab.send("Both")
    expect(tab.answer).to_contain_text("Half")
    asked: list[str | None] = []

    def first_busy(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        if len(asked) == 1:
            refuse(503, "busy", "full", **{"Retry-After": "1"})(route)
        else:
            route.continue_()

    tab.page.route("**/api/runs/*/events", first_busy)
    tab.page.reload()
    expect(tab.answer).to_contain_text("Half")
    gate.release()
    tab.wait_done()
    expect(tab.answer).to_contain_text("Half and half.")
    assert len(asked) == 2


# -- a prompt that does not get through --------------------------------------------------------------------------------


def test_a_refused_prompt_keeps_the_text_and_shows_the_words(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("503")
    model.script("Now it works.")
    tab.page.route("**/stream-chat", refuse(503, "busy", "200 answers are being made already; try again soon."))
    tab.send("Remember me")
    expect(tab.page.get_by_role("alert")).to_contain_text("200 answers are being made already")
    expect(tab.field).to_have_value("Remember me")
    expect(tab.prompts).to_have_count(0)
    tab.page.reload()
    expect(tab.field).to_have_value("Remember me")
    tab.page.unroute("**/stream-chat")
    tab.field.press("Enter")
    expect(tab.answer).to_contain_text("Now it works.")
    expect(tab.field).to_have_value("")
    tab.wait_done()


def test_a_prompt_whose_answer_was_lost_is_not_asked_twice(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors(CUT)
    model.script("Only once.")
    attempts: list[Any] = []

    def lose_the_first(route: Route) -> None:
        attempts.append(route.request.post_data_json)
        if len(attempts) == 1:
            route.fetch()  # it arrives, and its answer does not
            route.abort()
        else:
            route.continue_()

    tab.page.route("**/stream-chat", lose_the_first)
    tab.ask("Just once")
    expect(tab.answer).to_contain_text("Only once.")
    assert attempts[0] == attempts[1]
    tab.page.reload()
    expect(tab.prompts).to_have_text(["Just once"])
    assert len(model.asked) == 1


def test_a_lost_prompt_joins_its_run_when_the_person_sends_it_again(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors(CUT)
    ids: list[str] = []

    def lose(route: Route) -> None:
        ids.append(route.request.post_data_json["clientRequestId"])
        route.abort()

    tab.page.route("**/stream-chat", lose)
    tab.send("Are you there?")
    expect(tab.page.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    expect(tab.field).to_have_value("Are you there?")
    tab.page.unroute("**/stream-chat")
    model.script("I am.")
    with tab.page.expect_request("**/stream-chat") as again:
        tab.field.press("Enter")
    expect(tab.answer).to_contain_text("I am.")
    assert {*ids, again.value.post_data_json["clientRequestId"]} == {ids[0]}
    tab.wait_done()


def test_a_prompt_on_its_way_arrives_when_the_person_goes_elsewhere(tab: Tab, model: ModelServer) -> None:
    model.script("First.", "Second.")
    tab.ask("First")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    tab.page.route("**/stream-chat", hold)
    tab.send("Second")
    expect(tab.prompts).to_have_count(2)
    tab.button("New chat").click()
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    tab.page.wait_for_timeout(100)
    held[0].continue_()
    assert model.wait_asked(2)
    tab.threads.first.get_by_role("link").click()
    expect(tab.answers).to_have_count(2)
    expect(tab.answer).to_contain_text("Second.")
    expect(tab.field).to_have_value("")


def test_a_thread_that_is_busy_elsewhere_keeps_the_text_and_joins_its_answer(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("409")
    model.script("First.")
    tab.ask("First")
    gate = model.gate()
    model.script(reply(text("From elsewhere"), gate, text(".")))
    elsewhere = Client(tab.server, thread=tab.thread).send("Second")
    tab.send("Third")
    expect(tab.page.get_by_role("alert")).to_contain_text("An answer is still being written in this chat.")
    expect(tab.field).to_have_value("Third")
    expect(tab.answer).to_contain_text("From elsewhere")
    expect(tab.prompts).to_have_text(["First", "Second"])
    gate.release()
    tab.wait_done()
    elsewhere.read()


# -- an answer that fails ----------------------------------------------------------------------------------------------


def test_a_failed_answer_says_why_and_can_be_tried_again_on_its_own_branch(tab: Tab, model: ModelServer) -> None:
    model.script("Hello.", status(401, {"error": {"message": "bad key"}}), status(404, "no such model"), "At last.")
    tab.ask("Greet")
    tab.ask("Try this")
    expect(tab.answer.locator(".failure strong")).to_have_text("The model server refused the key")
    expect(tab.answer.locator(".failure p")).to_contain_text("OPENAI_API_KEY")
    tab.button("Try again").click()
    expect(tab.answer.locator(".failure strong")).to_have_text("The model was not found")
    tab.wait_done()
    tab.button("Try again").click()
    expect(tab.answer).to_contain_text("At last.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["Greet", "Try this"])
    expect(tab.button("Try again")).to_have_count(0)
    tab.page.reload()
    expect(tab.answer).to_contain_text("At last.")
    expect(tab.prompts).to_have_text(["Greet", "Try this"])
    history = Client(tab.server, thread=tab.thread).history()
    assert len({each["parentId"] for each in history if each["content"] == "Try this"}) == 1
    said = [each["content"] for each in model.asked[-1]["messages"] if each["role"] == "user"]
    assert said == ["Greet", "Try this"]


def test_a_first_prompt_is_tried_again_at_the_threads_beginning(tab: Tab, model: ModelServer) -> None:
    model.script(status(401, "no"), "Better.")
    tab.ask("Begin")
    tab.button("Try again").click()
    expect(tab.answer).to_contain_text("Better.")
    tab.wait_done()
    expect(tab.prompts).to_have_text(["Begin"])
    assert [each["content"] for each in model.asked[-1]["messages"] if each["role"] == "user"] == ["Begin"]


def test_the_failure_speaks_the_language_of_the_page(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server, locale="zh-CN").open()
    model.script(status(401, "no"))
    tab.ask("问题")
    expect(tab.answer.locator(".failure strong")).to_have_text("模型服务器拒绝了密钥")
    expect(tab.button("重试")).to_be_visible()


def test_a_thread_deleted_elsewhere_leads_to_a_new_chat(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("404")
    model.script("Yes.")
    tab.ask("Here?")
    Client(tab.server, thread=tab.thread).delete()
    tab.come_back()
    expect(tab.page.get_by_text("This chat does not exist any more.")).to_be_visible()
    expect(tab.page).to_have_url(re.compile(r"#/default$"))
    tab.open("/#/default/no-such-thread")
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()


def test_a_thread_deleted_elsewhere_mid_answer_leads_to_a_new_chat(tab: Tab, model: ModelServer) -> None:
    tab.expect_errors("404")
    model.script(reply(text("Half"), model.gate()))
    tab.send("Both")
    expect(tab.answer).to_contain_text("Half")
    Client(tab.server, thread=tab.thread).delete()
    expect(tab.page.get_by_text("This chat does not exist any more.")).to_be_visible()
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()
    expect(tab.field).to_have_value("")


# -- who may come in ---------------------------------------------------------------------------------------------------


def test_the_page_asks_for_the_password_and_goes_on_where_it_was(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    server = serve(model, DEECHAT_PASSWORD="open sesame")
    tab = open_tab(server).open()
    tab.expect_errors("401")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server asks for its password.")
    tab.page.keyboard.press("Escape")
    dialog.get_by_label("Password").fill("wrong")
    dialog.get_by_role("button", name="Log in").click()
    expect(dialog.get_by_role("alert")).to_have_text("That is not the password.")
    dialog.get_by_label("Password").fill("open sesame")
    dialog.get_by_label("Password").press("Enter")
    expect(dialog).to_be_hidden()
    model.answer = lambda _question: "Welcome."
    tab.ask("Hello")
    tab.page.context.clear_cookies()
    tab.send("Still there?")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Password").fill("open sesame")
    dialog.get_by_role("button", name="Log in").click()
    expect(tab.prompts).to_have_text(["Hello", "Still there?"])
    expect(tab.answers).to_have_count(2)
    tab.wait_done()
    tab.page.reload()
    expect(tab.answers).to_have_count(2)


def test_whoever_may_not_come_in_reads_why(tab: Tab) -> None:
    tab.expect_errors("403")
    words = "Without a password DeeChat serves only this machine. Set DEECHAT_PASSWORD to serve others."
    tab.page.route("**/api/workspaces", refuse(403, "password_required", words))
    tab.page.reload()
    expect(tab.page.get_by_text(words)).to_be_visible()


# -- an answer that means harm -----------------------------------------------------------------------------------------

HOSTILE = """\
<script>window.hacked = 1</script>
<img src="https://evil.example/pixel.png" onerror="window.hacked = 2">
<svg onload="window.hacked = 3"><a xlink:href="javascript:window.hacked=4">x</a></svg>
<iframe src="https://evil.example/"></iframe><style>body { display: none }</style>
<base href="https://evil.example/"><link rel="stylesheet" href="https://evil.example/a.css">
<form action="https://evil.example/"><input name="password"></form>

![pixel](https://evil.example/pixel.png) ![data](data:image/svg+xml,<svg/onload=alert(1)>)
![ref]

[click](javascript:window.hacked=5) [click](JaVaScRiPt:window.hacked=6) [data](data:text/html,<script>1</script>)
[vb](vbscript:x) [tab](java&#09;script:window.hacked=7) [file](file:///etc/passwd) [own](/api/workspaces)
[good](https://example.org/page "onmouseover=window.hacked=8") <https://example.net> <javascript:window.hacked=9>
[quote](https://example.com/"onclick="window.hacked=10)

```"><img src=x onerror=window.hacked=11>
</code></pre><script>window.hacked = 12</script>
```

| a <script>window.hacked = 13</script> | b |
|:-:|--:|
| `<img src=x onerror=window.hacked=14>` | c |

[ref]: https://evil.example/ref.png
"""


def check_harmless(tab: Tab) -> None:
    """Claims that nothing of it ran, was fetched, or became an element that could."""
    assert tab.page.evaluate("window.hacked") is None
    bad = "script, img, iframe, style, link, base, form, input, object, embed, video, audio, [style], [srcset], svg a"
    assert tab.page.locator(f"dee-answer :is({bad})").evaluate_all("nodes => nodes.map(node => node.outerHTML)") == []
    links = tab.page.locator("dee-answer a").evaluate_all(
        "nodes => nodes.map(node => [node.getAttribute('href'), node.target, node.rel])"
    )
    assert links
    assert all(re.match(r"https?://", link[0]) for link in links), links
    assert {(link[1], link[2]) for link in links} == {("_blank", "noopener noreferrer")}
    attributes = "nodes => nodes.flatMap(node => node.getAttributeNames()).filter(name => name.startsWith('on'))"
    assert tab.page.locator("dee-answer *").evaluate_all(attributes) == []


def test_a_hostile_answer_does_nothing(tab: Tab, model: ModelServer) -> None:
    call = ("calculator", {"expression": HOSTILE})
    model.script(
        reply(reasoning(HOSTILE, size=7), text(HOSTILE, size=11), tool_calls(call, ("<img src=x onerror=1>", "{}"))),
        reply(text(HOSTILE)),
    )
    tab.ask("<img src=x onerror=window.hacked=20> <script>window.hacked=21</script>")
    for summary in tab.page.locator("dee-answer summary").all():
        summary.click()
    check_harmless(tab)
    expect(tab.answer).to_contain_text("<script>window.hacked = 1</script>")
    tab.page.reload()
    tab.wait_done()
    check_harmless(tab)
    assert tab.page.locator(".threads img, h1 img, .bubble img").count() == 0


def test_hostile_words_of_an_error_do_nothing(tab: Tab, model: ModelServer) -> None:
    model.script(status(400, {"error": {"message": "No: <img src=https://evil.example/x onerror=window.hacked=1>"}}))
    tab.ask("Fail")
    expect(tab.answer.locator(".failure")).to_contain_text("onerror")
    assert tab.page.locator("dee-answer img").count() == 0
    assert tab.page.evaluate("window.hacked") is None


def test_a_damaged_database_is_said_on_the_page(open_tab: OpenTab, serve: Serve) -> None:
    server = serve()
    client = Client(server).new_thread("Sound")
    client.ask("2+3")
    server.kill()
    with closing(sqlite3.connect(server.database, isolation_level=None)) as connection:
        connection.execute("UPDATE thread SET name = 'Wrong' WHERE slug = 'default'")
    server.start()
    tab = open_tab(server).open()
    expect(tab.page.locator(".damaged")).to_contain_text("The server's database is damaged")
    expect(tab.page.locator("dee-sidebar")).to_contain_text("Sound")
    chinese = open_tab(server, locale="zh-CN").beside(tab)
    expect(chinese.page.locator(".damaged")).to_contain_text("数据库已损坏")
