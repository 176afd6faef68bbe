"""Formulas in a real Chromium: drawn on first need, as they stream, in cells, on narrow screens; copied as source."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser_support import OpenTab, Tab, artifact
from model_answers import reply, text
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server

pytest_plugins = ["browser_fixtures"]

ANSWER = r"""
# The formula \(a^2 + b^2 = c^2\)

The roots of $ax^2 + bx + c$ are, for \(a \ne 0\):

$$
x_{1,2} = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}.
$$

\[ \vec{F} = m\,\widehat{abc} \qquad \overrightarrow{AB} = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \]

| what | formula |
|---|---|
| mass | $E = mc^2$ and $\lvert x \rvert$ |
| sum | \(\sum_{i=1}^{n} i = \frac{n(n+1)}{2}\) |

It costs $5 and $6, or US$7. 质量\(E_0\)是 $\text{能量}$。

- an item with $\fcolorbox{red}{aqua}{x}$ and \(\left(aaaaaaaaaaa + bbbbbbbbbbbbbb + ccccccccccccc + ddddddddd\right)\)

\begin{align}
f(x) &= \int_{-\infty}^{\infty} \hat f(\xi)\, e^{2 \pi i \xi x} \,d\xi + aaaaaaaaaaaaaaa + bbbbbbbbbbbbbbb \\
g(x) &= \mathbb{R} \pmb{x}
\end{align}

