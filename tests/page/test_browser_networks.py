"""The page in a real Chromium: many tabs, tabs that nobody looks at, and networks that hold streams back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from browser_proxy import Proxy
from browser_support import OpenTab, Tab
from model_answers import reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import Request, expect
from server import Server

pytest_plugins = ["browser_fixtures"]

AWAY = 5.1  # seconds after which a hidden tab is away
HELD_BACK = "Your network holds streams back; answers come in pieces."


class Open:
    """The tab's requests for streams that have not ended, and the paths of all that it asked for."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.streams: set[Request] = set()
        self.all: list[str] = []
        tab.page.on("request", self._began)
        tab.page.on("requestfinished", self._ended)
        tab.page.on("requestfailed", self._ended)

    def _began(self, request: Request) -> None:
        self.all.append(request.url)
        if request.url.endswith(("/events", "/stream-chat")):
            self.streams.add(request)

    def _ended(self, request: Request) -> None:
        self.streams.discard(request)

    def count(self) -> int:
        self.tab.page.wait_for_timeout(200)
        return len(self.streams)


@pytest.mark.parametrize(("heartbeat", "quiet", "lost"), [("60", 125, 20), ("15", 35, 20)])
def test_a_connection_counts_as_lost_when_the_server_s_own_heartbeats_stay_away(
    open_tab: OpenTab, serve: Callable[..., Server], heartbeat: str, quiet: int, lost: int
) -> None:
    tab = open_tab(serve(DEECHAT_HEARTBEAT=heartbeat)).with_clock().open()
    now, gone = Open(tab), tab.page.locator(".status.lost")
    tab.send("ask me something")
    expect(tab.card).to_be_visible()
    tab.later(quiet)  # in which the page has seen no heartbeat: its clock runs ahead of the server's
    assert now.count() == 1
    expect(gone).to_have_count(0)
    before = len(now.all)
    tab.later(lost)
    expect(gone).to_be_visible()
    tab.later(5)
    expect(gone).to_have_count(0)
    assert len(now.all) > before


def test_a_tab_that_nobody_looks_at_asks_nothing_and_catches_up(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server).with_clock().open()
    now = Open(tab)
    first, second = model.gate(), model.gate()
    model.script(reply(text("One, "), first, text("two, "), second, text("three.")))
    tab.send("Count")
    expect(tab.answer).to_contain_text("One,")
    tab.hide()
    tab.later(3)
    tab.hide(False)  # a short look elsewhere changes nothing
    tab.hide()
    tab.later(4)
    assert now.count() == 1
    tab.later(1.1)
    assert now.count() == 0
    before = len(now.all)
    first.release()
    tab.page.evaluate("new BroadcastChannel('deechat').postMessage({ workspace: 'default', thread: null })")
    for _ in range(4):
        tab.later(20)
    assert now.count() == 0
    assert now.all[before:] == []
    expect(tab.answer).not_to_contain_text("two")
    tab.hide(False)
    expect(tab.answer).to_contain_text("One, two,")
    assert now.count() == 1
    second.release()
    tab.wait_done()
    expect(tab.answer).to_contain_text("One, two, three.")


def test_eight_tabs_follow_one_run(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    tabs = [open_tab(agent_server).with_clock().open()]
    first, second = model.gate(), model.gate()
    model.script(reply(text("Begun, "), first, text("going on, "), second, text("done.")))
    tabs[0].send("Everywhere")
    expect(tabs[0].answer).to_contain_text("Begun,")
    for _ in range(7):
        tabs[-1].hide()
        tabs[-1].later(AWAY)
        tabs.append(open_tab(agent_server, beside=tabs[0]).with_clock().beside(tabs[0]))
        expect(tabs[-1].answer).to_contain_text("Begun,")
    first.release()
    for before, tab in zip([tabs[-1], *tabs], tabs[:3], strict=False):
        before.hide()
        before.later(AWAY)
        tab.hide(False)
        expect(tab.answer).to_contain_text("going on,")
    second.release()
    for tab in tabs:
        tab.hide(False)
        tab.wait_done()
        expect(tab.answer).to_contain_text("Begun, going on, done.")


def test_answers_and_questions_come_through_a_network_that_holds_streams_back(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    with Proxy(agent_server, "all") as proxy:
        tab = open_tab(as_server(proxy)).with_clock().open()
        note = tab.page.get_by_role("note", name=HELD_BACK)
        gate = model.gate()
        asks = tool_calls(("ask_user", {"questions": [{"question": "Who?"}]}))
        model.script(reply(text("First half, "), gate, text("second half."), asks), "Thank you.", "And again.")
        tab.send("Slowly")
        assert model.wait_asked()
        tab.later(5.1)
        expect(tab.answer).to_contain_text("First half,")  # though not even the answer's head came
        expect(note).to_be_visible()
        expect(note).to_have_attribute("title", HELD_BACK)
        gate.release()
        tab.card.get_by_role("textbox", name="Who?").fill("me")
        tab.card.get_by_role("button", name="Send").click()
        tab.wait_done()
        expect(tab.answer).to_contain_text("Thank you.")
        tab.ask("Once more")
        expect(tab.answer).to_contain_text("And again.")
        expect(tab.prompts).to_have_text(["Slowly", "Once more"])


def test_a_stream_whose_beginning_came_is_left_too_when_the_rest_is_held_back(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    with Proxy(agent_server, "body") as proxy:
        tab = open_tab(as_server(proxy), locale="zh-CN").with_clock().open()
        gate = model.gate()
        model.script(reply(text("一半，"), gate, text("另一半。")))
        tab.send("慢慢说")
        assert model.wait_asked()
        tab.page.wait_for_timeout(300)
        tab.later(5.1)
        expect(tab.answer).to_contain_text("一半，")
        expect(tab.page.get_by_role("note", name="您的网络会拦留数据流，回答将分段到达。")).to_be_visible()
        gate.release()
        tab.wait_done()
        expect(tab.answer).to_contain_text("一半，另一半。")


def as_server(proxy: Proxy) -> Any:
    return proxy


def test_a_silent_stream_is_asked_about_seldom_and_kept(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server).with_clock().open()
    now = Open(tab)
    gate = model.gate()
    model.script(reply(text("Patience. "), gate, text("Here.")))
    tab.send("Wait")
    expect(tab.answer).to_contain_text("Patience.")

    def looks() -> int:
        tab.page.wait_for_timeout(150)
        return len([url for url in now.all if re.search(r"/api/runs/[^/]+$", url)])

    tab.later(4)
    assert looks() == 0
    tab.later(1.2)
    tab.later(1.2)
    assert looks() == 1
    tab.later(13)
    assert looks() == 1
    tab.later(3)
    assert looks() == 2
    assert not [url for url in now.all if "wait=" in url]
    gate.release()
    tab.wait_done()
