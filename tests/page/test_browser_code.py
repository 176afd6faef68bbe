"""Code blocks in a real Chromium: coloured on first need when they are finished, with a head that stays in sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser_support import OpenTab, Tab, artifact
from model_answers import reply, text
from model_server import ModelServer
from playwright.sync_api import Route, expect
from server import Server

pytest_plugins = ["browser_fixtures"]

SAMPLES = {
    "python": '@cache\ndef area(r: float) -> str:\n    # of a circle\n    return f"{3.14 * r ** 2}"',
    "javascript": "const a = await get(`x ${1}`); // one\nclass B extends C {}",
    "ts": "type A = { readonly b: string };\nexport const c: A = { b: 'd' };",
    "json": '{"a": [1, true, null], "b": "c"}',
    "sh": 'for f in *.py; do echo "$f"; done # all',
    "sql": "SELECT name, count(*) FROM t WHERE a = 'b' GROUP BY 1;",
    "html": '<p class="a">b</p>\n<style>p { color: red }</style>\n<script>let x = 1;</script>',
    "css": "@media print { .a:hover { margin: 1px } }",
    "java": "public class A { int b = 1; }",
    "c": "#include <stdio.h>\nint main(void) { return 0; }",
    "c++": "template <typename T> auto f(T t) { return t + 1; }",
    "go": 'func main() { fmt.Println("a", 1) }',
    "rust": 'fn main() { let a: u8 = 1; println!("{}", a); }',
    "yaml": "a: 1\nb:\n  - c # d",
}
PIECES = "[class^='code-']:not(.code-part)"


def fence(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```\n"


def coloured(tab: Tab) -> Any:
    """Finds the blocks that are painted."""
    return tab.page.locator(f".code-block:has(code {PIECES})")


def highlight_requests(tab: Tab) -> list[str]:
    """Notes from now on which files of the highlighter are asked for."""
    seen: list[str] = []
    tab.page.on("request", lambda request: seen.append(request.url) if "/highlight" in request.url else None)
    return seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_each_language_is_coloured_in_both_themes_and_its_text_stays(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, width: int, scheme: str
) -> None:
    model.script("\n\n".join(fence(*sample) for sample in SAMPLES.items()) + "\n\n```klingon\nqapla' 1\n```\n\nEnd.")
    tab = open_tab(agent_server, viewport={"width": width, "height": 2900}, color_scheme=scheme).open()
    tab.ask("Code")
    expect(coloured(tab)).to_have_count(len(SAMPLES))
    said = tab.page.locator(".code-block code").all_text_contents()
    assert said == [f"{code}\n" for code in [*SAMPLES.values(), "qapla' 1"]]
    heads = tab.page.locator(".code-name").all_inner_texts()
    assert heads == [*SAMPLES, "klingon"]
    tab.page.screenshot(path=artifact(f"code-{width}-{scheme}.png"))
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    first = coloured(tab).first
    for kind, words in (("keyword", "def"), ("title", "area"), ("comment", "# of a circle"), ("type", "@cache")):
        expect(first.locator(f".code-{kind}", has_text=words).first).to_be_visible()
    colours = first.locator(PIECES).evaluate_all("nodes => [...new Set(nodes.map(n => getComputedStyle(n).color))]")
    assert len(colours) >= 5


def test_nothing_of_the_highlighter_is_loaded_before_the_first_code(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server)
    asked = highlight_requests(tab)
    tab.open()
    model.script("Words, `code`, and:\n\n```\nno language\n```\n", fence("python", "x = 1"), fence("py", "y = 'a'"))
    tab.ask("Plain")
    assert asked == []
    tab.ask("Python")
    expect(coloured(tab)).to_have_count(1)
    tab.ask("Again")
    expect(coloured(tab)).to_have_count(2)
    names = [address.rsplit("/", 1)[-1] for address in asked]
    assert sorted(names) == ["core.js", "highlighting.js", "python.js"]


WATCH = """() => {
    window.heights = new Set();
    const look = () => {
        window.heights.add(document.querySelector('.code-block').getBoundingClientRect().height);
        requestAnimationFrame(look);
    };
    look();
}"""


def test_a_block_is_coloured_when_it_is_finished_without_a_jump_and_after_a_reload(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    tab = open_tab(agent_server).open()
    first, second, third = model.gate(), model.gate(), model.gate()
    code = "def f():\n    return 'a'\n"
    model.script(
        reply(text(f"```py\n{code}"), first, text("x = 1\n```\n\nAnd"), second, text(" more.\n\n```py\ny = 2"), third)
    )
    tab.send("Grow")
    expect(tab.page.locator(".code-block code")).to_have_text(code)
    tab.page.wait_for_timeout(300)
    expect(coloured(tab)).to_have_count(0)  # more may come
    first.release()
    expect(tab.page.locator(".code-block code")).to_have_text(f"{code}x = 1\n")
    tab.page.evaluate(WATCH)
    second.release()
    expect(coloured(tab)).to_have_count(1)
    assert tab.page.evaluate("window.heights.size") == 1
    expect(tab.page.locator(".code-block")).to_have_count(2)
    expect(coloured(tab)).to_have_count(1)  # the second one grows
    third.release()
    tab.wait_done()
    expect(coloured(tab)).to_have_count(2)  # the end of the answer ends it
    look = "nodes => nodes.map(node => node.innerHTML)"
    before = tab.page.locator(".code-block code").evaluate_all(look)
    tab.page.reload()
    expect(coloured(tab)).to_have_count(2)
    assert tab.page.locator(".code-block code").evaluate_all(look) == before


def test_the_head_stays_in_sight_and_copies_wraps_and_downloads(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, tmp_path: Path
) -> None:
    code = "\n".join(f"line_{n} = {n}" for n in range(200)) + "\nlong = '" + "ab " * 200 + "'\n# end"
    model.script(fence("python", code))
    tab = open_tab(
        agent_server, viewport={"width": 900, "height": 600}, permissions=["clipboard-read", "clipboard-write"]
    )
    tab.open()
    tab.ask("Long")
    expect(coloured(tab)).to_have_count(1)
    block, head = tab.page.locator(".code-block"), tab.page.locator(".code-head")
    tab.page.locator(".scroller").evaluate("node => (node.scrollTop = node.scrollHeight / 2)")
    places = """() => ['.scroller', '.code-head', '.code-block'].map(each => document.querySelector(each)
        .getBoundingClientRect().top)"""
    scroller, top, begin = tab.page.evaluate(places)
    assert begin < scroller - 500
    assert abs(top - scroller) < 1
    head.get_by_role("button", name="Copy the code").click()
    assert tab.page.evaluate("navigator.clipboard.readText()") == code
    with tab.page.expect_download() as waiting:
        head.get_by_role("button", name="Download the code").click()
    assert waiting.value.suggested_filename == "code.py"
    waiting.value.save_as(tmp_path / "code.py")
    assert (tmp_path / "code.py").read_text() == code + "\n"
    wrap = head.get_by_role("button", name="Wrap long lines")
    pre = block.locator("pre")
    assert pre.evaluate("node => node.scrollWidth > node.clientWidth")
    wrap.click()
    expect(wrap).to_have_attribute("aria-pressed", "true")
    assert pre.evaluate("node => node.scrollWidth <= node.clientWidth")
    wrap.press("Enter")
    expect(wrap).to_have_attribute("aria-pressed", "false")
    assert pre.evaluate("node => node.scrollWidth > node.clientWidth")


def test_what_is_selected_stays_selected_and_holds_up_no_other_block(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script(fence("py", "a = 'b'") + "\n" + fence("py", "c = 'd'"))
    tab = open_tab(agent_server).open()
    held: list[Route] = []
    tab.page.context.route("**/highlight/python.js", lambda route: held.append(route))  # noqa: PLW0108 -- a method of a list takes no mark
    with tab.page.context.expect_event("request", lambda request: request.url.endswith("python.js")):
        tab.ask("Select")
    code = tab.page.locator(".code-block code").first
    code.evaluate("node => getSelection().setBaseAndExtent(node.firstChild, 4, node.firstChild, 7)")
    held.pop().continue_()
    expect(coloured(tab)).to_have_count(1)
    expect(code.locator(PIECES)).to_have_count(0)
    assert tab.page.evaluate("getSelection().toString()") == "'b'"
    tab.page.evaluate("getSelection().removeAllRanges()")
    expect(coloured(tab)).to_have_count(2)


def test_a_cut_network_leaves_code_plain_and_its_colours_come_when_it_is_back(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    model.script(fence("go", "func main() { return 1 }"))
    tab = open_tab(agent_server).open()
    tab.expect_errors("Failed to load resource|ERR_INTERNET_DISCONNECTED|dynamically imported")
    cut: Any = lambda route: route.abort("internetdisconnected")  # noqa: E731
    tab.page.context.route("**/*highlight*", cut)
    tab.page.context.route("**/highlight/*", cut)
    with tab.page.expect_event("requestfailed"):
        tab.ask("Cut")
    expect(coloured(tab)).to_have_count(0)
    expect(tab.page.locator(".code-block code")).to_have_text("func main() { return 1 }\n")
    tab.page.context.unroute("**/*highlight*", cut)
    tab.page.context.unroute("**/highlight/*", cut)
    tab.page.evaluate("dispatchEvent(new Event('online'))")
    expect(coloured(tab)).to_have_count(1)


PAINTING = """() => {
    window.most = 0;
    new MutationObserver((records) => {
        const parts = new Set(records.map(({ target }) => target).filter((node) => node.matches?.('.code-part')));
        window.most = Math.max(window.most, parts.size);
    }).observe(document.body, { childList: true, subtree: true });
}"""


def test_long_code_is_painted_part_by_part_and_too_long_code_stays_plain(
    open_tab: OpenTab, agent_server: Server, model: ModelServer
) -> None:
    line = "value_{0} = compute('{0}', [1, 2, 3], key=None)  # {0}\n"
    code = "".join(line.format(n) for n in range(2500)).strip()
    model.script(fence("python", code), fence("python", "x = 1\n" * 40_000))
    tab = open_tab(agent_server).open()
    tab.ask("Long")
    tab.page.reload()
    tab.page.evaluate(PAINTING)
    expect(tab.page.locator(".code-part").last.locator(PIECES).first).to_be_attached()
    assert tab.page.locator(".code-block code").text_content() == code + "\n"
    assert tab.page.locator(".code-part").count() > 10
    assert tab.page.evaluate("window.most") == 1  # one part in a task
    last = tab.page.locator(".code-block").bounding_box()
    plain = "(node) => { const c = node.querySelector('code'); c.textContent = c.textContent; }"
    tab.page.locator(".code-block").evaluate(plain)
    assert tab.page.locator(".code-block").bounding_box() == last  # the parts do not change the block's size
    tab.ask("Too long")
    tab.page.wait_for_timeout(500)
    assert tab.page.locator(".code-block code").last.locator(PIECES).count() == 0


def test_forced_colours_are_the_persons_own(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    model.script(fence("python", SAMPLES["python"]))
    tab = open_tab(agent_server, forced_colors="active").open()
    tab.ask("Forced")
    expect(coloured(tab)).to_have_count(1)
    seen = "nodes => [...new Set(nodes.map(node => getComputedStyle(node).color))]"
    assert len(tab.page.locator(f"code, code {PIECES}").evaluate_all(seen)) == 1
    tab.page.get_by_role("button", name="Wrap long lines").click()
    pressed = tab.page.get_by_role("button", name="Wrap long lines")
    assert pressed.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    tab.page.screenshot(path=artifact("code-forced.png"))
