"""The page in a real Chromium: languages, widths, colours, keys; and the README's picture."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browser_support import OpenTab, artifact
from client import Client
from model_answers import nap, reasoning, reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server

from deechat.agents.providers.base import Question, ToolSpec, Turn
from deechat.agents.providers.offline import OfflineProvider
from deechat.messages import UserMessage

pytest_plugins = ["browser_fixtures"]

PICTURE = Path(__file__).parents[2] / "docs" / "page.png"
Serve = Callable[..., Server]


# -- languages and looks -----------------------------------------------------------------------------------------------


def test_the_page_speaks_chinese_to_a_chinese_browser(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    tab = open_tab(serve(model), locale="zh-CN").open()
    expect(tab.page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(tab.page.get_by_role("heading", name="有什么可以帮您？")).to_be_visible()
    expect(tab.field).to_have_attribute("placeholder", "输入您的问题")
    gate = model.gate()
    model.script(reply(gate, text("你好。")))
    tab.send("问候")
    expect(tab.answer.locator(".status")).to_have_text("正在询问 fake-1 …")
    gate.release()
    tab.wait_done()
    shown = tab.page.locator("body").inner_text()
    assert set(re.findall(r"[A-Za-z]{2,}", shown)) == {"DeeChat", "fake", "Enter", "Shift"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_narrow_and_wide_screens(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, width: int, scheme: str
) -> None:
    tab = open_tab(agent_server, viewport={"width": width, "height": 800}, color_scheme=scheme).open()
    long_line = "x = " + " + ".join(f"variable_{number}" for number in range(40))
    table = "| " + " | ".join("head" * 3 for _ in range(8)) + " |\n|" + "---|" * 8 + "\n| " + " | ".join("1" * 8) + " |"
    model.script(
        reply(tool_calls(("calculator", {"expression": "+".join(["1"] * 90)}))),
        f"# Title\n\n```py\n{long_line}\n```\n\n{table}\n\n{'word' * 60}\n\n`{'code' * 40}`",
    )
    tab.ask("Wide things " + "w" * 300)
    tab.answer.locator("dee-tool summary").click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    column = tab.page.locator(".messages").bounding_box()
    assert column is not None
    assert column["x"] + column["width"] <= width
    overflowing = (
        """nodes => nodes.filter(node => node.scrollWidth > node.clientWidth + 1).map(node => node.localName)"""
    )
    assert tab.page.locator(".messages, dee-answer, dee-text, .parts").evaluate_all(overflowing) == []
    tab.page.screenshot(path=artifact(f"page-{width}-{scheme}.png"))


def test_on_a_narrow_screen_the_sidebar_is_a_drawer(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script("Fine.")
    tab = open_tab(agent_server, viewport={"width": 360, "height": 740}, has_touch=True).open()
    tab.ask("Drawer")
    expect(tab.threads.first).not_to_be_in_viewport()
    tab.button("Show the list of chats").click()
    expect(tab.threads.first).to_be_in_viewport()
    tab.page.keyboard.press("Escape")
    expect(tab.threads.first).not_to_be_in_viewport()
    tab.button("Show the list of chats").click()
    tab.page.locator("dee-sidebar").get_by_role("button", name="New chat").click()
    expect(tab.threads.first).not_to_be_in_viewport()
    expect(tab.page.get_by_role("heading", name="What can I help with?")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(open_tab: OpenTab, server: Server, scheme: str) -> None:
    tab = open_tab(server, color_scheme=scheme).open()
    inks, grounds = ["ink", "ink-soft", "ink-faint"], ["page", "side", "raised", "sunk", "bubble", "hover"]
    pairs = [(ink, ground) for ink in inks for ground in grounds]
    pairs += [("accent", "page"), ("accent", "raised"), ("accent-ink", "accent"), ("danger", "danger-soft")]
    pairs += [(f"code-{kind}", "sunk") for kind in ("keyword", "string", "number", "title", "type")]
    pairs += [("page", "danger"), ("danger", "raised"), ("ink-soft", "danger-soft")]
    read = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
    colours = {name: tab.page.evaluate(read, name) for pair in pairs for name in pair}
    low = {pair: ratio for pair in pairs if (ratio := contrast(colours[pair[0]], colours[pair[1]])) < 4.5}
    assert not low


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours, as WCAG 2 defines it."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return round((lighter + 0.05) / (darker + 0.05), 2)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_control_has_a_name_and_the_keyboard_reaches_them(
    open_tab: OpenTab, serve: Serve, model: ModelServer
) -> None:
    tab = open_tab(serve(model)).open()
    model.script(reply(reasoning("Hm."), text("```\ncode\n```\n")))
    tab.ask("Names")
    nameless = """nodes => nodes.filter(node => node.checkVisibility() && !node.textContent.trim()
        && !node.getAttribute('aria-label') && !node.labels?.length).map(node => node.outerHTML)"""
    assert tab.page.locator("button, a, input, select, textarea, summary").evaluate_all(nameless) == []
    tab.page.locator("body").evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(25):
        tab.page.keyboard.press("Tab")
        reached.add(
            tab.page.evaluate("(({ ariaLabel, textContent }) => ariaLabel ?? textContent)(document.activeElement)")
        )
    wanted = {"Skip to the message field", "New chat", "Names", "Rename “Names”", "Workspace settings", "Copy the code"}
    assert wanted | {"Copy the answer", "Message"} <= reached


ANSWER = """\
17% of 2,340 is **397.8**.