Wrong: $\frac{a$ and $\nosuchcommand{x}$, a link $\href{https://a.b}{x}$.
"""
DRAWN = 13


def katex_requests(tab: Tab) -> list[str]:
    """Notes from now on which files of KaTeX are asked for."""
    seen: list[str] = []
    tab.page.on("request", lambda request: seen.append(request.url) if "katex" in request.url else None)
    return seen


def wait_drawn(tab: Tab, count: int) -> None:
    expect(tab.page.locator(".math.drawn")).to_have_count(count)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_formulas_are_drawn_in_both_themes_and_on_narrow_screens(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, width: int, scheme: str
) -> None:
    model.script(ANSWER)
    tab = open_tab(agent_server, viewport={"width": width, "height": 1500}, color_scheme=scheme).open()
    tab.ask("Formulas")
    wait_drawn(tab, DRAWN)
    tab.page.screenshot(path=artifact(f"formulas-{width}-{scheme}.png"))
    left = tab.page.locator(".math:not(.drawn)").all_inner_texts()
    assert left == [r"$\frac{a$", r"$\nosuchcommand{x}$", r"$\href{https://a.b}{x}$"]
    expect(tab.answer).to_contain_text("It costs $5 and $6, or US$7.")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_of_katex_is_loaded_before_the_first_formula(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server)
    asked = katex_requests(tab)
    tab.open()
    model.script("It costs $5 and $6, `$x$`:\n\n```sh\necho $HOME $PATH\n```", r"It is \(x^2\).")
    tab.ask("Prices")
    assert asked == []
    tab.ask("Formula")
    wait_drawn(tab, 1)
    names = {address.rsplit("/", 1)[-1] for address in asked}
    assert {"katex.js", "katex.css", "KaTeX_Main-Regular.woff2", "KaTeX_Math-Italic.woff2"} <= names
    assert len(names) <= 5  # and no font that is not needed
    assert len(asked) == len(set(asked))


FINISHED = r"^\s*(\$\$[^]+\$\$|\$[^$]+\$|\\\([^]+\\\)|\\\[[^]+\\\])\s*$"
WATCH = """(finished) => {
    window.late = new Set();
    const look = () => {
        for (const each of document.querySelectorAll(".math:not(.drawn)")) {
            if (new RegExp(finished).test(each.textContent)) window.late.add(each.textContent);
        }
        requestAnimationFrame(look);
    };
    look();
}"""


def test_a_formula_is_source_until_its_end_and_drawn_in_the_frame_of_its_end(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server).open()
    first, second = model.gate(), model.gate()
    rest = "and $a$ or $b_1$, \\[\n\\frac{c}{d}\n\\]\n\n| n | f |\n|---|---|\n| 1 | $g^2$ |\n| 2 | \\(h\\) |\n\nend."
    model.script(reply(text(r"So \(x^2 + y"), first, text(r"^2\) is "), second, text(rest, size=1)))
    tab.send("Grow")
    expect(tab.answer.locator(".math")).to_have_text(r"\(x^2 + y")
    expect(tab.page.locator("script[src$='katex.js']")).to_have_count(1)  # it is asked for before it is needed
    first.release()
    wait_drawn(tab, 1)
    tab.page.evaluate(WATCH, FINISHED)
    second.release()
    tab.wait_done()
    wait_drawn(tab, 6)
    assert tab.page.evaluate("[...window.late]") == []


def test_formulas_are_drawn_after_a_reload_as_they_were(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script(ANSWER)
    tab = open_tab(agent_server).open()
    tab.ask("Formulas")
    wait_drawn(tab, DRAWN)
    look = "nodes => nodes.map(node => node.outerHTML)"
    before = tab.page.locator(".math").evaluate_all(look)
    tab.page.reload()
    wait_drawn(tab, DRAWN)
    assert tab.page.locator(".math").evaluate_all(look) == before


def test_a_cut_network_leaves_the_sources_and_katex_comes_when_it_is_back(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script("So $x^2$ and $$y$$.")
    tab = open_tab(agent_server).open()
    tab.expect_errors("Failed to load resource.*katex")
    cut: Any = lambda route: route.abort("internetdisconnected")  # noqa: E731
    tab.page.route("**/katex/*", cut)
    tab.ask("Cut")
    expect(tab.page.locator("script[src$='katex.js']")).to_have_count(0)  # the failed ones are taken away
    assert tab.page.locator(".math").all_inner_texts() == ["$x^2$", "$$y$$"]
    tab.page.unroute("**/katex/*", cut)
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    wait_drawn(tab, 2)
    expect(tab.page.locator("script[src$='katex.js'], link[href$='katex.css']")).to_have_count(2)


COPIED = "Read:\n\nSo \\(x^2\\) is $\\frac{1}{2}$.\n\n$$\ny_1 = 2\n$$\n\n| a | b |\n|---|---|\n| 1 | $z$ |\n\nOver."


def test_what_is_copied_has_the_sources(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    model.script(COPIED)
    tab = open_tab(agent_server).open()
    tab.ask("Copy")
    wait_drawn(tab, 4)
    tab.page.evaluate("document.activeElement.blur()")
    select = """(node) => getSelection().selectAllChildren(node)"""
    tab.page.locator("dee-text").evaluate(select)
    tab.page.keyboard.press("Control+C")
    tab.field.press("Control+V")
    said = tab.field.input_value()
    assert re.sub(r"\s+", " ", said) == r"Read: So \(x^2\) is $\frac{1}{2}$. $$ y_1 = 2 $$ a b 1 $z$ Over."
    assert "is $\\frac{1}{2}$.\n\n" in said  # blocks stay apart
    wait_drawn(tab, 4)
    tab.field.fill("")
    tab.page.evaluate("document.activeElement.blur()")
    inside = """(node) => {
        const fraction = node.querySelector('.mfrac');
        getSelection().setBaseAndExtent(fraction, 0, fraction, 1);
    }"""
    tab.page.locator("dee-text").evaluate(inside)
    tab.page.keyboard.press("Control+C")
    tab.field.press("Control+V")
    assert tab.field.input_value() == r"$\frac{1}{2}$"  # a part of a formula is no TeX: the whole is copied
    rich = """() => new Promise((resolve) => {
        document.addEventListener('copy', (event) => resolve(event.clipboardData.getData('text/html')), { once: true });
        getSelection().selectAllChildren(document.querySelector('dee-text'));
        document.execCommand('copy');
    })"""
    html = tab.page.evaluate(rich)
    assert r"\(x^2\)" in html
    assert "<table" in html
    assert "katex" not in html


HOSTILE = {
    "commands of commands": "$$\\def\\a{" + "x" * 900 + "}\\def\\b{" + "\\a" * 300 + "}" + "\\b" * 300 + "$$",
    "an endless command": r"$\def\a{\a\a}\a$",
    "a command that doubles": r"$\def\a#1{#1#1}" + r"\a{" * 30 + "x" + "}" * 30 + "$",
    "cells": "$$\\begin{matrix}" + "&" * 3000 + "x\\end{matrix}$$",
    "depth": "$$x" + "^{" * 2400 + "}" * 2400 + "$$",
    "a very long one": "$$" + "x+" * 2400 + "y$$",
    "words for the console": r"$\message{x}$",
    "a link": r"$\href{javascript:alert(1)}{x}$",
    "a picture": r"$\includegraphics{https://a.b/c.png}$",
    "styles and classes": r"$\htmlStyle{position:fixed}{x}$ $\htmlClass{icon-button}{x}$",
    "attributes": r"$\htmlData{a=b}{x}$ $\htmlId{words}{x}$",
    "HTML": r"$\text{<img src=x onerror=alert(1)>}\frac{$",
}


def test_hostile_formulas_stay_what_they_are(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    """`commands of commands` would be 81 million tokens; a page that draws it is gone."""
    words = "\n\n".join(HOSTILE.values())
    model.script(words + "\n\n" + r"Last \(x\), $\rule{9999em}{9999em}$ and $\text{<b>}$.")
    tab = open_tab(agent_server).open()
    tab.ask("Hostile")
    wait_drawn(tab, 3)
    assert tab.page.locator(".math:not(.drawn)").count() >= len(HOSTILE)
    assert tab.page.locator("dee-text img, dee-text b, dee-text .icon-button, dee-text #words").count() == 0
    boxes = tab.page.locator(".math.drawn .katex-rule").evaluate_all("nodes => nodes.map(node => node.offsetWidth)")
    assert boxes
    assert max(boxes) < 500


def test_screen_readers_get_mathml_and_keys_reach_what_scrolls(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script(ANSWER)
    tab = open_tab(agent_server, viewport={"width": 360, "height": 900}).open()
    tab.ask("Formulas")
    wait_drawn(tab, DRAWN)
    assert tab.page.locator(".math.drawn math > semantics").count() == DRAWN
    assert tab.page.locator(".math.drawn .katex-html").evaluate_all("nodes => nodes.every(node => node.ariaHidden)")
    scrolling = tab.page.locator(".math[tabindex='0']")
    expect(scrolling).to_have_count(2)  # the long one in the item, and the environment
    for each in scrolling.all():
        assert each.evaluate("node => node.scrollWidth > node.clientWidth")
    tab.page.set_viewport_size({"width": 1280, "height": 900})
    expect(scrolling).to_have_count(0)