It is evening in Tokyo now, so a call is best tomorrow in your morning. A small helper for the next invoice:

```python
def share(total: float, percent: float) -> float:
    return round(total * percent / 100, 2)

share(2340, 17)  # 397.8
```
"""


@pytest.mark.skipif(
    PICTURE.exists() and not os.environ.get("README_PICTURE"), reason="set README_PICTURE=1 to take it anew"
)
def test_the_picture_for_the_readme(open_tab: OpenTab, serve: Serve, model: ModelServer) -> None:
    model.models = ["qwen3:8b"]
    settings = {"DEECHAT_PROVIDER": "openai", "OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "none"}
    server = serve(**settings, DEECHAT_MODEL="qwen3:8b")
    for name in ("Packing list for three days of rain", "Explain group commit", "Names for a grey cat"):
        model.script("Gladly.")
        Client(server).new_thread().ask(name)
    model.script(
        reply(
            reasoning("Both parts need exact values, so I use the tools."),
            nap(1.2),
            tool_calls(("calculator", {"expression": "2340 * 0.17"}), ("current_time", {"timezone": "Asia/Tokyo"})),
        ),
        ANSWER,
    )
    size = {"width": 1280, "height": 920}
    tab = open_tab(server, viewport=size, device_scale_factor=2).open()
    tab.ask("What is 17% of 2,340? And when should I call the team in Tokyo?")
    tab.answer.locator("dee-tool summary").first.click()
    tab.page.locator(".scroller").evaluate("node => (node.scrollTop = 0)")
    tab.page.evaluate("document.activeElement.blur()")
    PICTURE.parent.mkdir(exist_ok=True)
    tab.page.screenshot(path=PICTURE)


@pytest.mark.parametrize("size", [(1200, 800), (380, 700)])
@pytest.mark.parametrize(
    ("locale", "words"),
    [("en-US", ("help", "ask me something", "Go to it")), ("zh-CN", ("帮助", "问我一个问题", "前往"))],
)
def test_a_card_below_a_long_answer_moves_the_list_and_never_the_page(
    open_tab: OpenTab, server: Server, locale: str, words: tuple[str, str, str], size: tuple[int, int]
) -> None:
    tab = open_tab(server, locale=locale, viewport={"width": size[0], "height": size[1]}).open()
    long, ask, lead = words
    tab.ask(long)
    tab.send(ask)
    expect(tab.card).to_be_visible()
    tab.button(lead).click()
    expect(tab.card.get_by_role("textbox").first).to_be_focused()
    page = tab.page.evaluate("[document.scrollingElement.scrollTop, document.scrollingElement.scrollHeight]")
    assert page == [0, size[1]]
    expect(tab.page.locator(".head")).to_be_in_viewport(ratio=1)
    expect(tab.page.locator(".jump")).to_be_hidden()  # it would lie on what is to be answered
    tab.page.locator(".scroller").evaluate("node => (node.scrollTop = 0)")
    expect(tab.page.locator(".jump")).to_be_visible()
    tab.card.get_by_role("button").last.click()
    tab.wait_done()


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en-US", ("ask me something", "read https://example.org")),
        ("zh-CN", ("问我一个问题", "打开 https://example.org")),
    ],
)
def test_a_new_chat_without_a_model_says_what_can_be_tried(
    open_tab: OpenTab, server: Server, locale: str, words: tuple[str, str]
) -> None:
    tab = open_tab(server, locale=locale, viewport={"width": 380, "height": 700}).open()
    tools = [ToolSpec(name, "", {}) for name in ("ask_user", "web_fetch")]
    for each in words:
        expect(tab.page.locator(".offline")).to_contain_text(each)
        *_, answer = OfflineProvider().ask(Question([UserMessage(each)], tools=tools))
        assert isinstance(answer, Turn)
        assert answer.calls
    expect(tab.page.locator(".offline")).to_be_in_viewport(ratio=1)
